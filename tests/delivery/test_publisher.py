"""Publishing from synchronous code, into a real server that forgets scripts, stalls and dies."""

import asyncio
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from realtime.delivery import history_scripts
from realtime.delivery.history_scripts import Published
from realtime.delivery.layers import Item, RedisStreamLayer
from realtime.delivery.publisher import BATCH, BackendUnavailable
from realtime.protocol import market_data_body
from realtime.streams import Stream
from tests.delivery.updates import AAPL, MSFT
from tests.patience import PATIENCE
from tests.processes import Valkey, free_port

Send = Callable[[Sequence[Item]], list[Published]]


@pytest.fixture
def layer(valkey: Valkey) -> Iterator[RedisStreamLayer]:
    valkey.client().flushall()
    valkey.client().script_flush()
    layer = RedisStreamLayer(hosts=[valkey.url])
    yield layer
    layer.sync_client.close()


@pytest.fixture(params=["sync", "async"])
def send(request: pytest.FixtureRequest, layer: RedisStreamLayer) -> Iterator[Send]:
    """Both ways of publishing; for the second one an event loop runs in this thread."""
    if request.param == "sync":
        yield layer.send_updates_sync
        return

    async def send_updates(items: Sequence[Item]) -> list[Published]:
        published: list[Published] = await layer.send_updates(items)
        return published

    with asyncio.Runner() as runner:
        yield lambda items: runner.run(send_updates(items))


def update(number: int, stream: Stream = AAPL) -> Item:
    return stream, market_data_body(stream.symbol, {"number": number})


def held(valkey: Valkey, stream: Stream = AAPL) -> dict[int, int]:
    """The number in each update of the history, by offset."""
    client: Any = valkey.client()
    entries = client.xrange(f"asgi:stream:{stream.group}:history")
    return {
        int(name.partition(b"-")[0]): json.loads(fields[b"b"] + b"}")["data"]["number"]
        for name, fields in entries
    }


def offsets(published: Sequence[Published]) -> list[int]:
    return [each.offset for each in published]


# One and many -------------------------------------------------------------------------------------


def test_updates_are_numbered_from_one(send: Send, valkey: Valkey) -> None:
    assert offsets(send([update(10)])) == [1]
    assert offsets(send([update(20)])) == [2]
    assert held(valkey) == {1: 10, 2: 20}


def test_each_stream_has_its_own_numbers_and_epoch(send: Send) -> None:
    published = send([update(0), update(0, MSFT), update(0), update(0, MSFT), update(0)])
    assert offsets(published) == [1, 1, 2, 2, 3]
    assert len({each.epoch for each in published}) == 2


def test_nothing_is_nothing(send: Send) -> None:
    assert send([]) == []


def test_two_thousand_are_published_in_order(send: Send, valkey: Valkey, settings: Any) -> None:
    settings.REALTIME_HISTORY_LENGTH = {"market-data": 5000}
    assert offsets(send([update(n) for n in range(1, 2001)])) == list(range(1, 2001))
    assert held(valkey) == {n: n for n in range(1, 2001)}


def test_the_history_keeps_so_many_and_so_long(send: Send, valkey: Valkey, settings: Any) -> None:
    settings.REALTIME_HISTORY_LENGTH = {"market-data": 3}
    settings.REALTIME_HISTORY_SECONDS = {"market-data": 60}
    send([update(n) for n in range(1, 11)])
    assert held(valkey) == {8: 8, 9: 9, 10: 10}
    client: Any = valkey.client()
    assert 59_000 < client.pttl("asgi:stream:market-data.AAPL:history") <= 60_000
    numbering = client.pttl("asgi:stream:market-data.AAPL:meta") / 1000
    assert numbering > 7 * 86_400, "the numbering outlives the history"


def test_it_is_told_how_many_processes_heard_it(send: Send, valkey: Valkey) -> None:
    assert send([update(1)])[0].receivers == 0
    with valkey.client().pubsub() as pubsub:  # type: ignore[no-untyped-call]
        pubsub.subscribe("asgi__group__market-data.AAPL")
        pubsub.get_message(timeout=PATIENCE)
        assert send([update(2)])[0].receivers == 1


def test_a_stream_whose_numbering_was_evicted_begins_again(send: Send, valkey: Valkey) -> None:
    (before,) = send([update(1)])
    send([update(2)])
    valkey.client().delete("asgi:stream:market-data.AAPL:meta")
    (after,) = send([update(3)])
    assert (after.offset, held(valkey)) == (1, {1: 3})
    assert after.epoch != before.epoch


def test_a_body_may_hold_any_bytes(layer: RedisStreamLayer, valkey: Valkey) -> None:
    body = bytes(range(256)) * 200
    layer.send_updates_sync([(AAPL, body)])
    client: Any = valkey.client()
    assert client.xrange("asgi:stream:market-data.AAPL:history")[0][1] == {b"b": body}


# Scripts ------------------------------------------------------------------------------------------


def test_a_server_that_forgot_the_script_gets_it_again(send: Send, valkey: Valkey) -> None:
    for number in range(3):
        valkey.client().script_flush()
        send([update(3 * number + 1)])
        valkey.client().script_flush()
        send([update(3 * number + 2), update(3 * number + 3)])
    assert held(valkey) == {n: n for n in range(1, 10)}


def test_the_script_has_the_name_that_the_server_gives_it(valkey: Valkey) -> None:
    assert valkey.client().script_load(history_scripts.PUBLISH) == history_scripts.PUBLISH_SHA


def test_scripts_that_come_and_go_meanwhile_make_no_duplicates(
    layer: RedisStreamLayer, valkey: Valkey, settings: Any
) -> None:
    """Somebody flushes the scripts and somebody loads them while a long pipeline runs.

    An update that is not confirmed may be missing. None may be there twice, or out of order.
    """
    settings.REALTIME_HISTORY_LENGTH = {"market-data": 100_000}
    ending = threading.Event()

    def come_and_go() -> None:
        client = valkey.client()
        while not ending.is_set():
            client.script_flush()
            time.sleep(0.0005)
            client.script_load(history_scripts.PUBLISH)
            time.sleep(0.0005)

    confirmed: dict[int, int] = {}
    with ThreadPoolExecutor() as pool:
        running = pool.submit(come_and_go)
        try:
            for begin in range(0, 20_000, 2000):
                items = [update(n) for n in range(begin, begin + 2000)]
                try:
                    published = dict(enumerate(layer.send_updates_sync(items)))
                except BackendUnavailable as exc:
                    published = exc.published
                confirmed |= {each.offset: begin + index for index, each in published.items()}
        finally:
            ending.set()
        running.result()
    there = held(valkey)
    numbers = list(there.values())
    assert len(set(numbers)) == len(numbers), "nothing twice"
    assert numbers == sorted(numbers)
    assert there == confirmed, "what is there was confirmed, and what was confirmed is there"


# Processes and threads ----------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_opens_connections_of_its_own(
    layer: RedisStreamLayer, valkey: Valkey
) -> None:
    """Celery's prefork pool: the parent has published before."""
    layer.send_updates_sync([update(0)])
    children = []
    for child in range(4):
        pid = os.fork()
        if pid == 0:  # pragma: no cover (another process)
            status = 1
            try:
                numbers = [child * 1000 + n for n in range(50)]
                for number in numbers:
                    layer.send_updates_sync([update(number)])
                layer.send_updates_sync([update(child * 1000 + 50 + n) for n in range(50)])
                status = 0
            finally:
                os._exit(status)
        children.append(pid)
    for number in range(9000, 9050):
        layer.send_updates_sync([update(number)])
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0, 0]
    there = held(valkey)
    assert list(there) == list(range(1, 452))
    for child in range(4):
        mine = [number for number in there.values() if number // 1000 == child and number]
        expected = [child * 1000 + n for n in range(100)]
        assert mine == [number for number in expected if number], "each in its own order"


def test_threads_share_a_publisher(layer: RedisStreamLayer, valkey: Valkey) -> None:
    def publish(thread: int) -> list[Published]:
        published = []
        for turn in range(20):
            first = thread * 1000 + turn * 3
            published += layer.send_updates_sync([update(first)])
            published += layer.send_updates_sync([update(first + 1), update(first + 2)])
        return published

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(publish, range(8)))
    there = held(valkey)
    assert sorted(there) == list(range(1, 481))
    for thread, published in enumerate(results):
        numbers = [there[each.offset] for each in published]
        assert numbers == [thread * 1000 + n for n in range(60)], "its own, in its order"


def test_connections_are_used_again(layer: RedisStreamLayer, valkey: Valkey) -> None:
    client: Any = valkey.client()
    layer.send_updates_sync([update(1)])
    before = client.info("stats")["total_connections_received"]
    for number in range(100):
        layer.send_updates_sync([update(number)])
    layer.send_updates_sync([update(number) for number in range(1000)])
    assert client.info("stats")["total_connections_received"] == before


# What fails ---------------------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Valkey]:
    with Valkey(tmp_path, tcp=True) as server:
        yield server


def test_a_server_that_is_away_is_told_as_such() -> None:
    layer = RedisStreamLayer(hosts=[f"redis://127.0.0.1:{free_port()}"])
    for items in ([update(1)], [update(1), update(2)]):
        with pytest.raises(BackendUnavailable, match="Redis") as failed:
            layer.send_updates_sync(items)
        assert failed.value.published == {}


def test_one_update_that_fails_does_not_hide_that_the_others_were_published(
    send: Send, valkey: Valkey
) -> None:
    valkey.client().set("asgi:stream:market-data.MSFT:meta", "not a hash")
    items = [update(1), update(2, MSFT), update(3), update(4, MSFT), update(5)]
    with pytest.raises(BackendUnavailable, match="WRONGTYPE") as failed:
        send(items)
    assert {index: each.offset for index, each in failed.value.published.items()} == {
        0: 1,
        2: 2,
        4: 3,
    }
    assert held(valkey) == {1: 1, 2: 3, 3: 5}


def test_an_update_that_cannot_be_stored_takes_no_number(send: Send, valkey: Valkey) -> None:
    client = valkey.client()
    send([update(1)])
    history_key = f"asgi:stream:{AAPL.group}:history"
    client.rename(history_key, "aside")
    client.set(history_key, "not a stream")
    with pytest.raises(BackendUnavailable, match="WRONGTYPE"):
        send([update(2), update(3)])
    client.rename("aside", history_key)
    assert offsets(send([update(4)])) == [2]
    assert held(valkey) == {1: 1, 2: 4}


def test_many_updates_of_many_streams_keep_their_order(send: Send, valkey: Valkey) -> None:
    streams = [Stream("market-data", f"S{number}") for number in range(7)]
    count = 2 * BATCH + 3
    published = send([update(number, streams[number % 7]) for number in range(count)])
    assert offsets(published) == [1 + number // 7 for number in range(count)]
    for place, stream in enumerate(streams):
        assert list(held(valkey, stream).values()) == list(range(place, count, 7))


def test_an_update_without_an_answer_is_not_sent_again(own: Valkey) -> None:
    """It may have been published: whether to repeat it is for the caller to decide."""
    layer = RedisStreamLayer(hosts=[{"address": own.url, "socket_timeout": 0.3}])
    layer.send_updates_sync([update(1)])
    own.signal(signal.SIGSTOP)
    for items in ([update(2)], [update(3), update(4)]):
        with pytest.raises(BackendUnavailable) as failed:
            layer.send_updates_sync(items)
        assert failed.value.published == {}
    own.signal(signal.SIGCONT)
    (after,) = layer.send_updates_sync([update(5)])
    # The server read what it had been sent, once, when it woke up. The others were not sent at
    # all: a new connection got no greeting.
    there = held(own)
    assert there == {1: 1, 2: 2, 3: 5}
    assert there[after.offset] == 5, "and the next answer belongs to the next question"


async def test_an_update_without_an_answer_is_not_sent_again_by_a_loop(own: Valkey) -> None:
    layer = RedisStreamLayer(hosts=[{"address": own.url, "socket_timeout": 0.3}])
    await layer.send_updates([update(1)])
    own.signal(signal.SIGSTOP)
    for items in ([update(2)], [update(3), update(4)]):
        with pytest.raises(BackendUnavailable):
            await layer.send_updates(items)
    own.signal(signal.SIGCONT)
    (after,) = await layer.send_updates([update(5)])
    there = held(own)
    assert there == {1: 1, 2: 2, 3: 5}
    assert there[after.offset] == 5
    await layer.flush()


def test_a_server_that_dies_in_the_middle_confirms_what_it_took(own: Valkey) -> None:
    layer = RedisStreamLayer(hosts=[own.url])
    layer.send_updates_sync([update(0)])
    killer = threading.Timer(0.05, own.signal, [signal.SIGKILL])
    killer.start()
    items = [
        (AAPL, market_data_body("AAPL", {"number": n, "x": "x" * 2000})) for n in range(50_000)
    ]
    with pytest.raises(BackendUnavailable) as failed:
        layer.send_updates_sync(items)
    killer.join()
    confirmed = failed.value.published
    assert list(confirmed) == list(range(len(confirmed))), "whole scripts, from the first on"
    assert len(confirmed) % BATCH == 0
    assert offsets(list(confirmed.values())) == list(range(2, len(confirmed) + 2))


def test_a_server_that_was_restarted_is_used_again(own: Valkey) -> None:
    layer = RedisStreamLayer(hosts=[own.url])
    (before,) = layer.send_updates_sync([update(1)])
    own.kill()
    with pytest.raises(BackendUnavailable):
        layer.send_updates_sync([update(2)])
    own.start()
    (after,) = layer.send_updates_sync([update(3)])
    assert after.offset == 1
    assert after.epoch != before.epoch


def test_an_idle_connection_that_the_server_closed_costs_no_update(
    layer: RedisStreamLayer, valkey: Valkey
) -> None:
    """A timeout of the server, or a restart between two updates: known before anything is sent."""
    layer.send_updates_sync([update(1)])
    valkey.client().client_kill_filter(_type="normal", skipme=True)
    (published,) = layer.send_updates_sync([update(2)])
    assert published.offset == 2
    valkey.client().client_kill_filter(_type="normal", skipme=True)
    assert offsets(layer.send_updates_sync([update(3), update(4)])) == [3, 4]
