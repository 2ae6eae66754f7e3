"""Publishes from synchronous code: with pooled connections, and without an event loop."""

import contextlib
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, cast

import redis
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from realtime.delivery import history_scripts
from realtime.delivery.history_scripts import Answer, Arguments, Published

# Updates in one script: enough to make its fixed cost small, few enough to let Redis answer other
# clients in between (half a millisecond).
BATCH: Final = 50
# Updates that may be sent before the first of them is confirmed.
CHUNK: Final = 500

Sealed = tuple[history_scripts.Keys, bytes, str]
# An entry of `hosts`, as the channel layer is configured: options of redis-py's connections.
Host = dict[str, Any]


class BackendUnavailable(Exception):
    """Raised when Redis did not take an update, or did not confirm it in time.

    `published` has the confirmed updates, by their position in the batch. They need not be the
    first ones, since each shard confirms its own.
    """

    def __init__(self, reason: object, published: Mapping[int, Published] | None = None) -> None:
        super().__init__(reason, published)
        self.reason = reason
        self.published = dict(published or {})

    def __str__(self) -> str:
        return f"Redis did not answer: {self.reason}"


def pool_options(host: Host, retry: Callable[[NoBackoff, int], object] = Retry) -> Host:
    """A host entry with the time limits and the retry policy for publishing.

    The client never retries: a publish whose answer was lost may have happened, and sending it
    again would give the update a second offset. The publisher decides.
    """
    return {
        # In RESP2 a message is a plain list, and the pool checks that an idle connection is still
        # alive before it lends it (in RESP3 redis-py leaves that to notifications).
        "protocol": 2,
        "socket_timeout": 5,
        "socket_connect_timeout": 2,
        "retry": retry(NoBackoff(), 0),
        **host,
    }


class SyncPublisher:
    """One shard. Thread-safe; after a fork the pool opens its own connections."""

    def __init__(self, host: Host) -> None:
        pool = _create_pool(pool_options(host))
        # Any: redis-py types one client for both worlds, and every answer as a union of all.
        self.redis: Any = redis.Redis(connection_pool=pool)
        self._pool = pool
        # A layer that is replaced (other settings) closes its connections, instead of leaving them
        # to the garbage collector in whatever order that finds them.
        weakref.finalize(self, pool.disconnect).atexit = False

    def publish(self, items: Sequence[Sealed]) -> list[Published]:
        """Publish updates, in order; raises BackendUnavailable with those confirmed."""
        published: dict[int, Published] = {}
        try:
            if len(items) <= BATCH:
                take_answers([self._run(history_scripts.publish_arguments(items))], 0, published)
            else:
                for begin in range(0, len(items), CHUNK):
                    self._run_all(items[begin : begin + CHUNK], begin, published)
        except (RedisError, OSError) as exc:
            raise BackendUnavailable(exc, published) from exc
        return list(published.values())

    def _run(self, arguments: Arguments) -> Any:
        """Run one script in one round trip."""
        with self._connection() as connection:
            connection.send_command("EVALSHA", history_scripts.PUBLISH_SHA, *arguments)
            try:
                return connection.read_response()
            except NoScriptError:
                connection.send_command("EVAL", history_scripts.PUBLISH, *arguments)
                return connection.read_response()

    def _run_all(
        self, items: Sequence[Sealed], begin: int, published: dict[int, Published]
    ) -> None:
        """Run scripts in one round trip: Redis runs the first one while the next one is written."""
        answers: list[Answer | Exception] = []
        try:
            with self._connection() as connection:
                # Load the script (1 KB) every time: repeating the batch after a NOSCRIPT error
                # would publish updates twice if another client loaded the script in between.
                connection.send_command("SCRIPT", "LOAD", history_scripts.PUBLISH)
                scripts = 0
                for arguments in batches(items):
                    connection.send_command("EVALSHA", history_scripts.PUBLISH_SHA, *arguments)
                    scripts += 1
                _answer(connection)  # if loading failed, the other answers say so
                for _ in range(scripts):
                    answers.append(_answer(connection))
        except (RedisError, OSError):
            take_answers(answers, begin, published)
            raise
        take_answers(answers, begin, published)

    @contextlib.contextmanager
    def _connection(self) -> Iterator[Any]:
        """A pooled connection.

        `redis.Redis` would add retries, which publishing must not have, and statistics; both
        together take longer than everything else that a publisher does.
        """
        connection: Any = self._pool.get_connection()
        try:
            yield connection
        except BaseException:
            # There may be answers on the way that no caller waits for.
            connection.disconnect()
            raise
        finally:
            self._pool.release(connection)

    def send(self, name: str, data: bytes) -> None:
        """An ordinary channel-layer message; raises BackendUnavailable."""
        try:
            self.redis.publish(name, data)
        except (RedisError, OSError) as exc:
            raise BackendUnavailable(exc) from exc


def _answer(connection: Any) -> Answer | Exception:
    try:
        answer: Answer = connection.read_response()
    except ResponseError as exc:
        return exc
    return answer


def batches(items: Sequence[Sealed]) -> Iterator[Arguments]:
    """The arguments of the scripts that publish these updates."""
    for begin in range(0, len(items), BATCH):
        yield history_scripts.publish_arguments(items[begin : begin + BATCH])


def take_answers(
    answers: Sequence[Answer | Exception], begin: int, published: dict[int, Published]
) -> None:
    """Add the confirmed updates from position `begin` on; BackendUnavailable if not all are.

    `answers` are those of scripts with BATCH updates each, the last one with any number.
    """
    failure: Exception | str | None = None
    for number, answer in enumerate(answers):
        if isinstance(answer, Exception):
            failure = failure or answer
            continue
        for index, result in enumerate(
            history_scripts.decode_published(answer), begin + number * BATCH
        ):
            if isinstance(result, Published):
                published[index] = result
            else:
                failure = failure or result
    if failure is not None:
        cause = failure if isinstance(failure, Exception) else None
        raise BackendUnavailable(failure, published) from cause


def _create_pool(host: Host) -> redis.ConnectionPool:
    """The synchronous twin of channels_redis.utils.create_pool, from the same host entry."""
    if "address" in host:
        return redis.ConnectionPool.from_url(host.pop("address"), **host)
    if "master_name" in host:
        sentinels, options = host.pop("sentinels"), host.pop("sentinel_kwargs", None)
        make_sentinel: Any = Sentinel
        make_pool: Any = SentinelConnectionPool
        pool = make_pool(
            host.pop("master_name"), make_sentinel(sentinels, sentinel_kwargs=options), **host
        )
        return cast(redis.ConnectionPool, pool)
    if "path" in host:
        return redis.ConnectionPool(connection_class=redis.UnixDomainSocketConnection, **host)
    return redis.ConnectionPool(**host)
