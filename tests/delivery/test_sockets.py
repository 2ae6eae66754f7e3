"""The two ways of sending: into a transport, and through the ASGI `send` of another server."""

import asyncio
import contextlib
import itertools
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import websockets
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from websockets.asyncio.client import ClientConnection

from realtime.broadcast import Broadcast, abroadcast_many, alert_update, market_data_update
from realtime.delivery.asgi_socket import AsgiSocket, open_socket
from realtime.delivery.cork import Cork
from realtime.delivery.sockets import PreparedSocket, Socket
from realtime.delivery.updates import frame
from realtime.protocol import CloseCode
from realtime.streams import Stream
from tests.clients import narrow_socket
from tests.delivery.transport import Transport
from tests.delivery.updates import AAPL, MSFT, alert, price
from tests.delivery.waiting import until
from tests.patience import PATIENCE
from tests.processes import LiveServer
from tests.wire import checked


def never() -> None:
    raise AssertionError("the outbox was not over its limit")


# A transport --------------------------------------------------------------------------------------


def prepared(
    limit: int = 10_000, on_overflow: Callable[[], None] = never
) -> tuple[Transport, PreparedSocket]:
    transport = Transport()
    return transport, PreparedSocket(transport, limit, on_overflow)


def offsets(messages: list[dict[str, Any]]) -> list[int]:
    return [message["offset"] for message in messages]


@pytest.mark.parametrize("size", [1, 125, 126, 65535, 65536, 70000])
def test_a_frame_has_the_length_that_its_size_asks_for(size: int) -> None:
    transport, _ = prepared()
    text = json.dumps("x" * (size - 2) if size > 2 else 7).encode()
    transport.write(frame(text))
    assert len(text) == size
    assert transport.texts() == [json.loads(text)]


def test_every_socket_writes_the_same_frame() -> None:
    (one, first), (two, second) = prepared(), prepared()
    update = price(1)
    first.deliver(update)
    second.deliver(update)
    assert one.writes[0] is two.writes[0]
    assert (first.sent, second.sent) == (1, 1)


def test_updates_fold_while_the_transport_is_full() -> None:
    transport, socket = prepared()
    transport.paused = True
    for offset in (1, 2, 3):
        socket.deliver(price(offset))
    socket.send(b'{"type":"ping"}')
    assert transport.writes == []
    transport.paused = False
    socket.writable()
    update, ping = transport.texts()
    assert (update["offset"], update["folded"]) == (3, 2)
    assert ping == {"type": "ping"}
    assert len(transport.writes) == 1, "what waited leaves in one write"
    assert socket.sent == 2


def test_nothing_overtakes_what_waits() -> None:
    transport, socket = prepared()
    transport.paused = True
    socket.deliver(price(1))
    transport.paused = False
    socket.deliver(price(2, MSFT))
    socket.writable()
    assert offsets(transport.texts()) == [1, 2]


def test_writing_stops_when_the_transport_is_full_again() -> None:
    transport, socket = prepared(limit=1_000_000)
    transport.paused = True
    for offset in range(1, 2001):
        socket.deliver(alert(offset))
    transport.paused = False
    written = transport.write

    def write(data: Any) -> None:
        written(data)
        transport.paused = True

    socket._write = write
    socket.writable()
    assert len(transport.writes) == 1
    assert 0 < len(transport.texts()) < 2000
    while socket.outbox:
        transport.paused = False
        socket.writable()
    assert offsets(transport.texts()) == list(range(1, 2001))


def test_what_is_held_leaves_in_one_write() -> None:
    transport, socket = prepared()
    socket.hold()
    socket.send(b'{"type":"subscribed"}')
    socket.deliver_snapshot(price(7))
    socket.deliver(price(8))
    assert transport.writes == []
    socket.release()
    assert len(transport.writes) == 1
    assert offsets(transport.texts()[1:]) == [7, 8]


def test_an_update_never_moves_before_a_gap_that_names_the_ones_before_it() -> None:
    transport, socket = prepared()
    transport.paused = True
    socket.deliver(price(5))
    socket.deliver_gap(AAPL, 6, 9, "E")
    socket.deliver_snapshot(price(10))
    socket.deliver(price(11))
    socket.deliver(price(12))
    transport.paused = False
    socket.writable()
    five, gap, ten, twelve = transport.texts()
    assert (five["offset"], "folded" in five) == (5, False)
    assert (gap["from_offset"], gap["to_offset"]) == (6, 9)
    assert (ten["offset"], ten["snapshot"]) == (10, True)
    assert (twelve["offset"], twelve["folded"]) == (12, 1)


def test_an_update_never_moves_before_the_answer_to_a_subscription() -> None:
    """The stream is subscribed to again while updates of it wait."""
    transport, socket = prepared()
    transport.paused = True
    socket.deliver(price(5))
    socket.hold()
    socket.send(b'{"type":"subscribed","offset":5}')
    socket.release()
    socket.deliver(price(6))
    transport.paused = False
    socket.writable()
    assert offsets(transport.texts()) == [5, 5, 6]


def test_an_update_that_replaced_others_folds_like_any_other() -> None:
    """From a rate limit: 2 to 4 became one there, and waits here."""
    transport, socket = prepared()
    transport.paused = True
    socket.deliver(price(1))
    socket.deliver(price(4), 2)
    socket.deliver(price(5))
    transport.paused = False
    socket.writable()
    (newest,) = transport.texts()
    assert (newest["offset"], newest["folded"]) == (5, 4)
    socket.deliver(price(9), 3)
    assert transport.texts()[-1]["folded"] == 3


async def test_a_reader_that_is_too_slow_hears_why_before_the_close() -> None:
    """Also when its transport is full: the reason stands right before the close frame."""
    ends: list[Socket] = []

    def on_overflow() -> None:
        ends.append(socket)
        socket.send_last(b'{"type":"error","code":"slow_consumer"}')

    transport, socket = prepared(limit=1000, on_overflow=on_overflow)
    transport.paused = True
    for offset in range(1, 100):
        socket.deliver(alert(offset))
    assert ends == [socket], "once"
    assert not socket.outbox, "what waited is given up"
    await socket.end(CloseCode.SLOW_CONSUMER, "slow consumer")
    assert transport.texts() == [{"type": "error", "code": "slow_consumer"}]
    assert transport.ended == (4508, "slow consumer")
    socket.send(b"{}")
    socket.deliver(price(1))
    socket.writable()
    assert len(transport.writes) == 1, "nothing follows"


async def test_the_reason_for_a_close_is_written_before_it() -> None:
    transport, socket = prepared()
    socket.send(b'{"type":"error"}')
    await socket.end(CloseCode.FORBIDDEN, "no")
    assert transport.texts() == [{"type": "error"}]
    assert transport.ended == (4403, "no")


async def test_the_reason_for_a_close_is_not_lost_behind_what_waits() -> None:
    transport, socket = prepared()
    transport.paused = True
    for offset in (1, 2):
        socket.deliver(alert(offset))
    socket.send_last(b'{"type":"error"}')
    await socket.end(CloseCode.UNAUTHORIZED, "no")
    assert transport.texts() == [{"type": "error"}]
    assert transport.ended == (4401, "no")


async def test_the_reason_for_a_close_overtakes_nothing_that_the_peer_takes() -> None:
    transport, socket = prepared()
    socket.hold()
    socket.deliver(alert(1))
    socket.send_last(b'{"type":"error"}')
    assert [text["type"] for text in transport.texts()] == ["alert", "error"]


async def test_a_server_that_offers_its_transport_gets_frames() -> None:
    async def send(message: Mapping[str, Any]) -> None: ...

    transport = Transport()
    offered = {"extensions": {"ara.prepared": transport}}
    assert isinstance(open_socket(offered, send, 1, never), PreparedSocket)
    assert isinstance(open_socket({"extensions": None}, send, 1, never), AsgiSocket)
    assert isinstance(open_socket({}, send, 1, never), AsgiSocket)


STEP = st.one_of(
    st.tuples(st.just("deliver"), st.sampled_from([AAPL, MSFT])),
    st.tuples(st.just("deliver"), st.sampled_from([AAPL, MSFT])),
    st.tuples(st.just("burst"), st.booleans()),
    st.tuples(st.just("full"), st.booleans()),
    st.tuples(st.sampled_from(["alert", "answer", "gap", "subscribe"])),
)


@given(steps=st.lists(STEP, min_size=10, max_size=80))
@hypothesis_settings(max_examples=200)
def test_whatever_happens_every_offset_is_there_or_covered_and_in_order(
    steps: list[tuple[str, Any]],
) -> None:
    """A transport that fills up and empties, bursts, gaps, and subscriptions that begin again."""
    cork, transport = Cork(), Transport()
    socket = PreparedSocket(transport, 10**6, never, cork)
    published = {AAPL: 0, MSFT: 0}
    others = itertools.count(1)
    for kind, *arguments in steps:
        match kind, arguments:
            case "deliver", [stream]:
                published[stream] += 1
                socket.deliver(price(published[stream], stream))
            case "burst", [begins]:
                end_burst(cork)
                cork.active = begins
            case "full", [full]:
                transport.paused = full
                if not full:
                    socket.writable()
            case "alert", _:
                socket.deliver(alert(next(others)))
            case "answer", _:
                socket.send(b'{"type":"answer","offset":%d}' % next(others))
            case "gap", _:
                socket.deliver_gap(AAPL, published[AAPL] + 1, published[AAPL] + 3, "E")
                published[AAPL] += 4
                socket.deliver_snapshot(price(published[AAPL]))
            case "subscribe", _:
                socket.hold()
                socket.send(b'{"type":"subscribed","offset":%d}' % next(others))
                socket.release()
    transport.paused = False
    socket.writable()
    end_burst(cork)
    at, other = {"AAPL": 0, "MSFT": 0}, 0
    for message in transport.texts():
        if message["type"] == "gap":
            assert message["from_offset"] == at["AAPL"] + 1
            at["AAPL"] = message["to_offset"]
        elif message["type"] == "market_data_update":
            covered = message.get("folded", 0)
            assert message["offset"] == at[message["symbol"]] + covered + 1
            at[message["symbol"]] = message["offset"]
        else:
            assert message["offset"] == other + 1, "never folded, never out of order"
            other += 1
    assert at == {stream.symbol: offset for stream, offset in published.items()}
    assert other == next(others) - 1
    assert socket.sent == len(transport.texts())


def end_burst(cork: Cork) -> None:
    cork._end()


# An ASGI server -----------------------------------------------------------------------------------


class Server:
    """Takes messages while `open` is set; `failure` is raised instead of taking the next one."""

    def __init__(self) -> None:
        self.events: list[Mapping[str, Any]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.failure: Exception | None = None
        self.calls = 0

    async def send(self, event: Mapping[str, Any]) -> None:
        self.calls += 1
        await self.open.wait()
        if self.failure is not None:
            raise self.failure
        self.events.append(event)

    def texts(self) -> list[dict[str, Any]]:
        return [json.loads(event["text"]) for event in self.events if "text" in event]


@pytest.fixture
def asgi() -> Server:
    return Server()


def asgi_socket(
    server: Server, limit: int = 10_000, on_overflow: Callable[[], None] = never
) -> AsgiSocket:
    return AsgiSocket(server.send, limit, on_overflow)


async def test_a_server_that_does_not_wait_costs_no_task(asgi: Server) -> None:
    socket = asgi_socket(asgi)
    tasks = asyncio.all_tasks()
    socket.deliver(price(1))
    socket.send(b'{"offset":2}')
    assert offsets(asgi.texts()) == [1, 2], "sent before deliver() returned"
    assert asyncio.all_tasks() == tasks
    assert socket.sent == 2


async def test_updates_fold_while_a_send_waits(asgi: Server) -> None:
    socket = asgi_socket(asgi)
    asgi.open.clear()
    for offset in (1, 2, 3, 4):
        socket.deliver(price(offset))
    socket.send(b'{"offset":5}')
    asgi.open.set()
    await socket.drain()
    assert [(m["offset"], m.get("folded", 0)) for m in asgi.texts()] == [(1, 0), (4, 2), (5, 0)]
    assert socket.sent == 3
    socket.deliver(price(6))
    assert asgi.texts()[-1]["offset"] == 6, "at once again"


async def test_one_send_after_the_other(asgi: Server) -> None:
    """Also while the server suspends each of them for a moment."""
    running = 0

    async def send(event: Mapping[str, Any]) -> None:
        nonlocal running
        running += 1
        assert running == 1
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        running -= 1
        asgi.events.append(event)

    socket = AsgiSocket(send, 100_000, never)
    for offset in range(1, 51):
        socket.deliver(alert(offset))
        await asyncio.sleep(0)
    await socket.drain()
    assert offsets(asgi.texts()) == list(range(1, 51))


async def test_a_send_that_fails_ends_the_sending(asgi: Server) -> None:
    socket = asgi_socket(asgi)
    asgi.failure = ConnectionResetError()
    socket.send(b"{}")
    assert socket.closing
    socket.send(b"{}")
    socket.deliver(price(1))
    assert asgi.calls == 1


async def test_a_send_that_fails_later_ends_the_sending(asgi: Server) -> None:
    socket = asgi_socket(asgi)
    asgi.open.clear()
    socket.send(b"{}")
    socket.deliver(price(1))
    asgi.failure = ConnectionResetError()
    asgi.open.set()
    await until(lambda: socket.closing)
    socket.send(b"{}")
    assert asgi.calls == 1
    await socket.end(1000, "")  # must not raise


async def test_a_server_may_catch_what_its_own_waiting_raises() -> None:
    """The first part of `send` runs outside its task; errors must reach it all the same."""
    taken: list[Mapping[str, Any]] = []
    failing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    later: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def send(event: Mapping[str, Any]) -> None:
        for waiting in (failing, later):
            try:
                await waiting
            except OSError:
                taken.append(event)

    socket = AsgiSocket(send, 1000, never)
    socket.send(b"1")
    failing.set_exception(OSError())
    await until(lambda: len(taken) == 1)
    later.set_exception(OSError())
    await until(lambda: len(taken) == 2)
    await socket.drain()
    assert not socket.closing


async def test_a_cancelled_send_is_told_so() -> None:
    """At the end of the loop tasks are cancelled; the server's `send` may clean up, and wait."""
    cleaned: list[str] = []

    async def send(event: Mapping[str, Any]) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            cleaned.append("up")
            raise

    socket = AsgiSocket(send, 1000, never)
    socket.send(b"1")
    assert socket._task is not None
    task = socket._task
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert cleaned == ["up"]
    assert socket._task is None


async def test_everything_that_waits_is_sent_before_the_close(asgi: Server) -> None:
    socket = asgi_socket(asgi)
    asgi.open.clear()
    socket.send(b'{"n":1}')
    socket.send(b'{"n":2}')
    ending = asyncio.ensure_future(socket.end(CloseCode.FORBIDDEN, "no"))
    await asyncio.sleep(0)
    asgi.open.set()
    await ending
    assert [message["n"] for message in asgi.texts()] == [1, 2]
    assert asgi.events[-1] == {"type": "websocket.close", "code": 4403, "reason": "no"}


async def test_a_slow_reader_of_another_server_hears_why_before_the_close(asgi: Server) -> None:
    def on_overflow() -> None:
        socket.send_last(b'{"type":"error","code":"slow_consumer"}')
        ends.append(asyncio.ensure_future(socket.end(CloseCode.SLOW_CONSUMER, "slow")))

    ends: list[asyncio.Future[None]] = []
    socket = asgi_socket(asgi, 1000, on_overflow)
    asgi.open.clear()
    for offset in range(1, 100):
        socket.deliver(alert(offset))
    assert len(ends) == 1
    await asyncio.sleep(0)
    asgi.open.set()
    await ends[0]
    first, error = asgi.texts()
    assert first["offset"] == 1, "the server had that one already"
    assert error == {"type": "error", "code": "slow_consumer"}
    assert asgi.events[-1]["code"] == 4508


# A real server ------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def stalled(url: str) -> AsyncIterator[tuple[ClientConnection, Callable[[], None]]]:
    """A client with a small receive buffer, whose transport does not read until told to."""
    raw = await narrow_socket(url)
    async with websockets.connect(
        url, sock=raw, compression=None, max_queue=None, max_size=None, close_timeout=1
    ) as ws:
        assert json.loads(await ws.recv())["type"] == "connected"
        ws.transport.pause_reading()
        yield ws, ws.transport.resume_reading


async def publish(count: int, make: Callable[[int], Broadcast]) -> None:
    for begin in range(1, count + 1, 100):
        await abroadcast_many([make(number) for number in range(begin, begin + 100)])


def resident_kib(server: LiveServer) -> int:
    fields = Path(f"/proc/{server.process.pid}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


@pytest.mark.usefixtures("redis_layer")
async def test_a_stalled_reader_gets_the_newest_and_how_many_it_replaced(
    start_server: Callable[..., LiveServer],
) -> None:
    server = start_server("uvicorn")
    async with stalled(f"{server.ws}/ws/market-data/AAPL") as (ws, resume):
        await publish(4000, lambda n: market_data_update("AAPL", {"n": n, "padding": "x" * 2000}))
        resume()
        messages = [checked(await asyncio.wait_for(ws.recv(), PATIENCE))]
        while messages[-1]["offset"] < 4000:
            messages.append(checked(await asyncio.wait_for(ws.recv(), PATIENCE)))
    numbers = offsets(messages)
    assert len(numbers) < 2000, "most of them were replaced"
    told = [message.get("folded", 0) + 1 for message in messages]
    assert [b - a for a, b in zip([0, *numbers], numbers, strict=False)] == told


@pytest.mark.usefixtures("redis_layer")
async def test_a_reader_that_stalls_below_alerts_is_closed_and_memory_is_bounded(
    start_server: Callable[..., LiveServer],
) -> None:
    server = start_server("uvicorn", REALTIME_OUTBOX_BYTES="300000")
    async with (
        stalled(f"{server.ws}/ws/alerts") as (ws, resume),
        websockets.connect(f"{server.ws}/ws/alerts", compression=None) as fast,
    ):
        before = resident_kib(server)
        received: list[int] = []
        for _ in range(30):
            await publish(100, lambda n: alert_update({"n": n, "padding": "x" * 2000}))
            received += await read_alerts(fast, 100)
        assert received == list(range(1, 3001)), "the others lose nothing"
        grown = resident_kib(server) - before
        resume()
        async with asyncio.timeout(PATIENCE):
            messages = [checked(text) for text in await all_until_closed(ws)]
    assert ws.close_code == 4508
    assert messages[-1]["code"] == "slow_consumer"
    assert offsets(messages[:-1]) == list(range(1, len(messages))), "no hole before the end"
    assert grown < 12_000, "history in memory, and at most the outbox"


async def all_until_closed(ws: ClientConnection) -> list[str | bytes]:
    texts: list[str | bytes] = []
    with contextlib.suppress(websockets.ConnectionClosed):
        while True:
            texts.append(await ws.recv())
    return texts


async def read_alerts(ws: ClientConnection, count: int) -> list[int]:
    numbers: list[int] = []
    while len(numbers) < count:
        message = json.loads(await asyncio.wait_for(ws.recv(), PATIENCE))
        if message["type"] == "alert":
            numbers.append(message["offset"])
    return numbers


async def test_what_many_streams_begin_with_is_written_in_turns() -> None:
    """Others are served in between; nothing that comes later goes before it."""
    transport = Transport()
    socket = PreparedSocket(transport, 1000, lambda: None)
    socket.hold()
    streams = [Stream("market-data", f"S{number}") for number in range(100)]
    socket.send_snapshots([price(1, stream, pad="x" * 10_000) for stream in streams])
    socket.release()
    assert len(transport.texts()) < 50
    socket.deliver(price(2, streams[0]))
    await until(lambda: len(transport.texts()) == 101)
    assert [text["offset"] for text in transport.texts()] == [1] * 100 + [2]
