"""What `GET /metrics` says about requests, handshakes and workers."""

from typing import Any

import httpx
import pytest
from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

from ara_project.asgi import application
from realtime.api.metrics import exposition
from tests import personas

pytestmark = pytest.mark.django_db(transaction=True)


def values(name: str) -> dict[tuple[str, ...], float]:
    """The samples of a metric by the values of their labels, in the order of the names."""
    families = text_string_to_metric_families(exposition().decode())
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    return {
        tuple(text for _, text in sorted(sample.labels.items())): sample.value for sample in samples
    }


def test_a_request_is_counted_by_its_route_and_never_by_its_path(each_layer: str) -> None:
    Client().get("/api/v1/predictions/9f8e7d6c5b4a39281706f5e4d3c2b1a0")
    Client().generic("MADEUP", "/api/v1/publish")
    found = values("ara_http_requests_total")
    assert found["other", "api/v1/publish", "401"] == 1
    assert not [labels for labels in found if "9f8e" in labels[1]]
    assert sum(found.values()) == 2
    assert values("ara_http_request_duration_seconds_count")["other", "api/v1/publish"] == 1


async def test_direct_endpoints_have_the_routes_of_their_views(each_layer: str) -> None:
    key = (await sync_to_async(personas.bob_key)(scopes=("publish",)))[1]
    update = {"type": "market_data_update", "symbol": "AAPL", "data": {"price": 1}}
    transport = httpx.ASGITransport(app=application)
    headers = {"X-API-Key": key}
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as api:
        direct = await api.post("/api/v1/publish", json=update, headers=headers)
        view = await api.post("/api/v1/publish?view", json=update, headers=headers)
    assert (direct.status_code, view.status_code) == (201, 201)
    found = await sync_to_async(values)("ara_http_requests_total")
    assert found == {("POST", "api/v1/publish", "201"): 2}
    published = await sync_to_async(values)("ara_updates_published_total")
    assert published == {("market-data", "api"): 2}


async def test_handshakes_and_refusals_are_counted_by_reason(each_layer: str) -> None:
    for path in ("/ws/alerts", "/ws/alerts?token=ara_wrong", "/ws/nothing/here"):
        socket: Any = WebsocketCommunicator(application, path)
        await socket.connect()
        await socket.receive_json_from(10)
        await socket.disconnect()
    found = await sync_to_async(values)("ara_handshakes_total")
    assert found == {("alerts",): 2, ("unknown",): 1}
    refused = await sync_to_async(values)("ara_handshakes_refused_total")
    assert refused == {("alerts", "4401"): 1, ("unknown", "4404"): 1}


async def test_a_refused_stream_of_events_is_counted(each_layer: str) -> None:
    transport = httpx.ASGITransport(app=application)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as api:
        answer = await api.get("/sse/alerts?token=ara_wrong")
    assert answer.status_code == 401
    refused = await sync_to_async(values)("ara_handshakes_refused_total")
    assert refused == {("sse:alerts", "4401"): 1}


def test_the_round_trip_to_redis_is_measured(redis_layer: None) -> None:
    assert exposition()
    assert values("ara_redis_round_trip_seconds_count")[()] >= 1
