"""What publishes: checks, encoding, both worlds, transactions, and a backend that is away."""

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from channels.layers import get_channel_layer
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import User
from django.db import transaction

from ara_project.asgi import application
from realtime import broadcast
from realtime.broadcast import (
    Broadcast,
    InvalidUpdate,
    Publication,
    PublishFailed,
    abroadcast_many,
    abroadcast_market_data,
    abroadcast_prediction_update,
    alert_update,
    asend_alert,
    broadcast_many,
    broadcast_market_data,
    broadcast_prediction_update,
    market_data_update,
    prediction_update,
    recent_updates,
    send_alert,
)
from tests.conftest import REDIS
from tests.patience import PATIENCE
from tests.processes import LiveServer, Valkey

NOBODY = "redis://127.0.0.1:1"
STOCK_LAYERS = [
    "channels.layers.InMemoryChannelLayer",
    "channels_redis.pubsub.RedisPubSubChannelLayer",
]


def published(symbol: str = "AAPL") -> list[dict[str, Any]]:
    """The market data of a symbol, oldest first."""
    return async_to_sync(recent_updates)("market-data", symbol)


# The customer's document ----------------------------------------------------------------------


async def test_the_customers_calls_work_as_they_are_written(each_layer: str) -> None:
    # Broadcast prediction update
    await broadcast_prediction_update(
        symbol="AAPL",
        prediction_data={
            "predicted_price": 150.25,
            "confidence": 0.85,
            "timestamp": "2024-01-01T12:00:00Z"
        }
    )  # fmt: skip

    # Broadcast market data
    await broadcast_market_data(
        symbol="AAPL",
        market_data={
            "price": 149.50,
            "volume": 1000000,
            "timestamp": "2024-01-01T12:00:00Z"
        }
    )  # fmt: skip

    # Send alert
    await send_alert(
        alert_data={
            "type": "price_alert",
            "symbol": "AAPL",
            "message": "Price exceeded $150",
            "severity": "high"
        }
    )  # fmt: skip

    assert await recent_updates("predictions", "AAPL") == [
        {"predicted_price": 150.25, "confidence": 0.85, "timestamp": "2024-01-01T12:00:00Z"}
    ]
    assert await recent_updates("market-data", "AAPL") == [
        {"price": 149.50, "volume": 1000000, "timestamp": "2024-01-01T12:00:00Z"}
    ]


# Synchronous and asynchronous -----------------------------------------------------------------


def test_a_synchronous_call_has_published_when_it_returns(each_layer: str) -> None:
    publication = broadcast_market_data("aapl", {"price": 1})
    assert (publication.offset, publication.stream.symbol) == (1, "AAPL")
    assert publication.epoch
    assert published() == [{"price": 1}]


def test_offsets_are_counted_by_stream(each_layer: str) -> None:
    offsets = [
        broadcast_market_data("AAPL", {}).offset, broadcast_market_data("AAPL", {}).offset,
        broadcast_market_data("MSFT", {}).offset, broadcast_prediction_update("AAPL", {}).offset,
        send_alert({}).offset, send_alert({}, user_id=1).offset, send_alert({}).offset,
    ]  # fmt: skip
    assert offsets == [1, 2, 1, 1, 1, 1, 2]


async def test_a_call_in_an_event_loop_runs_also_if_nobody_awaits_it(each_layer: str) -> None:
    publication = broadcast_market_data("AAPL", {"price": 1})
    assert publication.offset is None
    while not await recent_updates("market-data", "AAPL"):  # noqa: ASYNC110 (nothing tells)
        await asyncio.sleep(0.001)


async def test_a_publication_can_be_awaited_twice(each_layer: str) -> None:
    publication = broadcast_market_data("AAPL", {})
    assert (await publication) is publication
    assert (await publication).offset == 1


async def test_the_coroutines_take_the_same_arguments(each_layer: str) -> None:
    results = [
        await abroadcast_market_data(symbol="AAPL", market_data={"price": 1}),
        await abroadcast_prediction_update(symbol="AAPL", prediction_data={"confidence": 1}),
        await asend_alert(alert_data={"message": "hello"}, user_id=7),
    ]
    assert [(result.stream.group, result.offset) for result in results] == [
        ("market-data.AAPL", 1), ("predictions.AAPL", 1), ("alerts.user-7", 1),
    ]  # fmt: skip


async def test_a_view_in_a_thread_publishes_synchronously(each_layer: str) -> None:
    publication = await sync_to_async(broadcast_market_data)("AAPL", {"price": 1})
    assert publication.offset == 1


def test_threads_share_the_numbering(redis_layer: None) -> None:
    offsets: list[int | None] = []

    def publish() -> None:
        offsets.extend(broadcast_market_data("AAPL", {}).offset for _ in range(50))

    threads = [threading.Thread(target=publish) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(offsets) == list(range(1, 201))  # type: ignore[type-var]


def test_nobody_subscribed_is_said_by_receivers(redis_layer: None) -> None:
    assert broadcast_market_data("AAPL", {}).receivers == 0


# Many at once ---------------------------------------------------------------------------------

MANY = 1203  # more than two chunks


def many() -> list[Broadcast]:
    return [market_data_update("AAPL" if n % 3 else "MSFT", {"n": n}) for n in range(MANY)]


def assert_in_order(results: list[Publication]) -> None:
    for symbol in ("AAPL", "MSFT"):
        offsets = [result.offset for result in results if result.stream.symbol == symbol]
        assert offsets == list(range(1, len(offsets) + 1))
    assert len(results) == MANY


def test_many_keep_their_order(each_layer: str) -> None:
    assert_in_order(broadcast_many(many()))
    assert [data["n"] for data in published("MSFT")] == list(range(0, MANY, 3))[-300:]


async def test_many_keep_their_order_in_an_event_loop(each_layer: str) -> None:
    assert_in_order(await abroadcast_many(many()))
    first, *_ = again = broadcast_many(many()[:2])
    await first
    assert [publication.offset for publication in again] == [402, 803]


def test_of_nothing_nothing_is_published(settings: Any) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": REDIS, "CONFIG": {"hosts": [NOBODY]}}}
    assert broadcast_many([]) == []


def test_all_kinds_can_be_mixed(each_layer: str) -> None:
    results = broadcast_many([
        alert_update({"message": "to all"}), alert_update({"message": "to one"}, 7),
        prediction_update("AAPL", {}), market_data_update("AAPL", {}),
    ])  # fmt: skip
    assert [result.stream.group for result in results] == [
        "alerts.all", "alerts.user-7", "predictions.AAPL", "market-data.AAPL",
    ]  # fmt: skip


# Transactions ---------------------------------------------------------------------------------


@contextlib.contextmanager
def rolled_back() -> Iterator[None]:
    with contextlib.suppress(ZeroDivisionError), transaction.atomic():
        yield
        raise ZeroDivisionError


def create_and_publish(data: dict[str, Any]) -> None:
    with transaction.atomic():
        User.objects.create(username="alice")
        broadcast_market_data("AAPL", data)


@pytest.mark.django_db(transaction=True)
def test_inside_a_transaction_it_publishes_on_commit(each_layer: str) -> None:
    with transaction.atomic():
        publication = broadcast_market_data("AAPL", {"price": 1})
        assert published() == []
        assert publication.offset is None
    assert published() == [{"price": 1}]
    assert publication.offset == 1


@pytest.mark.django_db(transaction=True)
def test_a_rollback_sends_nothing(each_layer: str) -> None:
    with rolled_back():
        User.objects.create(username="alice")
        send_alert({"message": "Welcome, Alice"})
        broadcast_market_data("AAPL", {})
    assert published() == []
    assert send_alert({}).offset == 1


@pytest.mark.django_db(transaction=True)
def test_a_savepoint_that_is_rolled_back_sends_nothing(each_layer: str) -> None:
    with transaction.atomic():
        broadcast_market_data("AAPL", {"n": 1})
        with rolled_back():
            broadcast_market_data("AAPL", {"n": 2})
        broadcast_market_data("AAPL", {"n": 3})
    assert published() == [{"n": 1}, {"n": 3}]


@pytest.mark.django_db(transaction=True)
def test_bad_data_is_refused_before_the_commit(each_layer: str) -> None:
    with pytest.raises(InvalidUpdate):
        create_and_publish({"price": float("nan")})
    assert not User.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_data_that_changes_after_the_call_was_published_as_it_was(each_layer: str) -> None:
    data = {"price": 1}
    with transaction.atomic():
        broadcast_market_data("AAPL", data)
        data["price"] = 2
    assert published() == [{"price": 1}]


@pytest.mark.django_db(transaction=True)
def test_a_failure_on_commit_is_raised_and_the_rows_stay(settings: Any) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": REDIS, "CONFIG": {"hosts": [NOBODY]}}}
    with pytest.raises(PublishFailed):
        create_and_publish({})
    assert User.objects.filter(username="alice").exists()


@pytest.mark.django_db(transaction=True)
async def test_a_transaction_in_a_thread_of_an_event_loop_publishes_on_commit(
    each_layer: str,
) -> None:
    def view() -> Publication:
        with transaction.atomic():
            publication = broadcast_market_data("AAPL", {"price": 1})
            assert publication.offset is None
        return publication

    assert (await sync_to_async(view)()).offset == 1


# Bad data: tests/test_broadcast_data.py has the table ----------------------------------------


def test_nothing_is_sent_of_a_refused_update(each_layer: str) -> None:
    with pytest.raises(InvalidUpdate):
        broadcast_market_data("AAPL", {"price": float("nan")})
    assert published() == []


async def test_bad_data_is_refused_at_the_call_also_in_an_event_loop(each_layer: str) -> None:
    with pytest.raises(InvalidUpdate):
        broadcast_market_data("AAPL", {"price": float("nan")})  # not awaited


# A backend that is away -----------------------------------------------------------------------


@pytest.fixture
def no_redis(settings: Any) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": REDIS, "CONFIG": {"hosts": [NOBODY]}}}


def test_redis_away_is_told_with_the_way_out(no_redis: None, settings: Any) -> None:
    settings.REALTIME_EMBEDDED_VALKEY = False
    with pytest.raises(PublishFailed, match="Connection refused") as caught:
        broadcast_market_data("AAPL", {})
    assert str(caught.value).endswith("Check REDIS_URL and that the server it names is reachable.")
    assert caught.value.published == {}
    settings.REALTIME_EMBEDDED_VALKEY = True
    assert "make run" in str(caught.value)


async def test_redis_away_is_told_to_who_awaits(no_redis: None) -> None:
    with pytest.raises(PublishFailed):
        await abroadcast_market_data("AAPL", {})
    with pytest.raises(PublishFailed):
        await broadcast_market_data("AAPL", {})
    with pytest.raises(PublishFailed):
        await abroadcast_many(many())
    with pytest.raises(PublishFailed):
        await recent_updates("market-data", "AAPL")


def test_many_with_redis_away_are_none(no_redis: None) -> None:
    with pytest.raises(PublishFailed) as caught:
        broadcast_many(many())
    assert caught.value.published == {}


@pytest.fixture
def two_shards(settings: Any, valkey: Valkey, tmp_path: Path) -> Iterator[Valkey]:
    """Two servers for the streams; the one that is yielded holds some of them."""
    valkey.client().flushall()
    with Valkey(tmp_path / "second") as second:
        settings.CHANNEL_LAYERS = {
            "default": {"BACKEND": REDIS, "CONFIG": {"hosts": [valkey.url, second.url]}}
        }
        yield second


SYMBOLS = [f"S{n}" for n in range(20)]


def test_with_one_shard_away_the_confirmed_updates_are_known(two_shards: Valkey) -> None:
    updates = [market_data_update(symbol, {}) for symbol in SYMBOLS]
    second = {item.stream.symbol for item in updates if on_second_shard(item)}
    assert 0 < len(second) < len(SYMBOLS)
    # The shards are served in the order in which the updates name them: first the one that lives.
    updates.sort(key=lambda item: item.stream.symbol != min(set(SYMBOLS) - second))
    two_shards.kill()
    with pytest.raises(PublishFailed) as caught:
        broadcast_many(updates)
    confirmed = {updates[position].stream.symbol for position in caught.value.published}
    assert confirmed == set(SYMBOLS) - second


def on_second_shard(item: Broadcast) -> bool:
    layer: Any = get_channel_layer()
    is_second: bool = layer._publisher(item.stream) is layer._publishers[1]
    return is_second


def test_an_error_of_one_update_leaves_the_others_known(redis_layer: None, valkey: Valkey) -> None:
    with valkey.client() as client:
        client.set("asgi:stream:market-data.BAD:meta", "not a hash")
    with pytest.raises(PublishFailed, match="WRONGTYPE") as caught:
        broadcast_many([market_data_update(symbol, {}) for symbol in ("AAPL", "BAD", "MSFT")])
    assert sorted(caught.value.published) == [0, 2]
    assert len(published("MSFT")) == 1


# Stock channel layers -------------------------------------------------------------------------


@pytest.fixture(params=STOCK_LAYERS)
def stock_layer(request: pytest.FixtureRequest, settings: Any, valkey: Valkey) -> str:
    backend: str = request.param
    config = {"hosts": [valkey.url]} if "redis" in backend else {}
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend, "CONFIG": config}}
    return backend


@pytest.fixture
async def mailbox(stock_layer: str) -> AsyncIterator[Callable[[], Any]]:
    """Receives what is sent to the group of AAPL's market data, as a consumer would."""
    layer: Any = get_channel_layer()
    channel = await layer.new_channel()
    await layer.group_add("market-data.AAPL", channel)
    yield lambda: asyncio.wait_for(layer.receive(channel), PATIENCE)
    await layer.group_discard("market-data.AAPL", channel)
    await layer.flush()


async def test_a_stock_layer_carries_updates_as_group_messages(
    mailbox: Callable[[], Any],
) -> None:
    publication = await broadcast_market_data("AAPL", {"price": 1})
    await abroadcast_market_data("AAPL", {"price": 2})
    messages = [await mailbox(), await mailbox()]
    assert [message["type"] for message in messages] == ["stream.update"] * 2
    assert [json.loads(message["text"])["data"]["price"] for message in messages] == [1, 2]
    assert (publication.offset, publication.epoch, publication.receivers) == (None, None, None)
    assert await recent_updates("market-data", "AAPL") == []


async def test_a_synchronous_call_goes_through_a_stock_layer(stock_layer: str) -> None:
    if "InMemory" in stock_layer:
        layer: Any = get_channel_layer()
        channel = await layer.new_channel()
        await layer.group_add("market-data.AAPL", channel)
        await sync_to_async(broadcast_market_data)("AAPL", {"price": 1})
        assert json.loads((await layer.receive(channel))["text"])["data"] == {"price": 1}
    else:
        publications = await sync_to_async(broadcast_many)(many()[:5])
        assert [publication.offset for publication in publications] == [None] * 5


def test_a_stock_layer_that_is_away_is_told(settings: Any) -> None:
    settings.CHANNEL_LAYERS = {
        "default": {"BACKEND": STOCK_LAYERS[1], "CONFIG": {"hosts": [NOBODY]}}
    }
    with pytest.raises(PublishFailed, match="connecting"):
        broadcast_market_data("AAPL", {})


def test_no_layer_at_all_is_told(settings: Any) -> None:
    settings.CHANNEL_LAYERS = {}
    with pytest.raises(PublishFailed, match="CHANNEL_LAYERS is not configured"):
        broadcast_market_data("AAPL", {})


@pytest.mark.parametrize(
    ("backend", "reaches"),
    [
        ("realtime.delivery.layers.MemoryStreamLayer", False),
        (STOCK_LAYERS[0], False), (STOCK_LAYERS[1], True), (REDIS, True),
    ],
)  # fmt: skip
def test_a_layer_in_memory_reaches_no_other_process(
    settings: Any, backend: str, reaches: bool
) -> None:
    config = {"hosts": [NOBODY]} if reaches else {}
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend, "CONFIG": config}}
    assert broadcast.reaches_other_processes() is reaches


# To a socket ----------------------------------------------------------------------------------


async def test_a_publisher_in_the_same_process_reaches_a_socket(each_layer: str) -> None:
    socket = WebsocketCommunicator(application, "/ws/market-data/AAPL")
    await socket.connect()
    await socket.receive_json_from(10)
    await broadcast_market_data("AAPL", {"price": 1})
    update = await socket.receive_json_from(10)
    assert (update["data"], update["offset"]) == ({"price": 1}, 1)
    await socket.disconnect()


def test_a_second_process_publishes_into_the_same_numbering(
    redis_layer: None, start_server: Callable[..., LiveServer]
) -> None:
    server = start_server()
    code = (
        "from realtime.broadcast import broadcast_market_data as b;"
        "print(*[b('AAPL', {}).offset for _ in range(3)])"
    )
    assert broadcast_market_data("AAPL", {}).offset == 1
    assert server.shell(code).split() == ["2", "3", "4"]
    assert broadcast_market_data("AAPL", {}).offset == 5
