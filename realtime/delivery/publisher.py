"""Publishing from synchronous code: a pooled client, no event loop, no new connection per call."""

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

import redis
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from realtime.delivery import history
from realtime.delivery.history import Published

# Updates in one pipeline: enough to make the round trip cheap, few enough to keep Redis answering
# others in between.
CHUNK: Final = 500


class BackendUnavailable(Exception):
    """Raised when Redis did not take an update, or did not say so in time.

    `published` has the updates that it did confirm, by their position in what was given. They need
    not be the first ones: each shard has its own.
    """

    def __init__(self, reason: object, published: Mapping[int, Published] | None = None) -> None:
        super().__init__(reason, published)
        self.reason = reason
        self.published = dict(published or {})

    def __str__(self) -> str:
        return f"Redis did not answer: {self.reason}"


def pool_options(host: dict[str, Any], retry: Callable[..., Any] = Retry) -> dict[str, Any]:
    """A host entry with the time limits and the retry policy of publishing.

    Never retried by the client: a publish whose answer was lost may have happened, and sending it
    again would give it a second offset. Whoever publishes decides.
    """
    return {
        # In RESP2 a message is a plain list, and the pool looks whether an idle connection is still
        # alive before it lends it (in RESP3 redis-py leaves that to notifications).
        "protocol": 2,
        "socket_timeout": 5,
        "socket_connect_timeout": 2,
        "retry": retry(NoBackoff(), 0),
        **host,
    }


class SyncPublisher:
    """One shard. Thread-safe; after a fork the pool opens its own connections."""

    def __init__(self, host: dict[str, Any]) -> None:
        # Any: redis-py types one client for both worlds, and every answer as a union of all.
        pool = _create_pool(pool_options(host))
        self.redis: Any = redis.Redis(connection_pool=pool)
        # A layer that is replaced (other settings) closes its connections, instead of leaving them
        # to the garbage collector in whatever order that finds them.
        weakref.finalize(self, pool.disconnect).atexit = False

    def publish(self, arguments: list[Any]) -> Published:
        """One update; raises BackendUnavailable."""
        try:
            try:
                answer = self.redis.execute_command("EVALSHA", history.PUBLISH_SHA, *arguments)
            except NoScriptError:
                answer = self.redis.execute_command("EVAL", history.PUBLISH, *arguments)
        except (RedisError, OSError) as exc:
            raise BackendUnavailable(exc) from exc
        return history.decode_published(answer)

    def send(self, name: str, data: bytes) -> None:
        """An ordinary channel-layer message; raises BackendUnavailable."""
        try:
            self.redis.publish(name, data)
        except (RedisError, OSError) as exc:
            raise BackendUnavailable(exc) from exc

    def publish_many(self, commands: Sequence[list[Any]]) -> list[Published]:
        """Any number of updates, in order; raises BackendUnavailable with those confirmed."""
        published: dict[int, Published] = {}
        for begin in range(0, len(commands), CHUNK):
            chunk = commands[begin : begin + CHUNK]
            try:
                answers = self._pipeline(chunk)
            except (RedisError, OSError) as exc:
                raise BackendUnavailable(exc, published) from exc
            take_answers(answers, begin, published)
        return list(published.values())

    def _pipeline(self, chunk: Sequence[list[Any]]) -> list[Any]:
        with self.redis.pipeline(transaction=False) as pipeline:
            fill_pipeline(pipeline, chunk)
            answers: list[Any] = pipeline.execute(raise_on_error=False)
        return answers[1:]  # if the script could not be loaded, the others say so


def fill_pipeline(pipeline: Any, chunk: Sequence[list[Any]]) -> None:
    """Queue the publishing of updates, after the script: sent every time, it is 1 KB.

    Asking first and repeating the pipeline without it would publish updates twice, when somebody
    else's loading of the script falls into the middle of this pipeline.
    """
    pipeline.execute_command("SCRIPT LOAD", history.PUBLISH)
    for arguments in chunk:
        pipeline.execute_command("EVALSHA", history.PUBLISH_SHA, *arguments)


def take_answers(answers: Sequence[Any], begin: int, published: dict[int, Published]) -> None:
    """Add what was confirmed, from position `begin` on; BackendUnavailable if not all was."""
    failure: Exception | None = None
    for index, answer in enumerate(answers, begin):
        if isinstance(answer, Exception):
            failure = failure or answer
        else:
            published[index] = history.decode_published(answer)
    if failure is not None:
        raise BackendUnavailable(failure, published) from failure


def _create_pool(host: dict[str, Any]) -> redis.ConnectionPool:
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
