"""Server-sent events on each server: messages, ids, resume, refusals."""

import urllib.parse
from types import SimpleNamespace
from typing import Any

import pytest

from realtime.broadcast import abroadcast_market_data, asend_alert
from tests.api.test_query_limits import MANY
from tests.live import create_people, publish_to
from tests.processes import LiveServer
from tests.sse.events import listen


@pytest.fixture
def people(server: LiveServer, settings: Any) -> SimpleNamespace:
    publish_to(server, settings)
    return create_people(server)


@pytest.fixture(autouse=True)
def _publish(server: LiveServer, settings: Any) -> None:
    publish_to(server, settings)


async def publish(symbol: str, *prices: float) -> None:
    for price in prices:
        await abroadcast_market_data(symbol, {"price": price})


async def test_updates_come_as_those_of_a_socket(server: LiveServer) -> None:
    await publish("SSE1", 1)
    async with listen(f"{server.http}/sse/market-data/sse1") as events:
        assert (events.status, events.headers["content-type"]) == (200, "text/event-stream")
        assert events.headers["x-accel-buffering"] == "no"
        connected = await events.next()
        assert (connected["type"], connected["symbol"]) == ("connected", "SSE1")
        assert 1000 <= events.retry <= 4000
        assert (await events.next())["snapshot"] is True
        await publish("SSE1", 2)
        update = await events.next()
        assert (update["type"], update["data"], update["offset"]) == (
            "market_data_update", {"price": 2}, 2,
        )  # fmt: skip
        assert events.last_id == f"{connected['streams']['SSE1']['epoch']}:2"


async def test_the_last_id_resumes_where_the_reader_stood(server: LiveServer) -> None:
    url = f"{server.http}/sse/market-data/SSE2"
    await publish("SSE2", 1, 2)
    async with listen(url) as events:
        await events.offsets(1)
    await publish("SSE2", 3, 4)
    async with listen(url, last_event_id=events.last_id) as events:
        assert (await events.next())["streams"]["SSE2"]["recovered"] is True
        assert await events.offsets(2) == [3, 4]
        await publish("SSE2", 5)
        assert await events.offsets(1) == [5]


async def test_a_reader_that_left_before_the_first_update_misses_none(server: LiveServer) -> None:
    url = f"{server.http}/sse/market-data/SSE3"
    async with listen(url) as events:
        await events.until("connected")
    await publish("SSE3", 1)
    async with listen(url, last_event_id=events.last_id) as events:
        assert await events.offsets(1) == [1]


async def test_a_reader_that_left_before_the_snapshot_gets_that_update(server: LiveServer) -> None:
    url = f"{server.http}/sse/market-data/SSE4"
    await publish("SSE4", 1, 2)
    async with listen(url) as events:
        await events.until("connected")
        before = events.last_id
    async with listen(url, last_event_id=before) as events:
        assert await events.offsets(1) == [2]


async def test_one_id_resumes_several_symbols(server: LiveServer) -> None:
    url = f"{server.http}/sse/market-data?symbols=SSE5,EURUSD%3DX"
    await publish("SSE5", 1)
    await publish("EURUSD=X", 1)
    async with listen(url) as events:
        await events.offsets(2)
    await publish("SSE5", 2)
    await publish("EURUSD=X", 2, 3)
    async with listen(url, last_event_id=events.last_id) as events:
        await events.offsets(3)
        found = [(each["symbol"], each["offset"]) for each in events.seen if "offset" in each]
    assert found == [("SSE5", 2), ("EURUSD=X", 2), ("EURUSD=X", 3)]


async def test_the_url_may_say_where_to_begin(server: LiveServer) -> None:
    await publish("SSE6", 1, 2, 3)
    async with listen(f"{server.http}/sse/market-data/SSE6") as events:
        epoch = (await events.next())["streams"]["SSE6"]["epoch"]
    async with listen(f"{server.http}/sse/market-data/SSE6?since={epoch}:1") as events:
        assert await events.offsets(2) == [2, 3]
    at = f"SSE6%3D{epoch}:2"
    async with listen(f"{server.http}/sse/market-data/?symbols=SSE6,SSE1&since={at}") as events:
        await events.until("market_data_update", symbol="SSE6", offset=3)


async def test_an_id_that_nobody_can_have_begins_with_a_snapshot(server: LiveServer) -> None:
    await publish("SSE7", 1, 2)
    async with listen(f"{server.http}/sse/market-data/SSE7", last_event_id="what?") as events:
        assert (await events.next())["streams"]["SSE7"]["recovered"] is False
        assert (await events.next())["snapshot"] is True


async def test_updates_may_come_more_slowly_than_they_are_published(server: LiveServer) -> None:
    await publish("SSE8", 0)
    async with listen(f"{server.http}/sse/market-data/SSE8?max_rate=2") as events:
        await events.offsets(1)
        await publish("SSE8", *range(1, 10))
        while (await events.next())["offset"] < 10:
            pass
    assert sum(each.get("folded", 0) for each in events.seen) > 0


async def test_alerts_are_filtered_by_the_url(server: LiveServer) -> None:
    async with listen(f"{server.http}/sse/alerts?min_severity=high&symbols=AAPL") as events:
        await events.until("connected")
        for severity, symbol in (("low", "AAPL"), ("high", "FB"), ("critical", "AAPL")):
            await asend_alert({"message": "m", "severity": severity, "symbol": symbol})
        alert = await events.until("alert")
        assert alert["data"]["severity"] == "critical"
        assert alert["filtered"] == 2


async def test_alerts_of_a_user_resume_in_both_streams(
    server: LiveServer, people: SimpleNamespace
) -> None:
    url = f"{server.http}/sse/alerts?token={people.token}"
    async with listen(url) as events:
        await events.until("connected")
        await asend_alert({"message": "one"}, user_id=people.alice_id)
        await events.until("alert")
    await asend_alert({"message": "two"}, user_id=people.alice_id)
    await asend_alert({"message": "three"})
    async with listen(url, last_event_id=events.last_id) as events:
        texts: set[str] = set()  # the inbox may bring "one" again
        while not texts >= {"two", "three"}:
            texts.add((await events.until("alert"))["data"]["message"])


@pytest.mark.parametrize(
    ("credential", "status"),
    [("key", 200), ("revoked", 401), ("expired", 401), ("forged", 401), ("alerts_only", 403)],
)
async def test_credentials_are_those_of_sockets(
    server: LiveServer, people: SimpleNamespace, credential: str, status: int
) -> None:
    secret = getattr(people, credential)
    url = f"{server.http}/sse/market-data/AAPL"
    async with listen(url, authorization=f"Bearer {secret}") as by_header:
        assert by_header.status == status
    async with listen(f"{url}?token={secret}") as by_url:
        assert by_url.status == status
        if status == 200:
            assert (await by_url.next())["authenticated"] is True
        else:
            assert by_url.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("market-data", "symbols"),
        ("market-data/*", "*"),
        ("market-data?symbols=*", "WebSocket"),
        ("market-data/A%20B", "A B"),
        ("market-data?symbols=" + ",".join(f"S{n}" for n in range(51)), "50"),
        ("market-data/AAPL?since=17", "since"),
        ("market-data?symbols=A,B&since=e:1", "since"),
        ("market-data/AAPL?since=MSFT%3De:1", "MSFT"),
        ("market-data/AAPL?max_rate=fast", "max_rate"),
        ("market-data/AAPL?max_rate=0", "max_rate"),
        ("market-data/AAPL?max_rates=1", "max_rates"),
        ("alerts?min_severity=huge", "min_severity"),
        ("alerts?max_rate=1", "max_rate"),
    ],
)
async def test_what_is_wrong_in_the_url_is_named(server: LiveServer, path: str, word: str) -> None:
    async with listen(f"{server.http}/sse/{path}") as events:
        assert events.status == 400
        assert word in await events.detail()


@pytest.mark.parametrize("value", MANY)
@pytest.mark.parametrize(
    ("channel", "name"),
    [
        ("market-data", "symbols"),
        ("market-data/AAPL", "since"),
        ("market-data/AAPL", "max_rate"),
        ("alerts", "min_severity"),
        ("alerts", "symbols"),
    ],
)
async def test_no_value_of_a_parameter_is_the_servers_fault(
    server: LiveServer, channel: str, name: str, value: str
) -> None:
    url = f"{server.http}/sse/{channel}?{urllib.parse.urlencode({name: MANY[value][:8000]})}"
    async with listen(url) as events:
        assert events.status < 500
    assert "Traceback" not in server.log


async def test_an_endpoint_that_does_not_exist_is_told(server: LiveServer) -> None:
    async with listen(f"{server.http}/sse/prices/AAPL") as events:
        assert events.status == 404
        assert "/sse/market-data" in await events.detail()


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "OPTIONS"])
async def test_other_methods_are_refused(server: LiveServer, method: str) -> None:
    async with listen(f"{server.http}/sse/market-data/AAPL", method=method) as events:
        assert (events.status, events.headers["allow"]) == (405, "GET")


async def test_pages_of_allowed_origins_may_listen(server: LiveServer) -> None:
    url, origin = f"{server.http}/sse/market-data/AAPL", "http://localhost:3000"
    async with listen(url, origin=origin) as events:
        assert events.headers["access-control-allow-origin"] == origin
        assert "Origin" in events.headers["vary"]
    preflight = {"access_control_request_method": "GET", "origin": origin}
    async with listen(url, method="OPTIONS", **preflight) as events:
        assert events.status == 200
        assert "authorization" in events.headers["access-control-allow-headers"]


async def test_pages_of_other_origins_may_not(server: LiveServer) -> None:
    url = f"{server.http}/sse/market-data/AAPL"
    async with listen(url, origin="https://elsewhere.example") as events:
        assert events.status == 403
        assert "access-control-allow-origin" not in events.headers
