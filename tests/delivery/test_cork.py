"""A burst leaves in one write per socket, and nothing else changes its order."""

import asyncio

from realtime.delivery.cork import Cork
from realtime.delivery.sockets import PreparedSocket
from tests.delivery.transport import Transport
from tests.delivery.updates import price


def never() -> None:
    raise AssertionError("the outbox was not over its limit")


def corked() -> tuple[Cork, Transport, PreparedSocket]:
    cork, transport = Cork(), Transport()
    return cork, transport, PreparedSocket(transport, 10_000, never, cork)


async def test_a_burst_is_one_write_at_the_end_of_the_turn() -> None:
    cork, transport, socket = corked()
    cork.begin()
    for offset in (1, 2, 3):
        socket.deliver(price(offset))
    assert transport.writes == []
    await asyncio.sleep(0)
    assert len(transport.writes) == 1
    assert [message["offset"] for message in transport.texts()] == [1, 2, 3]
    assert socket.sent == 3


async def test_without_a_burst_an_update_is_written_at_once() -> None:
    _, transport, socket = corked()
    socket.deliver(price(1))
    assert len(transport.writes) == 1


async def test_an_answer_stays_behind_the_updates_before_it() -> None:
    cork, transport, socket = corked()
    cork.begin()
    socket.deliver(price(1))
    socket.send(b'{"type":"ping"}')
    socket.hold()
    socket.deliver(price(2))
    socket.release()
    socket.deliver(price(3))
    await asyncio.sleep(0)
    assert [message.get("offset") for message in transport.texts()] == [1, None, 2, 3]


async def test_a_transport_that_fills_up_meanwhile_gets_what_was_held_first() -> None:
    cork, transport, socket = corked()
    cork.begin()
    socket.deliver(price(1))
    transport.paused = True
    socket.deliver(price(2))
    socket.deliver(price(3))
    await asyncio.sleep(0)
    transport.paused = False
    socket.writable()
    assert [message["offset"] for message in transport.texts()] == [1, 3]


async def test_what_was_held_goes_out_before_the_close() -> None:
    cork, transport, socket = corked()
    cork.begin()
    socket.deliver(price(1))
    socket.close()
    socket.deliver(price(2))
    await asyncio.sleep(0)
    assert [message["offset"] for message in transport.texts()] == [1]
