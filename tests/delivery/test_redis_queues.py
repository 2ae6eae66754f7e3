"""General channels in Redis: each message has one receiver, in whichever process."""

import asyncio

import pytest
from channels.exceptions import ChannelFull

from realtime.delivery.layers import RedisStreamLayer
from tests.delivery.exchange import HELLO, Make, commands, receive
from tests.delivery.waiting import until
from tests.processes import Valkey


async def test_each_message_of_a_general_channel_reaches_one_process(make: Make) -> None:
    workers, sender = [make(), make()], make()
    received: list[int] = []

    async def work(layer: RedisStreamLayer) -> None:
        while True:
            received.append((await layer.receive("thumbnails"))["number"])

    tasks = [asyncio.create_task(work(layer)) for layer in workers for _ in range(2)]
    for number in range(50):
        await sender.send("thumbnails", {"type": "make", "number": number})
    await until(lambda: len(received) >= 50)
    await sender.send("thumbnails", {"type": "make", "number": 50})
    await until(lambda: 50 in received)
    assert sorted(received) == list(range(51))
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_a_message_of_a_general_channel_expires(make: Make, valkey: Valkey) -> None:
    soon, later = make(expiry=0.05), make()
    await soon.send("thumbnails", {"type": "soon"})
    await until(lambda: not valkey.client().exists("asgi:queue:thumbnails"))
    await later.send("thumbnails", {"type": "later"})
    assert await receive(soon, "thumbnails") == {"type": "later"}


async def test_messages_of_one_channel_expire_each_at_its_own_time(
    make: Make, valkey: Valkey
) -> None:
    soon, later = make(expiry=0.05), make()
    await soon.send("thumbnails", {"type": "soon"})
    await later.send("thumbnails", {"type": "later"})
    await passed(valkey, 0.06)
    assert await receive(soon, "thumbnails") == {"type": "later"}


async def test_what_has_expired_takes_no_room(make: Make, valkey: Valkey) -> None:
    soon, later = make(expiry=0.05), make(capacity=2)
    await soon.send("thumbnails", {"type": "soon"})
    await later.send("thumbnails", {"type": "later"})
    await passed(valkey, 0.06)
    await later.send("thumbnails", {"type": "last"})
    with pytest.raises(ChannelFull):
        await later.send("thumbnails", HELLO)


async def passed(valkey: Valkey, seconds: float) -> None:
    """So long it has been on the clock of Redis."""

    def now() -> float:
        whole, microseconds = commands(valkey).time()
        return float(whole + microseconds / 1e6)

    ends = now() + seconds
    await until(lambda: now() >= ends)


async def test_a_worker_hears_what_was_sent_while_its_connection_was_lost(
    make: Make, valkey: Valkey
) -> None:
    worker, sender = make(), make()
    receiving = asyncio.ensure_future(receive(worker, "thumbnails"))
    mailbox = worker.loop_layer.local.mailbox("thumbnails")
    await until(lambda: mailbox.receivers == 1 and not worker.loop_layer.queues._taking)
    commands(valkey).client_kill_filter(_type="pubsub")
    await sender.send("thumbnails", HELLO)
    assert await receiving == HELLO


async def test_no_message_is_overlooked_while_another_look_is_on_its_way(make: Make) -> None:
    worker, sender = make(), make()
    for number in range(300):
        receiving = asyncio.ensure_future(receive(worker, "thumbnails"))
        for _ in range(number % 12):
            await asyncio.sleep(0)
        await sender.send("thumbnails", {"type": "test", "number": number})
        assert (await receiving)["number"] == number


async def test_general_channels_are_spread_over_the_shards(
    make: Make, valkey: Valkey, tcp_valkey: Valkey
) -> None:
    tcp_valkey.client().flushall()
    here, there = (make(valkey.url, tcp_valkey.url) for _ in range(2))
    names = [f"general-{number}" for number in range(20)]
    for name in names:
        await there.send(name, {"type": "test", "name": name})
    for server in (valkey, tcp_valkey):
        assert server.client().keys("asgi:queue:*"), "each has some of them"
    for name in names:
        assert (await receive(here, name))["name"] == name


async def test_prefixes_keep_general_channels_apart(make: Make) -> None:
    one, other = make(prefix="one"), make(prefix="other")
    await other.send("thumbnails", {"type": "from.other"})
    await one.send("thumbnails", {"type": "from.one"})
    assert await receive(one, "thumbnails") == {"type": "from.one"}


async def test_a_receiver_that_was_cancelled_takes_no_message_with_it(make: Make) -> None:
    layer = make()
    receiving = asyncio.ensure_future(layer.receive("thumbnails"))
    await asyncio.sleep(0)
    receiving.cancel()
    await asyncio.wait([receiving])
    await layer.send("thumbnails", HELLO)
    assert await receive(layer, "thumbnails") == HELLO


async def test_what_cannot_be_read_is_passed_over(
    make: Make, valkey: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    layer = make()
    commands(valkey).rpush("asgi:queue:thumbnails", b"9999999999999 \xc1")
    await layer.send("thumbnails", HELLO)
    assert await receive(layer, "thumbnails") == HELLO
    assert "could not be read" in caplog.text
