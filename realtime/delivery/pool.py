"""Pools of redis-py's asynchronous connections that do not lose a task's cancellation."""

import asyncio
import functools
from collections.abc import Iterator
from typing import Any

from channels_redis import utils
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry

from realtime.delivery.publisher import Host, pool_options


def create_pool(host: Host) -> ConnectionPool:
    """A pool of connections to a host entry of the channel layer."""
    pool: ConnectionPool = utils.create_pool(pool_options(host, Retry))
    pools: list[Any] = [pool, *(client.connection_pool for client in sentinels(pool))]
    for each in pools:
        each.connection_class = _faithful(each.connection_class)
    return pool


def sentinels(pool: ConnectionPool) -> Iterator[Redis]:
    """The clients that a pool behind a Sentinel opens itself, and does not close."""
    yield from getattr(getattr(pool, "sentinel_manager", None), "sentinels", ())


@functools.cache
def _faithful(connection_class: type[Any]) -> type[Any]:
    """A subclass whose `send_packed_command` is cancelled when its task is.

    redis-py sends through `asyncio.wait_for`, which before Python 3.12 loses a cancellation that
    arrives in the turn of the loop in which the sending ends. The task still counts the
    cancellation, though.
    """

    class Faithful(connection_class):  # type: ignore[misc]
        async def send_packed_command(self, *args: object, **kwargs: object) -> None:
            task = asyncio.current_task()
            before = task.cancelling() if task is not None else 0
            await super().send_packed_command(*args, **kwargs)
            if task is not None and task.cancelling() > before:
                await self.disconnect(nowait=True)  # no caller waits for the answer
                raise asyncio.CancelledError

    return Faithful
