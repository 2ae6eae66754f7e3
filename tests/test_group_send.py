"""Publishing by the letter of Channels: `group_send` to the group of a stream, from any code."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer

from realtime.broadcast import InvalidUpdate, abroadcast_market_data, recent_updates
from realtime.consumers import events
from realtime.delivery.layers import group_send_sync
from realtime.streams import symbol_stream
from tests.clients import InProcess, Socket
from tests.consumers.conftest import connect, open_socket  # noqa: F401
from tests.live import publish_to
from tests.patience import PATIENCE
from tests.processes import LiveServer

UPDATE = {"type": "stream.update", "data": {"price": 149.5}}
AAPL = "market-data.AAPL"
Connect = Callable[..., Any]


def refused(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the log says of events that sockets do not take."""
    return [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]


def send(group: str, message: object) -> None:
    layer: Any = get_channel_layer()
    async_to_sync(layer.group_send)(group, message)


async def asend(group: str, message: object) -> None:
    layer: Any = get_channel_layer()
    await layer.group_send(group, message)


@pytest.fixture(autouse=True)
def _nothing_told() -> Iterator[None]:
    events._told.clear()
    yield
    events._told.clear()


# Updates ------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("each_layer")
def test_synchronous_code_publishes_with_an_offset_and_a_history() -> None:
    send(AAPL, UPDATE)
    send(AAPL, {**UPDATE, "symbol": "aapl"})
    assert async_to_sync(recent_updates)("market-data", "AAPL") == [{"price": 149.5}] * 2


@pytest.mark.usefixtures("each_layer")
def test_code_without_an_event_loop_publishes_as_well() -> None:
    layer: Any = get_channel_layer()
    group_send_sync(layer, AAPL, UPDATE)
    assert async_to_sync(recent_updates)("market-data", "AAPL") == [{"price": 149.5}]


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("each_layer")
@pytest.mark.parametrize(
    ("path", "group", "kind"),
    [
        ("/ws/market-data/AAPL", AAPL, "market_data_update"),
        ("/ws/predictions/AAPL", "predictions.AAPL", "prediction_update"),
        (
            "/ws/market-data/BTC=F",
            symbol_stream("market-data", "BTC=F").group,
            "market_data_update",
        ),
        ("/ws/alerts", "alerts.all", "alert"),
    ],
)
async def test_clients_receive_what_broadcast_would_send(
    connect: Connect,  # noqa: F811
    path: str,
    group: str,
    kind: str,
) -> None:
    client: InProcess = await connect(path)
    await asend(group, UPDATE)
    update = await client.until(kind)  # which checks it against the contract
    assert (update["data"], update["offset"]) == ({"price": 149.5}, 1)


@pytest.mark.usefixtures("each_layer")
async def test_both_ways_share_the_numbers_of_a_stream() -> None:
    await asend(AAPL, UPDATE)
    assert (await abroadcast_market_data("AAPL", {"price": 150})).offset == 2


BAD = [
    (AAPL, {"type": "stream.update"}, "data: is missing"),
    (AAPL, {"type": "stream.update", "price": 1}, "data: is missing"),
    (AAPL, {**UPDATE, "price": 1}, "price: is not a field of stream.update"),
    (AAPL, {**UPDATE, "body": "{}"}, "body: is not a field"),
    (AAPL, {"type": "stream.update", "data": [1]}, "data: must be a JSON object"),
    (AAPL, {"type": "stream.update", "data": {"at": object()}}, "data.at: a object is not JSON"),
    (AAPL, {"type": "stream.update", "data": {"price": float("nan")}}, "data.price: nan"),
    (AAPL, {"type": "stream.update", "data": {"text": "x" * 70_000}}, "REALTIME_MAX_MESSAGE_BYTES"),
    (AAPL, {**UPDATE, "symbol": "MSFT"}, "symbol: is MSFT, and the group is that of AAPL"),
    (AAPL, {**UPDATE, "symbol": 7}, "symbol: symbol must be a string"),
    (AAPL, {"data": {}}, "type: a message to market-data.AAPL needs a type"),
    (AAPL, {"type": 7, "data": {}}, "type: a message to market-data.AAPL needs a type"),
    ("alerts.all", {"type": "stream.update", "data": {"severity": "bad"}}, "data.severity"),
    ("alerts.all", {**UPDATE, "symbol": "AAPL"}, "symbol: alerts have none"),
    ("alerts.7", UPDATE, "the names are alerts.all and alerts.user-ID"),
    ("market-data.aapl", UPDATE, "symbols in upper case"),
    ("market-data.every", UPDATE, "publish to market-data.SYMBOL"),
]


@pytest.mark.usefixtures("each_layer")
def test_a_bad_update_is_refused_in_the_sender() -> None:
    layer: Any = get_channel_layer()
    for group, message, reason in BAD:
        with pytest.raises(InvalidUpdate, match=reason):
            send(group, message)
        with pytest.raises(InvalidUpdate, match=reason):
            group_send_sync(layer, group, message)  # type: ignore[arg-type]
    assert async_to_sync(recent_updates)("market-data", "AAPL") == []


@pytest.mark.usefixtures("each_layer")
async def test_groups_of_somebody_else_take_any_message() -> None:
    layer: Any = get_channel_layer()
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    await asend("room", {"type": "stream.update", "anything": 1})
    async with asyncio.timeout(PATIENCE):
        assert (await layer.receive(channel))["anything"] == 1


# Events that no socket can handle -----------------------------------------------------------------

UNHANDLED = [
    {"type": "price.changed", "price": 1},
    {"type": "release"},  # a method of the consumer, and no handler
    {"type": "websocket.receive", "text": "{}"},
    {"type": "_private"},
    {"type": "access.changed"},
]


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("each_layer")
async def test_an_unknown_event_is_one_line_for_all_sockets(
    connect: Connect,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
) -> None:
    clients = [await connect("/ws/market-data/AAPL") for _ in range(5)]
    for message in UNHANDLED * 3:
        await asend(AAPL, message)
    await asend(AAPL, UPDATE)
    for client in clients:
        await client.until("market_data_update")
        await client.assert_alive()
    lines = [each for each in caplog.records if "is ignored" in each.getMessage()]
    assert len(lines) == len(UNHANDLED)
    assert "'price.changed' is unknown; sockets know stream.update" in lines[0].getMessage()
    assert not any(each.exc_info for each in caplog.records)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("each_layer")
@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"type": "prediction.outcome"}, "the field text is missing"),
        (
            {"type": "prediction.outcome", "text": 7, "symbol": "A", "every": True},
            "the field text must be str, not int",
        ),
    ],
)
async def test_a_malformed_event_is_one_line(
    connect: Connect,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
    message: dict[str, Any],
    reason: str,
) -> None:
    client: InProcess = await connect("/ws/predictions/AAPL")
    await asend("predictions.AAPL", message)
    await asend("predictions.AAPL", UPDATE)
    await client.until("prediction_update")
    assert [reason in line for line in refused(caplog)] == [True]


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("each_layer")
async def test_an_event_for_one_channel_is_checked_alike(
    connect: Connect,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
) -> None:
    client: InProcess = await connect("/ws/market-data/AAPL")
    layer: Any = get_channel_layer()
    local = getattr(layer, "loop_layer", layer).local
    (channel,) = local.groups[AAPL]
    await layer.send(channel, {"type": "end"})
    await layer.send(channel, UPDATE)
    await client.assert_alive()
    reasons = ["the type 'end' is unknown", "the field text is missing"]
    lines = refused(caplog)
    assert [reason in line for reason, line in zip(reasons, lines, strict=True)] == [True, True]


@pytest.mark.django_db(transaction=True)
async def test_sockets_of_a_stock_layer_say_it_once_as_well(
    settings: Any,
    connect: Connect,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    client: InProcess = await connect("/ws/market-data/AAPL", numbered=False)
    for message in (UPDATE, {"type": "price.changed"}, {"type": "release"}, {"no": "type"}):
        await asend(AAPL, message)
    await abroadcast_market_data("AAPL", {"price": 1})
    await client.until("market_data_update")
    await client.assert_alive()
    assert [each.exc_info for each in caplog.records if "is ignored" in each.message] == [None] * 4


# A real server ------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_server_delivers_and_resumes_it(start_server: Any, settings: Any) -> None:
    server: LiveServer = start_server()
    publish_to(server, settings)
    sockets = [await Socket.open(f"{server.ws}/ws/market-data/AAPL") for _ in range(5)]
    for socket in sockets:
        await socket.until("connected")
    await asyncio.to_thread(send, AAPL, {"type": "price.changed"})
    await asyncio.to_thread(send, AAPL, UPDATE)
    updates = [await socket.until("market_data_update") for socket in sockets]
    assert {update["offset"] for update in updates} == {1}
    epoch = sockets[0].seen[0]["streams"]["AAPL"]["epoch"]
    await sockets[0].leave()
    await asyncio.to_thread(send, AAPL, {**UPDATE, "data": {"price": 2}})
    url = f"{server.ws}/ws/market-data/AAPL?epoch={epoch}&offset=1"
    resumed = await Socket.open(url)
    missed = await resumed.until("market_data_update")
    assert (missed["offset"], missed["data"]) == (2, {"price": 2})
    for socket in (*sockets[1:], resumed):
        await socket.leave()
    assert server.log.count("is ignored: the type 'price.changed' is unknown") == 1
    assert "Traceback" not in server.log
