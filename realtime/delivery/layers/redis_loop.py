"""The part of the Redis layer that belongs to one event loop."""

import asyncio
import logging
import re
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Final, Protocol

from redis.exceptions import RedisError

from realtime.delivery import history_scripts
from realtime.delivery.events import update_in
from realtime.delivery.history_scripts import Published
from realtime.delivery.layers.base import Item, StreamLayer
from realtime.delivery.layers.redis_histories import Histories
from realtime.delivery.layers.redis_names import Names, shard
from realtime.delivery.layers.redis_queues import Queues
from realtime.delivery.link import Link
from realtime.delivery.process_layer import Local, Message, own_copy, require_message
from realtime.delivery.publisher import BackendUnavailable, Host
from realtime.delivery.recording import record_published
from realtime.delivery.stream_state import Page
from realtime.protocol import Position
from realtime.streams import WILDCARD, Channel, Stream

logger = logging.getLogger(__name__)

# Seconds for which a group without members stays subscribed: a client that reconnects finds its
# stream in memory, and a crowd that comes and goes costs no SUBSCRIBE.
LINGER: Final = 10.0
# Seconds for which the first channel of a process waits for Redis.
FIRST_PATIENCE: Final = 1.0
# Attempts of a process, after a reconnect, to find streams that were created meanwhile.
FIND_ATTEMPTS: Final = 30


class WholeLayer(Protocol):
    """The layer to which this part belongs."""

    hosts: list[Host]
    names: Names
    expiry: float
    capacity: int
    channel_capacity: dict[str | re.Pattern[str], int]

    def serialize(self, message: Message) -> bytes: ...

    def deserialize(self, data: bytes) -> Message: ...


class RedisLoopLayer(StreamLayer):
    """The Redis layer of one event loop: a link to each shard, and the local part."""

    def __init__(self, channel_layer: WholeLayer) -> None:
        super().__init__(channel_layer.expiry, capacity=channel_layer.capacity)
        compiled = self.compile_capacities(channel_layer.channel_capacity)
        self.channel_capacity = compiled  # type: ignore[assignment]
        self.channel_layer = channel_layer
        self.names = channel_layer.names
        self.prefix = self.names.prefix
        self.links = [Link(host, self) for host in channel_layer.hosts]
        self.queues = Queues(
            self.names.prefix, self.links, self._channel_link, channel_layer.deserialize
        )
        self.histories = Histories(self.names, self._link)
        self._lingering: dict[str, asyncio.TimerHandle] = {}
        self._reachable = False  # has this process' direct channel been subscribed to?
        self._on_reconnect: list[Callable[[], None]] = []
        self._on_lease: list[Callable[[], None]] = []

    # Messages from the links ------------------------------------------------------------------

    def received(self, name: str, data: bytes, *, twice: bool) -> None:
        """One message of a pub/sub channel."""
        group = self.names.group_of(name)
        if group is not None:
            if data[:1] == history_scripts.MARK:
                stream = self._known_stream(group)
                if stream is not None:
                    update = history_scripts.decode_message(stream, data)
                    self.local.fanout.receive(self.names.open(update))
            elif not twice:
                self.local.deliver_group(group, self.channel_layer.deserialize(data))
            return
        channel = self.queues.channel_of(name)
        if channel is not None:
            self.queues.ask(self.local, channel)
            return
        message = self.channel_layer.deserialize(data)
        channel = message.pop("__channel__", "")
        mailbox = self.local.mailboxes.get(channel)
        if mailbox is None:
            return  # its consumer has gone
        try:
            mailbox.put(message)
        except Exception:
            logger.warning("channel %s is full: a message was dropped", channel)

    def _known_stream(self, group: str) -> Stream | None:
        """The stream of a group; None if it has no readers here."""
        state = self.local.fanout.streams.get(group)
        if state is not None:
            return state.stream
        stream = Stream.from_group(group)
        known = stream is not None and stream.channel in self.local.fanout.complete
        return stream if known else None

    def on_reconnect(self, callback: Callable[[], None]) -> None:
        self._on_reconnect.append(callback)

    def link_down(self, link: Link) -> None:
        groups = [group for group in self.local.fanout.streams if self._link(group) is link]
        self.local.fanout.tell_stale(groups, "backend_unavailable")

    def link_up(self, link: Link) -> None:
        """After a reconnect, compare every stream with its history and fill the holes."""
        self.queues.ask_all(self.local, link)
        for callback in self._on_reconnect:
            callback()
        fanout = self.local.fanout
        fanout.resync_all(group for group in fanout.streams if self._link(group) is link)
        for channel in fanout.complete:
            link.keep(self._find_born(link, channel))

    # Channels and groups ----------------------------------------------------------------------

    def _link(self, group: str) -> Link:
        return self._channel_link(self.names.group_channel(group))

    def _channel_link(self, channel: str) -> Link:
        return self.links[shard(channel, len(self.links))]

    async def new_channel(self, prefix: str = "specific.") -> str:
        name = self.local.new_channel(prefix)
        direct = self.names.direct(self.local.process)
        confirmed = self._channel_link(direct).want(direct)
        if not self._reachable:
            # A caller that learns the name may use it at once. Later names share this subscription.
            await asyncio.wait([confirmed], timeout=FIRST_PATIENCE)
            self._reachable = True
        return name

    async def send(self, channel: str, message: Message) -> None:
        self.require_valid_channel_name(channel)
        if self.local.owns(channel):
            self.local.mailbox(channel).put(own_copy(message))
            return
        if "!" not in channel:
            # Like the layer of channels_redis it carries any value that can be serialised.
            data = self.channel_layer.serialize(message)
            await self.queues.put(channel, data, self.get_capacity(channel), self.expiry)
            return
        require_message(message)
        # prefix + 32 hexadecimal digits of the process + ! + number
        name = self.names.direct(channel.partition("!")[0][-32:])
        data = self.channel_layer.serialize({**message, "__channel__": channel})
        await self._channel_link(name).publish(name, data)

    async def receive(self, channel: str) -> Message:
        self.require_valid_channel_name(channel)
        if "!" not in channel:
            await self.queues.open(self.local, channel)
            self.queues.ask(self.local, channel)
        elif not self.local.owns(channel):
            raise RuntimeError(
                f"receive() takes general channels and those of this process, and {channel!r} "
                "belongs to another one."
            )
        return await super().receive(channel)

    def detach(self, channel: str) -> None:
        super().detach(channel)
        self.queues.close(channel)

    async def group_send(self, group: str, message: Message) -> None:
        self.require_valid_group_name(group)
        require_message(message)
        item = update_in(group, message)
        if item is not None:
            await self.send_updates([item])
        else:
            await self.ask_group(group, message)

    async def ask_group(self, group: str, message: Message) -> int:
        name = self.names.group_channel(group)
        return await self._link(group).publish(name, self.channel_layer.serialize(message))

    async def _watch(self, group: str, stream: Stream | None) -> None:
        timer = self._lingering.pop(group, None)
        if timer is not None:
            timer.cancel()
        name = self.names.group_channel(group)
        if stream is None:
            await self._link(group).subscribe(name)
        elif stream.wildcard:
            await self._watch_every(stream)
        else:
            # Not awaited here: `prepare` waits for the history, which is read after this
            # subscription has been confirmed, with a time limit of its caller.
            if stream.channel not in self.local.fanout.complete:
                self._link(group).want(name)
            self.local.fanout.state(stream)

    async def _watch_every(self, stream: Stream) -> None:
        """Watch all symbols of a channel: a pattern on every shard, then the indexed streams."""
        for link in self.links:
            await link.subscribe(self.names.every(stream.channel), pattern=True)
        if stream.channel in self.local.fanout.complete:
            return
        for link in self.links:
            await self._know_streams(link, stream.channel)
        self.local.fanout.complete.add(stream.channel)
        # The pattern covers them from now on. A second subscription would double the work, and
        # `receivers` would count this process twice.
        for state in self.local.fanout.channel_states(stream.channel):
            group = state.stream.group
            self._link(group).unwant(self.names.group_channel(group))

    async def _know_streams(self, link: Link, channel: Channel) -> list[str]:
        """Register the streams that a shard's index names; returns their groups."""
        streams = await self.histories.find(link, channel)
        return [self.local.fanout.state(stream).stream.group for stream in streams]

    async def _find_born(self, link: Link, channel: Channel) -> None:
        """After a reconnect, find streams whose first updates were not received here."""
        await link.subscribe(self.names.every(channel), pattern=True)
        before = set(self.local.fanout.streams)
        for _ in range(FIND_ATTEMPTS):
            try:
                groups = await self._know_streams(link, channel)
            except BackendUnavailable as exc:
                logger.warning("the streams of %s could not be read: %s", channel, exc)
                await asyncio.sleep(1.0)  # a connection that is lost again starts over
            else:
                self.local.fanout.resync_all(group for group in groups if group not in before)
                return

    def _linger(self, groups: Sequence[str]) -> None:
        for group in groups:
            if self.local.fanout.forget_unborn(group):
                # No later reader would miss an update of it.
                self._link(group).unwant(self.names.group_channel(group))
            elif group not in self._lingering:
                self._linger_on(group)

    def _linger_on(self, group: str) -> None:
        loop = asyncio.get_running_loop()
        self._lingering[group] = loop.call_later(LINGER, self._unwatch, group)

    def _unwatch(self, group: str) -> None:
        self._lingering.pop(group, None)
        if group in self.local.groups:
            return
        stream = Stream.from_group(group)
        if stream is not None and stream.wildcard:
            return  # kept: this process will probably be asked for every symbol again
        self._link(group).unwant(self.names.group_channel(group))
        fanout = self.local.fanout
        if stream is None or not self._knows_all(stream.channel):
            fanout.forget(group)
        elif not fanout.forget_unborn(group) and fanout.is_unsettled(group):
            self._linger_on(group)  # its first update may be due

    def _knows_all(self, channel: Channel) -> bool:
        """Whether all streams of a channel are known here, or about to be."""
        every = Stream(channel, WILDCARD).group
        return channel in self.local.fanout.complete or every in self.local.groups

    async def prepare(self, stream: Stream, since: Mapping[str, Position]) -> None:
        await super().prepare(stream, since)
        if stream.wildcard:
            # The index also names streams that have been quiet for so long that their keys have
            # expired.
            for state in self.local.fanout.channel_states(stream.channel):
                if state.stream.group not in self.local.groups:
                    self.local.fanout.forget_unborn(state.stream.group)

    # Streams ----------------------------------------------------------------------------------

    async def send_updates(self, items: Sequence[Item]) -> list[Published]:
        published = await self.histories.publish(items)
        record_published(items, published)
        return published

    async def read_history(self, stream: Stream, since: Position | None) -> Page:
        return await self.histories.read_history(stream, since)

    async def read_after(self, stream: Stream, position: Position) -> Page:
        return await self.histories.read_after(stream, position)

    async def read_newest(self, stream: Stream, count: int) -> Page:
        return await self.histories.read_newest(stream, count)

    async def restart_stream(self, stream: Stream, epoch: str, common: int) -> None:
        await self.histories.restart_stream(stream, epoch, common)

    async def find_streams(self, channel: Channel) -> list[Stream]:
        return [each for link in self.links for each in await self.histories.find(link, channel)]

    # The lease of this process, on the first shard --------------------------------------------

    async def write_lease(self, fields: Mapping[str, int], seconds: float) -> None:
        """Publish numbers about this process that expire with it; raises BackendUnavailable."""
        process = self.local.process
        key = history_scripts.lease_key(self.prefix, process)
        index = history_scripts.lease_index(self.prefix)
        try:
            async with self.links[0].redis.pipeline(transaction=True) as pipeline:
                pipeline.delete(key)
                if fields:
                    pipeline.hset(key, mapping=dict(fields))
                    pipeline.pexpire(key, int(seconds * 1000))
                    pipeline.zadd(index, {process: time.time() + seconds})
                else:
                    pipeline.zrem(index, process)
                await pipeline.execute()
        except (RedisError, OSError) as exc:
            raise BackendUnavailable(exc) from exc
        for callback in self._on_lease:
            callback()

    def on_lease(self, callback: Callable[[], None]) -> None:
        """Call `callback` whenever the lease has been written, every few seconds."""
        self._on_lease.append(callback)

    async def execute(self, *command: str | bytes | float) -> object:
        try:
            return await self.links[0].redis.execute_command(*command)
        except (RedisError, OSError) as exc:
            raise BackendUnavailable(exc) from exc

    async def execute_all(self, commands: Iterable[Sequence[str | float]]) -> None:
        """Run commands in one round trip; raises BackendUnavailable."""
        pipeline = self.links[0].redis.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        try:
            await pipeline.execute()
        except (RedisError, OSError) as exc:
            raise BackendUnavailable(exc) from exc

    def keep(self, coroutine: Coroutine[object, object, None]) -> None:
        """Run the coroutine in the background; `settle` and `flush` wait for it."""
        self.links[0].keep(coroutine)

    async def settle(self) -> None:
        await asyncio.sleep(0)  # lets the tasks that are due in this turn start
        await asyncio.gather(*(link.settle() for link in self.links))

    async def flush(self) -> None:
        for timer in self._lingering.values():
            timer.cancel()
        self._lingering.clear()
        self.queues.clear()
        self._reachable = False
        self.local.fanout.close()
        self.local = Local(self, self.get_capacity, self.expiry)
        self._parts.clear()
        for link in self.links:
            await link.close()
