"""The Redis channel layer that settings name and publishers use."""

import asyncio
import logging
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

from channels_redis.pubsub import RedisPubSubChannelLayer
from channels_redis.utils import _wrap_close, decode_hosts
from redis import Redis
from redis.exceptions import RedisError

from realtime.conf import conf, valkey_directory
from realtime.delivery import history_scripts
from realtime.delivery.events import update_in
from realtime.delivery.history_scripts import Published
from realtime.delivery.layers.base import EXTENSION, Item
from realtime.delivery.layers.redis_histories import (
    newest_page,
    page_after,
    reading,
    with_earlier,
)
from realtime.delivery.layers.redis_loop import RedisLoopLayer
from realtime.delivery.layers.redis_names import Names, shard
from realtime.delivery.process_layer import Message
from realtime.delivery.publisher import BackendUnavailable, Host, SyncPublisher
from realtime.delivery.recording import record_published
from realtime.delivery.stream_state import Page
from realtime.isolation import prefixed
from realtime.protocol import Position
from realtime.standalone import valkey
from realtime.streams import CHANNELS, Channel, Stream

logger = logging.getLogger(__name__)


class RedisStreamLayer(RedisPubSubChannelLayer):  # type: ignore[misc]
    """channels_redis' pub/sub layer with streams: its hosts, sharding, sentinel, serialisation.

    It is configured like `RedisPubSubChannelLayer`. Without `hosts` it uses the embedded Valkey if
    REALTIME_EMBEDDED_VALKEY starts one; `capacity`, `channel_capacity` and `expiry` are those of
    the specification. Under test each test run has a prefix of its own: realtime/isolation.py.
    Coroutines run on the part of the layer that belongs to the running event loop;
    `send_updates_sync` needs no loop.
    """

    extensions = ["groups", "flush", EXTENSION]

    def __init__(
        self,
        hosts: Sequence[object] | None = None,
        prefix: str = "asgi",
        expiry: float = 60,
        capacity: int = 100,
        channel_capacity: dict[str | re.Pattern[str], int] | None = None,
        **kwargs: object,
    ) -> None:
        prefix = prefixed(prefix)
        if hosts is None and conf.REALTIME_EMBEDDED_VALKEY:
            hosts = [valkey.url(valkey_directory())]
        super().__init__(hosts=hosts, prefix=prefix, **kwargs)
        self.hosts: list[Host] = decode_hosts(hosts)
        self.prefix = prefix
        self.expiry = expiry
        self.capacity = capacity
        self.channel_capacity = channel_capacity or {}
        self._publishers = [SyncPublisher(host) for host in self.hosts]
        self.names = Names(prefix, self._serializer.crypter)
        self._layers: dict[asyncio.AbstractEventLoop, RedisLoopLayer] = {}

    def _get_layer(self) -> RedisLoopLayer:
        loop = asyncio.get_running_loop()
        layer = self._layers.get(loop)
        if layer is None:
            layer = self._layers[loop] = RedisLoopLayer(self)
            _wrap_close(self, loop)
        return layer

    @property
    def loop_layer(self) -> RedisLoopLayer:
        """The part that belongs to the running event loop."""
        return self._get_layer()

    async def flush(self) -> None:
        """Remove all groups, channels, and messages that wait on general channels.

        Streams keep their histories.
        """
        layer = self._get_layer()
        try:
            await layer.queues.delete_all()
        except BackendUnavailable as exc:
            logger.warning("messages waiting on general channels were not deleted: %s", exc)
        await layer.flush()

    # Publishing without an event loop ---------------------------------------------------------

    def send_updates_sync(self, items: Sequence[Item]) -> list[Published]:
        """Publish from synchronous code: one round trip for few updates, pipelines for many."""
        published = self._publish(items)
        record_published(items, published)
        return published

    def _publish(self, items: Sequence[Item]) -> list[Published]:
        if len(self._publishers) == 1:
            return self._publishers[0].publish([self.names.sealed(*item) for item in items])
        results: dict[int, Published] = {}
        by_publisher: dict[SyncPublisher, list[int]] = {}
        for index, item in enumerate(items):
            by_publisher.setdefault(self._publisher(item[0]), []).append(index)
        for publisher, indexes in by_publisher.items():
            sealed = [self.names.sealed(*items[index]) for index in indexes]
            try:
                results.update(zip(indexes, publisher.publish(sealed), strict=True))
            except BackendUnavailable as exc:
                raise with_earlier(exc, indexes, results) from exc
        return [results[index] for index in range(len(items))]

    # Reading without an event loop -----------------------------------------------------------

    def read_newest_sync(self, streams: Sequence[Stream]) -> list[Page]:
        """The newest update of each stream: one round trip for each shard that has some of them.

        Raises BackendUnavailable.
        """
        pages: dict[Stream, Page] = {}
        by_publisher: dict[SyncPublisher, list[Stream]] = {}
        for stream in streams:
            by_publisher.setdefault(self._publisher(stream), []).append(stream)
        for publisher, wanted in by_publisher.items():
            for stream, answer in zip(wanted, self._read_newest(publisher, wanted), strict=True):
                pages[stream] = newest_page(self.names, stream, answer)
        return [pages[stream] for stream in streams]

    def _read_newest(self, publisher: SyncPublisher, streams: Sequence[Stream]) -> list[Any]:
        try:
            with publisher.redis.pipeline(transaction=False) as pipeline:
                script = publisher.redis.register_script(history_scripts.READ)
                for stream in streams:
                    keys, args = reading(self.names, stream, None)
                    script(keys=keys, args=[*args, 1, 1], client=pipeline)
                answers: list[Any] = pipeline.execute()
        except (RedisError, OSError) as exc:
            raise BackendUnavailable(exc) from exc
        return answers

    def read_page_sync(self, stream: Stream, since: Position | None, most: int) -> Page:
        """The first `most` updates behind a position, or the newest ones without it.

        Raises BackendUnavailable.
        """
        client = self._publisher(stream).redis
        keys, args = reading(self.names, stream, since)
        text = history_scripts.READ if since is None else history_scripts.READ_AFTER
        try:
            answer = client.register_script(text)(keys=keys, args=[*args, most, most])
        except (RedisError, OSError) as exc:
            raise BackendUnavailable(exc) from exc
        if since is None:
            return newest_page(self.names, stream, answer)
        return page_after(self.names, stream, answer, most)

    def group_send_sync(self, group: str, message: Message) -> None:
        """`group_send` for synchronous code; raises BackendUnavailable."""
        item = update_in(group, message)
        if item is not None:
            self.send_updates_sync([item])
            return
        self._publisher_of(group).send(self.names.group_channel(group), self.serialize(message))

    def _publisher(self, stream: Stream) -> SyncPublisher:
        return self._publisher_of(stream.group)

    def _publisher_of(self, group: str) -> SyncPublisher:
        return self._publishers[shard(self.names.group_channel(group), len(self._publishers))]

    def read_leases(self) -> dict[str, dict[str, int]]:
        """The numbers of all living processes, by process; raises BackendUnavailable."""
        client = self._publishers[0].redis
        index = history_scripts.lease_index(self.prefix)
        try:
            client.zremrangebyscore(index, "-inf", time.time())
            processes = [name.decode() for name in client.zrange(index, 0, -1)]
            with client.pipeline(transaction=False) as pipeline:
                for process in processes:
                    pipeline.hgetall(history_scripts.lease_key(self.prefix, process))
                answers = pipeline.execute()
        except (RedisError, OSError) as exc:
            raise BackendUnavailable(exc) from exc
        return {
            process: {name.decode(): int(number) for name, number in fields.items()}
            for process, fields in zip(processes, answers, strict=True)
        }

    def count_streams(self) -> dict[Channel, int]:
        """How many streams each channel has had, over all shards; raises BackendUnavailable."""
        counts = dict.fromkeys(CHANNELS, 0)
        try:
            for client in self.sync_clients:
                for channel in CHANNELS:
                    counts[channel] += client.scard(history_scripts.index_key(self.prefix, channel))
        except (RedisError, OSError) as exc:
            raise BackendUnavailable(exc) from exc
        return counts

    def read_symbols(self, channel: Channel) -> set[str]:
        """The symbols whose streams have had an update; raises BackendUnavailable."""
        key = history_scripts.index_key(self.prefix, channel)
        try:
            answers = [cast("set[bytes]", client.smembers(key)) for client in self.sync_clients]
        except (RedisError, OSError) as exc:
            raise BackendUnavailable(exc) from exc
        return {symbol.decode() for symbols in answers for symbol in symbols}

    # The totals of delivery/totals.py --------------------------------------------------------

    def add_totals(self, counts: Mapping[str, int]) -> None:
        """Add to the totals of all processes; raises BackendUnavailable."""
        key = history_scripts.totals_key(self.prefix)
        try:
            with self.sync_client.pipeline(transaction=False) as pipeline:
                for field, number in counts.items():
                    pipeline.hincrby(key, field, number)
                pipeline.execute()
        except (RedisError, OSError) as exc:
            raise BackendUnavailable(exc) from exc

    def read_totals(self) -> dict[str, int]:
        """The totals of all processes; raises BackendUnavailable."""
        try:
            fields = self.sync_client.hgetall(history_scripts.totals_key(self.prefix))
        except (RedisError, OSError) as exc:
            raise BackendUnavailable(exc) from exc
        return {field.decode(): int(number) for field, number in fields.items()}

    @property
    def sync_client(self) -> Any:
        """A pooled synchronous client of the first shard, for what is not a stream."""
        return self.sync_clients[0]

    @property
    def sync_clients(self) -> list[Redis]:
        """A pooled synchronous client of each shard."""
        return [publisher.redis for publisher in self._publishers]
