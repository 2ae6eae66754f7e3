"""What machines do. Each fault is over, and everything runs again, when its function returns."""

import asyncio
import random
import shutil
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Final

from tests.soak.place import Place

Fault = Callable[[Place, random.Random], Awaitable[None]]


async def _in_thread(work: Callable[[], object]) -> None:
    await asyncio.to_thread(work)


async def redis_restarts(place: Place, chance: random.Random) -> None:
    place.redis.kill()
    await asyncio.sleep(chance.uniform(0, 3))
    await _in_thread(place.redis.start)


async def redis_restarts_empty(place: Place, chance: random.Random) -> None:
    place.redis.kill()
    place.account.losses.append(time.time())
    shutil.rmtree(place.redis.directory / "appendonlydir")
    await asyncio.sleep(chance.uniform(0, 3))
    await _in_thread(place.redis.start)


async def redis_restarts_with_older_data(place: Place, chance: random.Random) -> None:
    """As one that had not written the end of its file."""
    held = place.redis.directory / "appendonlydir"
    older = place.redis.directory / "older"
    shutil.copytree(held, older)
    await asyncio.sleep(chance.uniform(1, 4))
    place.redis.kill()
    place.account.losses.append(time.time())
    shutil.rmtree(held)
    older.rename(held)
    await _in_thread(place.redis.start)


async def redis_pauses(place: Place, chance: random.Random) -> None:
    place.redis.signal(signal.SIGSTOP)
    await asyncio.sleep(chance.uniform(1, 7))
    place.redis.signal(signal.SIGCONT)


async def connections_to_redis_break(place: Place, chance: random.Random) -> None:
    client = place.redis.client()
    for kind in ("pubsub", "normal"):
        client.client_kill_filter(_type=kind, skipme=True)


async def database_restarts(place: Place, chance: random.Random) -> None:
    if place.postgres is not None:
        await _in_thread(place.postgres.stop)
        await asyncio.sleep(chance.uniform(0, 3))
        await _in_thread(place.postgres.start)


async def web_is_killed(place: Place, chance: random.Random) -> None:
    web = chance.choice(place.webs)
    await _in_thread(lambda: place.restart_web(web, kill=True))


async def web_pauses(place: Place, chance: random.Random) -> None:
    process = chance.choice(place.webs).process
    process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(chance.uniform(1, 6))
    process.send_signal(signal.SIGCONT)


async def webs_are_replaced(place: Place, chance: random.Random) -> None:
    for web in place.webs:
        await _in_thread(lambda web=web: place.restart_web(web, kill=False))  # type: ignore[misc]


async def background_is_killed(place: Place, chance: random.Random) -> None:
    place.background.kill()
    place.background.start()


async def background_is_replaced(place: Place, chance: random.Random) -> None:
    await _in_thread(place.background.stop)
    place.background.start()


async def an_engine_comes_and_goes(place: Place, chance: random.Random) -> None:
    place.engine.start()
    await asyncio.sleep(chance.uniform(3, 9))
    await _in_thread(place.engine.stop)


async def publisher_is_killed(place: Place, chance: random.Random) -> None:
    await place.kill_publisher()
    await place.start_publisher()


FAULTS: Final[dict[str, Fault]] = {
    fault.__name__.replace("_", " "): fault
    for fault in (
        an_engine_comes_and_goes, redis_restarts, web_is_killed, background_is_replaced,
        redis_restarts_empty, webs_are_replaced, database_restarts, redis_pauses,
        background_is_killed, connections_to_redis_break, redis_restarts_with_older_data,
        web_pauses, publisher_is_killed,
    )
}  # fmt: skip
