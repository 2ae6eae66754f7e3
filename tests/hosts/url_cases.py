"""Run in a project that includes the app below two prefixes, by tests/test_hosts.py."""

import json
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from channels.testing import WebsocketCommunicator
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.test import AsyncClient, Client
from django.urls import reverse

import realtime.asgi
from realtime.models import ApiKey
from tests import personas
from tests.patience import PATIENCE

SCRIPT = settings.FORCE_SCRIPT_NAME or ""
PREFIXES = ["/live", "/inner/live"]

each_prefix = pytest.mark.parametrize("prefix", PREFIXES)


@each_prefix
def test_the_page_names_urls_below_its_prefix(client: Client, prefix: str) -> None:
    page = client.get(f"{prefix}/").content.decode()
    assert f'data-ws="{SCRIPT}{prefix}/ws"' in page
    assert f'href="{SCRIPT}{prefix}/api/v1/docs"' in page
    assert f'href="{SCRIPT}/admin/"' in page


@each_prefix
def test_documents_describe_their_prefix(client: Client, prefix: str) -> None:
    document = client.get(f"{prefix}/api/v1/asyncapi.json").json()
    assert document["servers"]["this"]["pathname"] == SCRIPT + prefix
    page = client.get(f"{prefix}/api/v1/docs").content.decode()
    assert f'data-schema="{SCRIPT}{prefix}/api/v1/schema"' in page
    accept = {"HTTP_ACCEPT": "application/vnd.oai.openapi+json"}
    paths = json.loads(client.get(f"{prefix}/api/v1/schema", **accept).content)["paths"]
    assert f"{SCRIPT}{prefix}/api/v1/publish" in paths


@each_prefix
def test_errors_point_to_what_is_below_the_prefix(client: Client, prefix: str) -> None:
    detail = client.get(f"{prefix}/api/v1/nothing").json()["detail"]
    assert f"{SCRIPT}{prefix}/api/v1/docs" in detail
    answer = client.get(f"{prefix}/ws/alerts")
    assert answer.status_code == 426
    assert f"ws://testserver{SCRIPT}{prefix}/ws/market-data/AAPL" in answer.content.decode()


@pytest.mark.django_db
@each_prefix
def test_the_next_page_is_below_the_prefix(client: Client, prefix: str) -> None:
    alice = personas.alice()
    ApiKey.objects.bulk_create(
        ApiKey(owner=alice, name=str(n), prefix=f"p{n}", hash=str(n)) for n in range(101)
    )
    headers = {"Authorization": f"Bearer {personas.token(alice)}"}
    page = client.get(f"{prefix}/api/v1/keys", headers=headers).json()
    assert page["next"].startswith(f"http://testserver{SCRIPT}{prefix}/api/v1/keys?")


def test_names_of_urls_are_those_of_the_project() -> None:
    assert reverse("dashboard") == f"{SCRIPT}/"
    assert reverse("realtime:dashboard") == f"{SCRIPT}/live/"
    assert reverse("realtime:api:publish") == f"{SCRIPT}/live/api/v1/publish"


@pytest.mark.django_db
@each_prefix
def test_probes_have_urls(client: Client, prefix: str) -> None:
    assert client.get(f"{prefix}/healthz").json() == {"status": "ok"}
    assert client.get(f"{prefix}/readyz").json()["database"] == "ok"


async def other(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": '{"type": "shop"}'})


async def first_message(path: str) -> str:
    application = realtime.asgi.application(get_asgi_application(), other)
    socket = WebsocketCommunicator(application, path)
    connected, _ = await socket.connect()
    assert connected
    kind: str = (await socket.receive_json_from())["type"]
    await socket.disconnect()
    return kind


@pytest.mark.django_db(transaction=True)
@each_prefix
@pytest.mark.parametrize("script", {"", SCRIPT})
async def test_sockets_are_below_each_prefix(prefix: str, script: str) -> None:
    for path in ("/ws/market-data/AAPL", "/ws/predictions", "/ws/alerts/"):
        assert await first_message(script + prefix + path) == "connected"


@pytest.mark.django_db(transaction=True)
@each_prefix
@pytest.mark.parametrize("script", {"", SCRIPT})
async def test_events_are_below_each_prefix(prefix: str, script: str) -> None:
    application = realtime.asgi.application(get_asgi_application(), other)
    path = f"{script}{prefix}/sse/market-data/AAPL"
    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": []}
    client = ApplicationCommunicator(application, scope)
    await client.send_input({"type": "http.request", "body": b""})
    assert (await client.receive_output(PATIENCE))["status"] == 200
    assert b'"connected"' in (await client.receive_output(PATIENCE))["body"]
    await client.send_input({"type": "http.disconnect"})
    await client.wait()


@each_prefix
def test_a_server_without_events_says_what_serves_them(client: Client, prefix: str) -> None:
    answer = client.get(f"{prefix}/sse/alerts")
    assert (answer.status_code, "manage.py serve" in answer.json()["detail"]) == (501, True)
    assert client.get(f"{prefix}/sse/prices").status_code == 404


@pytest.mark.parametrize("path", ["/ws/alerts", "/live/ws/chat", "/chat/live/ws/alerts"])
async def test_other_sockets_are_those_of_the_project(path: str) -> None:
    assert await first_message(SCRIPT + path) == "shop"


async def test_a_view_of_the_project_is_served_as_before(async_client: AsyncClient) -> None:
    answer = await async_client.get("/")
    assert b"the shop's own" in answer.content
    assert "Content-Security-Policy" not in answer.headers
