"""The Python client against a running server."""

import asyncio
import itertools
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pytest
from ara_client import (
    BadRequest,
    Bar,
    Client,
    Folded,
    Gap,
    NotFound,
    Position,
    Reconnecting,
    RequestFailed,
    Resumed,
    SyncClient,
    Unauthorized,
    Unreachable,
)

from realtime.broadcast import abroadcast_many, market_data_update
from tests.processes import LiveServer, free_port
from tests.python_client.conftest import Listener, publish
from tests.python_client.proxy import Proxy

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("publishing")]


async def test_a_subscription_begins_with_the_newest_update(
    server: LiveServer, symbol: str
) -> None:
    await publish(symbol, 1, 2.5)
    async with Client(server.http) as client:
        [update] = await client.market_data(symbol.lower()).take(1)
    assert (update.symbol, update.offset, update.price) == (symbol, 2, 2.5)
    assert update.snapshot
    assert abs((datetime.now(UTC) - update.timestamp).total_seconds()) < 60


async def test_several_symbols_share_a_subscription(server: LiveServer, symbol: str) -> None:
    other = f"{symbol}/USD"
    async with Client(server.ws) as client, client.market_data(symbol) as prices:
        await prices.subscribe(other)
        await publish(symbol, 1)
        await publish(other, 2)
        assert {update.symbol for update in await prices.take(2)} == {symbol, other}
        await prices.unsubscribe(symbol)
        await publish(symbol, 3)
        await publish(other, 4)
        assert [update.price for update in await prices.take(1)] == [4]


async def test_a_position_goes_on_in_another_client(server: LiveServer, symbol: str) -> None:
    await publish(symbol, 1)
    async with Client(server.http) as client:
        first = client.market_data(symbol)
        await first.take(1)
        saved = {name: str(at) for name, at in first.positions.items()}
    await publish(symbol, 2, 3)
    async with Client(server.http) as client:
        listener = Listener(client.market_data(symbol, since=saved))
        await listener.until(lambda: len(listener.offsets) == 2)
    assert listener.offsets == [2, 3]
    assert listener.of(Resumed) == [Resumed(symbol, 2)]


async def test_what_was_not_read_is_no_position(server: LiveServer, symbol: str) -> None:
    async with Client(server.http) as client, client.market_data(symbol) as prices:
        await publish(symbol, 1, 2, 3)
        async with Client(server.http) as other, other.market_data(symbol) as others:
            await others.take(1)
        [update] = await prices.take(1)
        assert prices.positions == {symbol: update.position}


async def test_a_position_that_is_not_held_is_a_gap(server: LiveServer, symbol: str) -> None:
    await publish(symbol, 1, 2)
    async with Client(server.http) as client:
        listener = Listener(client.market_data(symbol, since=Position("other", 1)))
        await listener.until(lambda: listener.offsets)
    [gap] = listener.of(Gap)
    assert (gap.symbol, gap.to_offset, listener.offsets) == (symbol, 2, [2])


async def test_history_comes_before_live_updates(server: LiveServer, symbol: str) -> None:
    await publish(symbol, *range(1, 8))
    async with Client(server.http) as client:
        prices = client.market_data(symbol, history=3)
        updates = await prices.take(3)
    assert [(update.offset, update.replayed) for update in updates] == [
        (5, True), (6, True), (7, True),
    ]  # fmt: skip


async def test_max_rate_folds(server: LiveServer, symbol: str) -> None:
    async with Client(server.http) as client:
        listener = Listener(client.market_data(symbol, max_rate=0.5))
        await asyncio.sleep(0.2)
        await publish(symbol, *range(1, 6))
        await listener.until(lambda: 5 in listener.offsets)
    assert sum(event.count for event in listener.of(Folded)) + len(listener.offsets) == 5


async def test_what_a_slow_reader_misses_is_told(server: LiveServer, symbol: str) -> None:
    padding = "x" * 4096
    updates = [market_data_update(symbol, {"price": n, "text": padding}) for n in range(250)]
    async with Client(server.http) as client, client.market_data(symbol) as prices:
        for _ in range(20):
            await abroadcast_many(updates)
        listener = Listener(prices)
        await listener.until(lambda: 5000 in listener.offsets)
    folded = sum(event.count for event in listener.of(Folded))
    assert folded > 0
    assert folded + len(listener.offsets) == 5000
    assert listener.of(Gap, Reconnecting) == []


async def test_alerts_come_filtered_and_are_acknowledged(
    server: LiveServer, key: str, symbol: str
) -> None:
    loud = {"message": "loud", "severity": "critical", "symbol": symbol}
    async with (
        Client(server.http, api_key=key) as client,
        client.alerts(min_severity="high", symbols=[symbol.lower()]) as alerts,
    ):
        await client.send_alert({**loud, "severity": "low"})
        await client.send_alert({**loud, "symbol": "MSFT"})
        await client.send_alert(loud)
        [alert] = await alerts.take(1)
        assert (alert.message, alert.severity, alert.symbol) == ("loud", "critical", symbol)
        assert await client.ack(alert, "unknown") == [alert.id]


async def test_a_prediction_can_be_requested(server: LiveServer, key: str, symbol: str) -> None:
    await publish(symbol, *(100 + n % 3 for n in range(60)))
    async with Client(server.http, api_key=key) as client:
        prediction = await client.request_prediction(symbol, horizon=2)
        assert prediction.symbol == symbol
        assert prediction.predicted_price == pytest.approx(101, rel=0.2)
        with pytest.raises(RequestFailed, match="horizon"):
            await client.request_prediction(symbol, horizon=99)


async def test_what_the_server_refuses_is_raised_with_the_way_out(
    server: LiveServer, key: str
) -> None:
    async with Client(server.http, api_key=key) as client:
        with pytest.raises(RequestFailed, match=r"invalid_symbol.*A B"):
            await client.market_data("A B").take(1)
        with pytest.raises(NotFound, match="404"):
            await Client(f"{server.http}/prefix").market_data("AAPL").take(1)
    async with Client(server.http, api_key="ara_0000.wrong") as client:
        with pytest.raises(Unauthorized, match="Pass a valid api_key"):
            await client.alerts().take(1)
        with pytest.raises(Unauthorized, match="Pass a valid api_key"):
            await client.bars("AAPL")


async def test_waiting_for_a_server_can_be_limited() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    async with Client(url, give_up_after=1, timeout=1) as client:
        with pytest.raises(Unreachable, match=r"refused|Connect call failed"):
            await client.market_data("AAPL").take(1)
        with pytest.raises(Unreachable, match="refused"):
            await client.bars("AAPL")


async def test_what_is_published_says_where_it_went(
    server: LiveServer, key: str, symbol: str
) -> None:
    async with Client(server.http, api_key=key) as client, client.market_data(symbol) as prices:
        one = await client.publish(symbol, {"price": 1})
        two, three = await client.publish_many([(symbol, {"price": 2}), (symbol, {"price": 3})])
        updates = await prices.take(3)
    assert [update.position for update in updates] == [one.position, two.position, three.position]


async def test_what_is_asked_again_is_not_published_twice(
    server: LiveServer, key: str, symbol: str, proxy: Proxy
) -> None:
    await proxy.open()
    async with Client(proxy.url, api_key=key) as client:
        for ask in (client.publish, client.record_prediction):
            proxy.answers_to_lose = 1
            done = await ask(symbol, {"price": 1, "predicted_price": 1})
            assert (done.position.offset, proxy.answers_to_lose) == (1, 0)
        again = await client.publish(symbol, {"price": 2}, key=f"{symbol}-key")
        assert again == await client.publish(symbol, {"price": 2}, key=f"{symbol}-key")
        [latest] = await client.latest(symbol)
    assert latest.offset == 2


async def test_what_cannot_be_published_is_named(server: LiveServer, key: str) -> None:
    async with Client(server.http, api_key=key) as client:
        with pytest.raises(BadRequest, match=r"1\.symbol") as caught:
            await client.publish_many([("AAPL", {"price": 1}), ("A B", {"price": 1})])
    assert list(caught.value.details) == ["1.symbol"]
    with pytest.raises(Unauthorized):
        await Client(server.http).publish("AAPL", {"price": 1})


async def test_bars_are_read_and_become_a_frame(server: LiveServer, key: str) -> None:
    async with Client(server.http, api_key=key) as client:
        bars = await client.bars("bar/s", limit=2)
        [five] = await client.bars("bar/s", "5m", after=datetime(2024, 1, 1, tzinfo=UTC))
    assert (five.open, five.close, five.volume, five.closed) == (100, 107, 3, True)
    assert bars[0] == Bar(datetime(2024, 1, 2, 0, 1, tzinfo=UTC), 101, 111, 91, 106, 1)
    frame = bars.to_frame()
    assert list(frame["close"]) == [106, 107]
    assert isinstance(frame.index, pd.DatetimeIndex)


async def test_a_recorded_prediction_is_stored_and_broadcast(
    server: LiveServer, key: str, symbol: str
) -> None:
    data = {
        "predicted_price": 150.5,
        "lower_bound": 149,
        "upper_bound": 152,
        "horizon": 2,
        "model": "mine",
    }
    async with Client(server.http, api_key=key) as client, client.predictions(symbol) as stream:
        one = await client.record_prediction(symbol, data)
        many = await client.record_predictions([(symbol, data)] * 2)
        updates = await stream.take(3)
        [latest] = await client.latest_predictions(symbol)
    assert [update.position for update in updates] == [each.position for each in (one, *many)]
    assert (latest.predicted_price, latest.lower_bound, latest.model) == (150.5, 149, "mine")
    assert latest.data["prediction_id"] == many[1].prediction_id


async def test_what_cannot_be_recorded_is_named(server: LiveServer, key: str) -> None:
    async with Client(server.http, api_key=key) as client:
        with pytest.raises(BadRequest, match=r"data\.confidence"):
            await client.record_prediction("AAPL", {"predicted_price": 1, "confidence": 7})


async def test_the_newest_updates_are_read_without_a_subscription(
    server: LiveServer, symbol: str
) -> None:
    await publish(symbol, 1, 2)
    async with Client(server.http) as client:
        [update] = await client.latest(symbol, f"{symbol}-NONE")
        [same] = await client.market_data(symbol).take(1)
    assert (update.price, update.position) == (2, same.position)


async def test_a_history_goes_on_where_it_ended(server: LiveServer, symbol: str) -> None:
    await publish(symbol, 1, 2, 3)
    async with Client(server.http) as client:
        first = await client.history(symbol, limit=2)
        await publish(symbol, *range(4, 900))
        after = await client.history(symbol, since=first.position, limit=500)
        rest = await client.history(symbol, since=after.position, limit=9999)
        lost = await client.history(symbol, since="other:1")
    assert [update.price for update in first] == [2, 3]
    assert [update.price for update in after + rest] == list(range(4, 900))
    assert (after.gap, rest.position) == (None, rest[-1].position)
    assert lost.gap is not None


async def test_the_plain_client_works_inside_a_running_loop(
    server: LiveServer, key: str, symbol: str
) -> None:
    """As in Jupyter."""
    with SyncClient(server.http, api_key=key) as client, client.market_data(symbol) as prices:
        client.publish_many([(symbol, {"price": n, "volume": 10 * n}) for n in (1, 2, 3)])
        read = [(update.offset, update.price) for update in itertools.islice(prices, 2)]
        assert read == [(1, 1), (2, 2)]
        frame = prices.take(9, timeout=0.5).to_frame()
    assert frame[["symbol", "offset", "price", "volume"]].values.tolist() == [[symbol, 3, 3, 30]]


def test_a_plain_client_that_is_closed_says_so(server: LiveServer) -> None:
    client = SyncClient(server.http)
    prices = client.market_data("AAPL")
    client.close()
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        next(iter(prices))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"url": "localhost:8000"}, "http://localhost:8000"),
        ({"url": "http://me:secret@localhost"}, "api_key"),
        ({"url": "http://x", "api_key": "a", "token": "b"}, "one of"),
        ({"url": "http://x", "api_key": "a b"}, "ASCII"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        Client(**arguments)
    assert "secret" not in str(caught.value)


def test_wrong_streams_are_named() -> None:
    client = Client("http://localhost")
    with pytest.raises(ValueError, match="at least one symbol"):
        client.market_data()
    with pytest.raises(TypeError, match="string"):
        client.market_data(["AAPL"])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="300"):
        client.market_data("AAPL", history=301)
    with pytest.raises(ValueError, match="dict"):
        client.market_data("A", "B", since="e:1")
    with pytest.raises(ValueError, match="epoch:offset"):
        client.market_data("A", since="seventeen")


def test_a_wrong_severity_is_named() -> None:
    with pytest.raises(ValueError, match="low, medium, high, critical, not 'loud'"):
        Client("http://localhost").alerts(min_severity="loud")  # type: ignore[arg-type]
