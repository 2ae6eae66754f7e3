"""One process' connection to one Redis shard: lasting subscriptions, and commands.

The link holds the set of wanted subscriptions and makes Redis agree with it. It does so again after
every reconnect, and then lets the layer compare each stream with its history.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any, Final, Protocol

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.commands.core import AsyncScript
from redis.exceptions import NoPermissionError, NoScriptError, RedisError

from realtime.cancelling import cancel
from realtime.delivery import history_scripts
from realtime.delivery.cork import cork_of
from realtime.delivery.history_scripts import Answer, Published
from realtime.delivery.pool import create_pool, sentinels
from realtime.delivery.publisher import (  # fmt: skip
    BATCH,
    CHUNK,
    BackendUnavailable,
    Host,
    Sealed,
    batches,
    take_answers,
)
from realtime.delivery.totals import totals

logger = logging.getLogger(__name__)

# Seconds of silence after which the link pings Redis, and within which Redis must answer. A paused
# or unplugged server does not close its connections.
SILENCE: Final = 2.0
RECONNECT_BASE: Final = 0.05
RECONNECT_MOST: Final = 1.0
# Histories that are read at a time: the first subscriber to every symbol causes thousands of reads,
# and redis-py raises when all of its hundred connections are in use.
READ_AT_ONCE: Final = 32


class LinkUser(Protocol):
    """The layer that a link reports to."""

    def received(self, name: str, data: bytes, *, twice: bool) -> None:
        """Take a message; `twice` if it arrives again because a pattern matches it too."""

    def link_down(self, link: "Link") -> None: ...

    def link_up(self, link: "Link") -> None: ...


class Link:
    """Subscriptions and commands of one shard, in one event loop."""

    def __init__(self, host: Host, user: LinkUser) -> None:
        self._user = user
        # Any: redis-py types every answer as a union of all.
        self.redis: Any = Redis(connection_pool=create_pool(host))
        self._pool: Any = create_pool(host)
        self.reading = asyncio.Semaphore(READ_AT_ONCE)
        self.read_script: AsyncScript = self.redis.register_script(history_scripts.READ)
        self.read_after_script: AsyncScript = self.redis.register_script(history_scripts.READ_AFTER)
        self.restart_script: AsyncScript = self.redis.register_script(history_scripts.RESTART)
        # Wanted subscriptions; a future is done when Redis has confirmed its subscription.
        self._names: dict[str, asyncio.Future[None]] = {}
        self._patterns: dict[str, asyncio.Future[None]] = {}
        # Names that are no longer wanted, until Redis has confirmed the end of their subscriptions.
        self._leaving: set[str] = set()
        self._unsent: list[tuple[str, str]] = []
        self._sending = asyncio.Lock()  # keeps commands in order
        self._connection: AbstractConnection | None = None
        self._attempt = 0  # since everything wanted was last in force
        self._unconfirmed = 0  # of the subscriptions with which this connection began
        self._task: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()  # the loop itself keeps weak references

    # Commands ---------------------------------------------------------------------------------

    async def publish(self, name: str, data: bytes) -> int:
        """An ordinary channel-layer message; returns how many processes it has reached.

        Raises BackendUnavailable.
        """
        try:
            return int(await self.redis.publish(name, data))
        except (RedisError, OSError) as exc:
            raise BackendUnavailable(exc) from exc

    async def publish_updates(self, items: Sequence[Sealed]) -> list[Published]:
        """Updates of streams, in order; raises BackendUnavailable with those confirmed."""
        published: dict[int, Published] = {}
        run = self._run_one if len(items) <= BATCH else self._run_all
        for begin in range(0, len(items), CHUNK):
            try:
                answers = await run(items[begin : begin + CHUNK])
            except (RedisError, OSError) as exc:
                raise BackendUnavailable(exc, published) from exc
            take_answers(answers, begin, published)
        return list(published.values())

    async def _run_one(self, items: Sequence[Sealed]) -> list[Answer | Exception]:
        """One script in one round trip, as `SyncPublisher._run` has it."""
        arguments = history_scripts.publish_arguments(items)
        async with self._borrowed() as connection:
            await _send(connection, "EVALSHA", history_scripts.PUBLISH_SHA, *arguments)
            try:
                return [await connection.read_response()]
            except NoScriptError:
                await _send(connection, "EVAL", history_scripts.PUBLISH, *arguments)
                return [await connection.read_response()]

    @contextlib.asynccontextmanager
    async def _borrowed(self) -> AsyncIterator[Any]:
        """A pooled connection, without the statistics and retries of `Redis`."""
        pool = self.redis.connection_pool
        connection = await pool.get_connection()
        try:
            yield connection
        except BaseException:
            # Answers may be on the way for which no caller waits.
            await connection.disconnect(nowait=True)
            raise
        finally:
            await pool.release(connection)

    async def _run_all(self, items: Sequence[Sealed]) -> list[Answer | Exception]:
        async with self.redis.pipeline(transaction=False) as pipeline:
            pipeline.execute_command("SCRIPT LOAD", history_scripts.PUBLISH)  # see SyncPublisher
            for arguments in batches(items):
                pipeline.execute_command("EVALSHA", history_scripts.PUBLISH_SHA, *arguments)
            answers: list[Answer | Exception] = await pipeline.execute(raise_on_error=False)
        return answers[1:]

    def keep(self, coroutine: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settle(self) -> None:
        """Wait, a second at most, for the tasks that are kept."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1.0)

    # Subscriptions ----------------------------------------------------------------------------

    def want(self, name: str, *, pattern: bool = False) -> "asyncio.Future[None]":
        """Subscribe; the future is done when nothing published afterwards can be missed."""
        wanted = self._patterns if pattern else self._names
        confirmed = wanted.get(name)
        if confirmed is None:
            loop = asyncio.get_running_loop()
            confirmed = wanted[name] = loop.create_future()
            self._command("PSUBSCRIBE" if pattern else "SUBSCRIBE", name)
            if self._task is None:
                self._task = loop.create_task(self._run())
        return confirmed

    async def subscribe(self, name: str, *, pattern: bool = False) -> None:
        await asyncio.shield(self.want(name, pattern=pattern))

    async def confirmed(self, name: str) -> None:
        """Wait until the subscription to `name`, by itself or by a pattern, is in force."""
        for future in (self._names.get(name), *self._patterns.values()):
            if future is not None:
                await asyncio.shield(future)

    def unwant(self, name: str) -> None:
        confirmed = self._names.pop(name, None)
        if confirmed is not None:
            if not confirmed.done():
                confirmed.set_result(None)  # the waiting callers have a pattern, or have gone
            if self._connection is not None:
                self._leaving.add(name)
            self._command("UNSUBSCRIBE", name)

    def _command(self, verb: str, name: str) -> None:
        """Send with the next batch: a thousand joins in one turn of the loop are one write."""
        if self._connection is None:
            return  # a new connection subscribes to every wanted name
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._flush)
        self._unsent.append((verb, name))

    def _flush(self) -> None:
        if self._connection is not None and self._unsent:
            self.keep(self._send_commands())

    async def _send_commands(self) -> None:
        connection = self._connection
        async with self._sending:
            if connection is None or connection is not self._connection:
                return  # the next connection has subscribed to the wanted names
            unsent, self._unsent = self._unsent, []
            # The reading side sees the same errors, and reconnects.
            with contextlib.suppress(RedisError, OSError):
                for verb, names in _runs(unsent):
                    await connection.send_command(verb, *names, check_health=False)

    # The connection ---------------------------------------------------------------------------

    async def _run(self) -> None:
        connection: Any = None  # untyped in redis-py
        task = asyncio.current_task()
        assert task is not None
        while not task.cancelling():  # redis-py may swallow it on the way
            try:
                connection = self._pool.make_connection()
                await connection.connect()
                await self._resubscribe(connection)
                await self._read(connection)
            except (TimeoutError, RedisError, OSError) as exc:
                if self._attempt == 0:
                    _tell_away(exc)
            except Exception:
                logger.exception("a Redis connection failed; sockets stay open, reconnecting")
            finally:
                self._disconnected(connection)
            self._user.link_down(self)
            self._attempt += 1
            await asyncio.sleep(random.uniform(RECONNECT_BASE, _longest_pause(self._attempt)))

    async def _resubscribe(self, connection: AbstractConnection) -> None:
        """Subscribe to every wanted name."""
        self._unsent = []
        wanted = {"SUBSCRIBE": list(self._names), "PSUBSCRIBE": list(self._patterns)}
        self._unconfirmed = sum(map(len, wanted.values()))
        self._sending = asyncio.Lock()
        async with self._sending:
            # Set first: names wanted while this sends are to follow it.
            self._connection = connection
            for verb, names in wanted.items():
                for begin in range(0, len(names), 1000):
                    await connection.send_command(
                        verb, *names[begin : begin + 1000], check_health=False
                    )
        if not self._unconfirmed:
            self._in_force()

    def _in_force(self) -> None:
        """Everything is confirmed, and only now is Redis back: let the layer fill the holes."""
        if self._attempt:
            logger.info("Redis is back")
            totals.count("redis_reconnects")
        self._attempt = 0
        self._user.link_up(self)

    async def _read(self, connection: AbstractConnection) -> None:
        asked = False
        task = asyncio.current_task()
        # More is in the buffer: the updates of this burst leave in one write to each socket.
        cork = cork_of(asyncio.get_running_loop())
        while True:
            # redis-py sends through asyncio.wait_for, which loses a cancellation in Python 3.11.
            if task is not None and task.cancelling():
                raise asyncio.CancelledError
            answer = await connection.read_response(
                timeout=SILENCE, disconnect_on_error=False, push_request=True
            )
            if answer is None:
                if asked:
                    raise ConnectionError(f"no answer within {SILENCE:g} s")
                await connection.send_command("PING", check_health=False)
                asked = True
                continue
            asked = False
            kind = answer[0]
            if kind == b"message":
                if await connection.can_read():
                    cork.begin()
                self._safely(_name(answer[1]), answer[2], twice=False)
            elif kind == b"pmessage":
                if await connection.can_read():
                    cork.begin()
                name = _name(answer[2])
                twice = name in self._names or name in self._leaving
                self._safely(name, answer[3], twice=twice)
            elif kind == b"unsubscribe":
                self._leaving.discard(_name(answer[1]))
            elif kind in (b"subscribe", b"psubscribe"):
                wanted = self._names if kind == b"subscribe" else self._patterns
                future = wanted.get(_name(answer[1]))
                if future is not None and not future.done():
                    future.set_result(None)
                # The first answers belong to the subscriptions with which the connection began.
                self._unconfirmed -= 1
                if self._unconfirmed == 0:
                    self._in_force()

    def _safely(self, name: str, data: bytes, *, twice: bool) -> None:
        try:
            self._user.received(name, data, twice=twice)
        except Exception:
            logger.exception("a message on %s could not be delivered", name)

    def _disconnected(self, connection: AbstractConnection | None) -> None:
        self._connection = None
        self._unsent = []
        self._leaving.clear()
        # A reader of the history now waits until the subscription is in force again.
        loop = asyncio.get_running_loop()
        for wanted in (self._names, self._patterns):
            for name, future in wanted.items():
                if future.done():
                    wanted[name] = loop.create_future()
        if connection is not None:
            self.keep(_disconnect(connection))

    async def close(self) -> None:
        """End the connections; subscriptions that are wanted again open new ones."""
        task, self._task = self._task, None
        if task is not None:
            await cancel(task)
        for future in (*self._names.values(), *self._patterns.values()):
            future.cancel()
        self._names.clear()
        self._patterns.clear()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=1.0)
            await cancel(*late)
        await self.redis.aclose(close_connection_pool=True)
        for pool in (self.redis.connection_pool, self._pool):
            for client in sentinels(pool):
                await client.aclose(close_connection_pool=True)


async def _send(connection: Any, *command: str | int | bytes) -> None:
    """Like `send_command` in a quarter of its time, without its slow packing and its extra task."""
    async with asyncio.timeout(connection.socket_timeout):
        await connection._send_packed_command([_packed(command)])


def _packed(command: Sequence[str | int | bytes]) -> bytes:
    """A command as Redis reads it."""
    parts = [b"*%d\r\n" % len(command)]
    for each in command:
        raw = each if isinstance(each, bytes) else str(each).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(raw), raw))
    return b"".join(parts)


def _tell_away(exc: Exception) -> None:
    if isinstance(exc, NoPermissionError):
        logger.warning(
            "Redis refuses a subscription (%s): its user lacks rights (docs/explanation/redis.md); "
            "sockets stay open, trying again",
            exc,
        )
    else:
        logger.warning("Redis is away (%s); sockets stay open, reconnecting", exc)


def _longest_pause(attempt: int) -> float:
    # After an hour of attempts two to their number is more than a float can hold.
    return min(RECONNECT_MOST, RECONNECT_BASE * 2.0 ** min(attempt, 10))


def _name(name: bytes) -> str:
    """A channel's name. A name that is not valid UTF-8 belongs to another program."""
    return name.decode(errors="replace")


async def _disconnect(connection: AbstractConnection) -> None:
    with contextlib.suppress(RedisError, OSError):
        await connection.disconnect(nowait=True)


def _runs(commands: Sequence[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    """Join neighbouring commands with the same verb, in order."""
    runs: list[tuple[str, list[str]]] = []
    for verb, name in commands:
        if runs and runs[-1][0] == verb:
            runs[-1][1].append(name)
        else:
            runs.append((verb, [name]))
    return runs
