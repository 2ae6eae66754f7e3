"""A project whose users have UUIDs and log in by e-mail address; see tests/uuid_users."""

import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from realtime.streams import Stream, user_alerts
from tests.clients import Socket, wait_for
from tests.patience import START_SECONDS, STOP_SECONDS
from tests.processes import ROOT, LiveServer, Valkey, manage, process_environment, start_live_server

pytestmark = pytest.mark.slow

PASSWORD = "correct horse battery staple"
LIMIT = 4
MAKE = f"""
import json
from tests.uuid_users.models import Member
people = {{}}
for name in ("ada", "ben", "cleo", "dan", "eve", "finn"):
    member = Member.objects.create_user(f"{{name}}@example.com", "{PASSWORD}")
    member.save()
    people[name] = str(member.pk)
Member.objects.create_superuser("olga@example.com", "{PASSWORD}")
print(json.dumps(people))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    directory = tmp_path_factory.mktemp("uuid")
    environment = {
        "DJANGO_SETTINGS_MODULE": "tests.uuid_users.settings",
        "REALTIME_CONNECTIONS_PER_USER": str(LIMIT),
        "REALTIME_LOGINS_PER_IP_PER_MINUTE": "0",
    }
    manage(directory, "migrate", "-v0", **environment)
    with Valkey(directory / "valkey") as valkey:
        environment["REDIS_URL"] = valkey.url
        server = start_live_server("uvicorn", directory, environment)
        engine = subprocess.Popen(
            [sys.executable, "manage.py", "run_alerts"],
            cwd=ROOT, env=process_environment(directory, environment),
        )  # fmt: skip
        yield server
        engine.terminate()
        engine.wait(STOP_SECONDS)
        server.stop()
        assert "Traceback" not in server.log


@pytest.fixture(scope="module")
def people(server: LiveServer) -> dict[str, str]:
    """Primary keys by name."""
    found: dict[str, str] = json.loads(server.shell(MAKE))
    return found


_opened = contextlib.ExitStack()


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    with _opened:
        yield


def client(server: LiveServer, name: str, *, by: str = "email") -> httpx.Client:
    """A client that is logged in; by which field."""
    api = _opened.enter_context(httpx.Client(base_url=f"{server.http}/api/v1/"))
    login = {by: f"{name}@example.com", "password": PASSWORD}
    answer = api.post("auth/token", json=login)
    assert answer.status_code == 200, answer.text
    tokens = answer.json()
    api.headers.update({"Authorization": f"Bearer {tokens['access']}"})
    api.headers.update({"X-Refresh": tokens["refresh"]})
    return api


def ticket(api: httpx.Client) -> str:
    answer = api.post("auth/ticket")
    assert answer.status_code == 201, answer.text
    text: str = answer.json()["ticket"]
    return text


async def connected(server: LiveServer, api: httpx.Client) -> Socket:
    """A socket for alerts, by a ticket."""
    socket = await Socket.open(f"{server.ws}/ws/alerts?ticket={ticket(api)}")
    await socket.until("connected")
    return socket


@pytest_asyncio.fixture
async def alerts(server: LiveServer, people: dict[str, str]) -> AsyncIterator[Socket]:
    """Ada's socket."""
    socket = await connected(server, client(server, "ada"))
    yield socket
    await socket.leave()


@pytest.mark.parametrize("by", ["email", "username"])
def test_a_login_lives_until_it_is_ended(
    server: LiveServer, people: dict[str, str], by: str
) -> None:
    api = client(server, "cleo", by=by)
    assert api.post("auth/token/verify", json={"token": api.headers["X-Refresh"]}).is_success
    new = api.post("auth/token/refresh", json={"refresh": api.headers["X-Refresh"]}).json()
    assert api.post("auth/token/blacklist", json={"refresh": new["refresh"]}).status_code == 200
    assert api.get("alerts").status_code == 401


@pytest.mark.parametrize("spelling", [str.upper, str.lower, lambda key: key.replace("-", "")])
async def test_an_alert_over_rest_reaches_its_user(
    server: LiveServer, people: dict[str, str], alerts: Socket, spelling: Any
) -> None:
    update = {"type": "alert", "data": {"message": "yours"}, "user_id": spelling(people["ada"])}
    answer = client(server, "olga").post("publish", json=update)
    assert answer.status_code == 201, answer.text
    assert (await alerts.until("alert"))["data"]["message"] == "yours"


@pytest.mark.parametrize("bad", [7, "7", "ada@example.com", True, ["x"], "\ud800"])
def test_a_user_id_that_is_not_a_uuid_is_refused(
    server: LiveServer, people: dict[str, str], bad: Any
) -> None:
    update = json.dumps({"type": "alert", "data": {}, "user_id": bad})
    headers = {"Content-Type": "application/json"}
    answer = client(server, "olga").post("publish", content=update, headers=headers)
    assert (answer.status_code, list(answer.json())) == (400, ["user_id"])


@pytest.mark.parametrize("how", ["name", "key"])
async def test_the_command_finds_a_user(
    server: LiveServer, people: dict[str, str], alerts: Socket, how: str
) -> None:
    user = "ada@example.com" if how == "name" else people["ada"]
    server.manage("send_alert", json.dumps({"message": how}), "--user", user)
    server.manage("send_alert", '{"message": "not hers"}', "--user", "ben@example.com")
    await alerts.until("alert")
    await alerts.assert_alive()
    assert [alert["data"]["message"] for alert in alerts.of_type("alert")][-1] == how


async def test_what_was_not_acknowledged_comes_again(
    server: LiveServer, people: dict[str, str]
) -> None:
    api = client(server, "finn")
    hook = api.post("webhooks", json={"url": "https://example.com/hook"})
    assert hook.status_code == 201, hook.text
    for _ in range(2):
        server.manage("send_alert", '{"message": "keep"}', "--user", people["finn"])
    socket = await connected(server, api)
    first, second = [await socket.until("alert", audience="user") for _ in range(2)]
    await socket.ask("ack", ids=[first["id"]])
    await socket.leave()
    waiting = api.get("alerts", params={"unacknowledged": "true"}).json()["results"]
    assert [alert["id"] for alert in waiting if alert["audience"] == "user"] == [second["id"]]
    assert api.get(f"webhooks/{hook.json()['id']}/deliveries").json()["results"]


async def test_a_rule_fires_for_its_user(
    server: LiveServer, people: dict[str, str], alerts: Socket
) -> None:
    definition = {"symbols": ["UUID"], "conditions": [{"type": "above", "value": 150}]}
    made = client(server, "ada").post("alert-rules", json=definition)
    assert made.status_code == 201, made.text

    async def fired() -> bool:
        server.manage("broadcast_market_data", "UUID", '{"price": 140}')
        server.manage("broadcast_market_data", "UUID", '{"price": 160}')
        return bool(
            client(server, "ada").get("alerts", params={"symbol": "UUID"}).json()["results"]
        )

    await wait_for(fired, seconds=60)
    while (await alerts.until("alert", audience="user"))["data"].get("symbol") != "UUID":
        pass


async def test_what_is_limited_by_user_is_limited_for_these_too(
    server: LiveServer, people: dict[str, str]
) -> None:
    api = client(server, "ben")
    rule = {"symbols": ["UUID"], "conditions": [{"type": "above", "value": 150}]}
    tried = api.post("alert-rules/dry-run", json=rule, timeout=START_SECONDS)
    assert tried.status_code == 200, tried.text
    socket = await connected(server, api)
    answer = await socket.ask("configure_alerts", config={"rules": [rule]})
    assert answer["type"] == "alerts_configured"
    await socket.leave()
    predictions = await Socket.open(f"{server.ws}/ws/predictions/UUID?ticket={ticket(api)}")
    await predictions.until("connected", authenticated=True)
    asked = await predictions.ask("request_prediction", symbol="UUID")
    assert asked["type"] != "error", asked
    await predictions.leave()


@pytest.mark.parametrize("how", ["deactivated", "deleted", "password", "everywhere"])
async def test_a_socket_closes_when_its_user_is(
    server: LiveServer, people: dict[str, str], how: str
) -> None:
    server.shell(
        "from tests.uuid_users.models import Member\n"
        f"Member.objects.create_user('{how}@example.com', '{PASSWORD}')"
    )
    api = client(server, how)
    socket = await connected(server, api)
    change = {
        "deactivated": "member.is_active = False; member.save()",
        "deleted": "member.delete()",
        "password": "member.set_password('another one of these'); member.save()",
    }
    if how == "everywhere":
        assert api.post("auth/logout-everywhere").status_code == 204
    else:
        server.shell(
            "from tests.uuid_users.models import Member\n"
            f"member = Member.objects.get(email='{how}@example.com')\n{change[how]}"
        )
    assert await socket.closed() == 4401
    await socket.leave()
    assert (
        api.post("auth/token/verify", json={"token": api.headers["X-Refresh"]}).status_code == 401
    )


async def test_sockets_of_a_user_are_counted(server: LiveServer, people: dict[str, str]) -> None:
    api = client(server, "dan")
    sockets = [await connected(server, api) for _ in range(LIMIT)]
    one_more = await Socket.open(f"{server.ws}/ws/alerts?ticket={ticket(api)}")
    assert await one_more.closed() == 4429
    for socket in (*sockets, one_more):
        await socket.leave()


def test_a_token_from_when_users_had_numbers_is_refused(
    server: LiveServer, people: dict[str, str]
) -> None:
    token = server.shell(
        "from rest_framework_simplejwt.tokens import RefreshToken as Token\n"
        "token = Token()\ntoken['user_id'] = '7'\nprint(token, token.access_token)"
    ).split()
    answers = [
        httpx.get(f"{server.http}/api/v1/alerts", headers={"Authorization": f"Bearer {token[1]}"}),
        httpx.post(f"{server.http}/api/v1/auth/token/refresh", json={"refresh": token[0]}),
        httpx.post(f"{server.http}/api/v1/auth/token/verify", json={"token": token[1]}),
    ]
    assert [answer.status_code for answer in answers] == [401] * 3


async def test_a_key_of_a_user_opens_a_socket(server: LiveServer, people: dict[str, str]) -> None:
    key = server.manage("create_api_key", "eve@example.com", "desk").strip()
    assert "eve@example.com" in server.manage("list_api_keys", "--owner", "eve@example.com")
    socket = await Socket.open(f"{server.ws}/ws/alerts", headers={"X-API-Key": key})
    await socket.until("connected")
    server.manage("revoke_api_key", key)
    assert await socket.closed() == 4401
    await socket.leave()


PAGES = [
    f"realtime/{model}/{page}"
    for model in (
        "apikey",
        "alertrule",
        "alert",
        "webhookendpoint",
        "webhookdelivery",
        "destination",
    )
    for page in ("", "?q=ada", "?o=1.2.3")
] + [
    f"realtime/{model}/add/" for model in ("apikey", "alertrule", "webhookendpoint", "destination")
]


def test_the_admin_knows_its_users(server: LiveServer, people: dict[str, str]) -> None:
    with httpx.Client(base_url=f"{server.http}/admin/", follow_redirects=True) as browser:
        browser.get("login/")
        login = {"username": "olga@example.com", "password": PASSWORD}
        token = {"csrfmiddlewaretoken": browser.cookies["csrftoken"]}
        assert "Administration" in browser.post("login/?next=/admin/", data={**login, **token}).text
        refused = {page: browser.get(page).status_code for page in PAGES}
    assert set(refused.values()) == {200}, refused


@pytest.mark.parametrize(
    "key", [7, "550e8400-e29b-41d4-a716-446655440000", "ada@example.com", "ü" * 200, "a_b", "007"]
)
def test_the_group_of_a_user_is_a_name_that_channels_takes(key: Any) -> None:
    stream = user_alerts(key)
    assert len(stream.group) < 100
    assert stream.group.replace("-", "").replace(".", "").replace("_", "").isalnum()
    assert stream.group.isascii()
    assert Stream.from_group(stream.group) == stream
    assert user_alerts(str(key)) == stream
