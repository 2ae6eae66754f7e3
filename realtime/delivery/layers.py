"""The channel layers: Redis (or Valkey) for everything that runs, memory for tests.

Both are complete channel layers. Beside the specification they have the extension `streams`:
updates get offsets, a history, and a way to sockets that passes no queue and no JSON parser.
"""

import asyncio
import logging
import math
import re
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from channels.layers import BaseChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer
from channels_redis.utils import _consistent_hash, _wrap_close, decode_hosts
from django.conf import settings
from redis.exceptions import RedisError

from realtime.delivery import history, local, slots
from realtime.delivery.fanout import RECENT, Page, Start
from realtime.delivery.history import Published
from realtime.delivery.link import Link
from realtime.delivery.local import UPDATE, Local, Mailbox, Message, own_copy, require_message
from realtime.delivery.publisher import BackendUnavailable, SyncPublisher
from realtime.delivery.queues import Queues
from realtime.delivery.slots import Full
from realtime.delivery.updates import Reader, Update
from realtime.protocol import Position
from realtime.streams import CHANNELS, Channel, Stream

logger = logging.getLogger(__name__)

EXTENSION: Final = "streams"
# Seconds for which a group without members stays subscribed. A client that reconnects finds its
# stream in memory, and a crowd that comes and goes costs no SUBSCRIBE.
LINGER: Final = 10.0
# Seconds that the first channel of a process waits for Redis.
FIRST_PATIENCE: Final = 1.0
# Times that a process asks, after a reconnect, for the streams that were born meanwhile.
FIND_ATTEMPTS: Final = 30
# Streams whose names in Redis are remembered; beyond that they are made anew.
MAX_REMEMBERED: Final = 20_000

Item = tuple[Stream, bytes]


class StreamLayer(BaseChannelLayer):
    """What the two backends have in common; one instance belongs to one event loop."""

    extensions = ["groups", "flush", EXTENSION]

    def __init__(self, expiry: float = math.inf, **capacities: Any) -> None:
        """`capacity` and `channel_capacity` as the specification has them."""
        super().__init__(expiry=expiry, **capacities)  # type: ignore[arg-type]  # not only int
        self.local = Local(self, self.get_capacity, expiry)

    # The extension "streams" ------------------------------------------------------------------

    async def send_updates(self, items: Sequence[Item]) -> list[Published]:
        """Publish updates; each gets its stream's next offset."""
        raise NotImplementedError

    async def read_history(self, stream: Stream, since: Position | None) -> Page:
        raise NotImplementedError

    async def read_after(self, stream: Stream, position: Position) -> Page:
        raise NotImplementedError

    async def read_newest(self, stream: Stream, count: int) -> Page:
        """The newest `count` updates, or as many as are held."""
        raise NotImplementedError

    async def restart_stream(self, stream: Stream, epoch: str) -> None:
        raise NotImplementedError

    async def find_streams(self, channel: Channel) -> list[Stream]:
        """Every stream of a channel that has had an update; raises BackendUnavailable."""
        raise NotImplementedError

    def attach(self, channel: str, callback: Callable[[Message], None]) -> None:
        """Give messages for `channel` to `callback` instead of a queue."""
        self.local.attach(channel, callback)

    def detach(self, channel: str) -> None:
        """Forget a channel and all its groups; for a socket that has closed."""
        self._linger(self.local.detach(channel))

    def is_ready(self, stream: Stream, since: Mapping[str, Position]) -> bool:
        return self.local.is_ready(stream, since)

    async def prepare(self, stream: Stream, since: Mapping[str, Position]) -> None:
        await self.local.prepare(stream, since)

    def start(
        self, stream: Stream, reader: Reader, since: Mapping[str, Position]
    ) -> dict[str, Start]:
        return self.local.start(stream, reader, since, settings.REALTIME_RECOVERY_LIMIT)

    def join(self, stream: Stream, reader: Reader) -> None:
        """Join without a start: for a reader that takes the place of another one."""
        self.local.fanout.join(stream, reader)

    def leave(self, stream: Stream, reader: Reader) -> None:
        self.local.fanout.leave(stream, reader)

    def positions(self, streams: Sequence[Stream]) -> dict[str, tuple[str, int]]:
        """Epoch and newest offset of each stream (all streams, for `*`), by symbol."""
        return self.local.fanout.positions(streams)

    def heads(self, streams: Sequence[Stream]) -> dict[str, int]:
        """The newest offset of each stream, by symbol."""
        return {name: offset for name, (_, offset) in self.positions(streams).items()}

    def on_reconnect(self, callback: Callable[[], None]) -> None:
        """Call when the backend is back: what was sent to groups meanwhile is lost."""

    async def take_slot(self, slot: str, limits: Mapping[str, int]) -> Full | None:
        """Take a slot in the account of every subject in `limits`; None if there was room in all.

        Raises BackendUnavailable.
        """
        raise NotImplementedError

    async def keep_slot(
        self, slot: str, limits: Mapping[str, int], *, newest_first: bool
    ) -> Full | None:
        """Hold a slot in every account, full or not; Full: of one, this slot has to go.

        Of more than its limit the newest go first, or the oldest. Raises BackendUnavailable.
        """
        raise NotImplementedError

    def free_slot(self, slot: str, subjects: Sequence[str]) -> None:
        """Give a slot back."""
        raise NotImplementedError

    async def count(self, name: str, limit: int, seconds: float) -> float:
        """Count an event; 0 while there were at most `limit` in `seconds`, else seconds to wait.

        Raises BackendUnavailable.
        """
        raise NotImplementedError

    def _linger(self, groups: Sequence[str]) -> None:
        """These groups have no members any more."""

    # Channels and groups ----------------------------------------------------------------------

    async def new_channel(self, prefix: str = "specific.") -> str:
        return self.local.new_channel(prefix)

    async def receive(self, channel: str) -> Message:
        self.require_valid_channel_name(channel)
        mailbox = self.local.mailbox(channel)
        try:
            return await mailbox.get()
        except asyncio.CancelledError:
            loop = asyncio.get_running_loop()
            loop.call_later(local.ABANDONED_SECONDS, self._abandon, channel, mailbox, mailbox.calls)
            raise

    def _abandon(self, channel: str, mailbox: Mailbox, calls: int) -> None:
        """Forget a channel, unless somebody has received from it since its `calls`th time."""
        if self.local.mailboxes.get(channel) is not mailbox:
            return
        if mailbox.receivers == 0 and mailbox.calls == calls:
            self.detach(channel)

    async def group_add(self, group: str, channel: str) -> None:
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        if channel not in self.local.mailboxes:
            raise RuntimeError(
                f"group_add() takes channels of this process, and {channel!r} is none. Consumers "
                f"call self.channel_layer.group_add({group!r}, self.channel_name)."
            )
        self.local.add(group, channel)
        stream = Stream.from_group(group)
        await self._watch(group, stream)
        if stream is not None:
            await self.local.read_by_mailbox(stream, channel)

    async def _watch(self, group: str, stream: Stream | None) -> None:
        """Hear what is sent to a group from now on."""

    async def group_discard(self, group: str, channel: str) -> None:
        self.require_valid_group_name(group)
        if self.local.discard(group, channel):
            self._linger([group])


def _newest(kept: Sequence[Update], count: int) -> list[Update]:
    return list(kept)[-count:] if count > 0 else []


def update_of(group: str, message: Message) -> Item | None:
    """The stream and body of a `stream.update` message to a stream's group; else None."""
    if message.get("type") != UPDATE or "body" not in message:
        return None
    stream = Stream.from_group(group)
    return None if stream is None or stream.wildcard else (stream, message["body"].encode())


def _with_earlier(
    exc: BackendUnavailable, indexes: Sequence[int], earlier: Mapping[int, Published]
) -> BackendUnavailable:
    """What one shard confirmed, and the shards before it, by position in what was given to all."""
    confirmed = {indexes[index]: answer for index, answer in exc.published.items()}
    return BackendUnavailable(exc.reason, {**earlier, **confirmed})


class MemoryStreamLayer(StreamLayer):
    """Everything in one process: for tests. A second process hears nothing of it."""

    def __init__(self, expiry: float = 60, capacity: int = 100, **kwargs: Any) -> None:
        super().__init__(expiry, capacity=capacity)
        capacities = kwargs.get("channel_capacity", {})
        self.channel_capacity = self.compile_capacities(capacities)  # type: ignore[assignment]
        self._streams: dict[str, tuple[str, deque[Update]]] = {}
        self._slots: dict[str, dict[str, None]] = {}
        self._counts: dict[str, tuple[float, int]] = {}
        self.local.fanout.complete.update(CHANNELS)

    async def send(self, channel: str, message: Message) -> None:
        self.require_valid_channel_name(channel)
        self.local.mailbox(channel).put(own_copy(message))

    async def receive(self, channel: str) -> Message:
        message = await super().receive(channel)
        self._forget_empty()
        return message

    async def group_add(self, group: str, channel: str) -> None:
        self.require_valid_channel_name(channel)
        if "!" not in channel:
            # Every general channel is one of this process, whether anybody has used it or not.
            self.local.mailbox(channel)
        await super().group_add(group, channel)

    # Tests written for Channels' own in-memory layer look at these two.

    @property
    def channels(self) -> dict[str, Mailbox]:
        """The channels in which messages wait, or from which somebody is receiving."""
        mailboxes = self.local.mailboxes.items()
        return {name: each for name, each in mailboxes if each.waiting or each.receivers}

    @property
    def groups(self) -> dict[str, dict[str, None]]:
        """The channels in each group."""
        return self.local.groups

    def _forget_empty(self) -> None:
        """General channels are not made by anybody, so nobody forgets them but this."""
        for name, mailbox in tuple(self.local.mailboxes.items()):
            mailbox.drop_expired()
            idle = not (mailbox.waiting or mailbox.receivers or mailbox.groups or mailbox.callback)
            if idle and "!" not in name:
                self.detach(name)

    async def group_send(self, group: str, message: Message) -> None:
        self.require_valid_group_name(group)
        require_message(message)
        item = update_of(group, message)
        if item is not None:
            await self.send_updates([item])
        else:
            self.local.deliver_group(group, message)

    async def send_updates(self, items: Sequence[Item]) -> list[Published]:
        published = []
        for stream, body in items:
            epoch, kept = self._kept(stream)
            update = Update(stream, epoch, kept[-1].offset + 1 if kept else 1, body)
            kept.append(update)
            self.local.fanout.receive(update)
            published.append(Published(epoch, update.offset, 1))
        return published

    async def read_history(self, stream: Stream, since: Position | None) -> Page:
        epoch, kept = self._kept(stream)
        head = kept[-1].offset if kept else 0
        known = since.offset if since is not None and since.epoch == epoch else 0
        unknown = since is None or head - known > RECENT
        return Page(epoch, head, _newest(kept, 1 if unknown else head - known))

    async def read_after(self, stream: Stream, position: Position) -> Page:
        epoch, kept = self._kept(stream)
        known = position.offset if position.epoch == epoch else 0
        following = [update for update in kept if update.offset > known]
        more = len(following) > RECENT
        page = following[:RECENT]
        head = kept[-1].offset if kept else 0
        return Page(epoch, page[-1].offset if more else head, page, more)

    async def read_newest(self, stream: Stream, count: int) -> Page:
        epoch, kept = self._kept(stream)
        return Page(epoch, kept[-1].offset if kept else 0, _newest(kept, count))

    def _kept(self, stream: Stream) -> tuple[str, deque[Update]]:
        length = settings.REALTIME_HISTORY_LENGTH[stream.channel]
        return self._streams.setdefault(stream.group, (history.new_epoch(), deque(maxlen=length)))

    async def restart_stream(self, stream: Stream, epoch: str) -> None:
        if self._streams.get(stream.group, (None,))[0] == epoch:
            del self._streams[stream.group]

    async def find_streams(self, channel: Channel) -> list[Stream]:
        found = (Stream.from_group(group) for group, (_, kept) in self._streams.items() if kept)
        return [stream for stream in found if stream is not None and stream.channel == channel]

    async def take_slot(self, slot: str, limits: Mapping[str, int]) -> Full | None:
        for subject, limit in limits.items():
            held = self._slots.setdefault(subject, {})
            if len(held) >= limit:
                return Full(subject, limit, next(iter(held), ""))
        for subject in limits:
            self._slots[subject][slot] = None
        return None

    async def keep_slot(
        self, slot: str, limits: Mapping[str, int], *, newest_first: bool
    ) -> Full | None:
        beyond: Full | None = None
        for subject, limit in limits.items():
            held = self._slots.setdefault(subject, {})
            held.setdefault(slot)
            staying = list(held)[:limit] if newest_first else list(held)[-limit:]
            if slot not in staying and beyond is None:
                beyond = Full(subject, limit, "")
        return beyond

    def free_slot(self, slot: str, subjects: Sequence[str]) -> None:
        for subject in subjects:
            self._slots.get(subject, {}).pop(slot, None)

    async def count(self, name: str, limit: int, seconds: float) -> float:
        now = time.monotonic()
        ends, number = self._counts.get(name, (0.0, 0))
        if ends <= now:
            ends, number = now + seconds, 0
        self._counts[name] = (ends, number + 1)
        return 0.0 if number < limit else ends - now

    async def flush(self) -> None:
        self.local.fanout.close()
        self._streams.clear()
        self._slots.clear()
        self._counts.clear()
        self.local = Local(self, self.get_capacity, self.expiry)
        self.local.fanout.complete.update(CHANNELS)

    async def close(self) -> None:
        self.local.fanout.close()


class RedisLoopLayer(StreamLayer):
    """The Redis layer of one event loop: a link to each shard, and the local part."""

    def __init__(self, channel_layer: "RedisStreamLayer") -> None:
        super().__init__(channel_layer.expiry, capacity=channel_layer.capacity)
        compiled = self.compile_capacities(channel_layer.channel_capacity)
        self.channel_capacity = compiled  # type: ignore[assignment]
        self.channel_layer = channel_layer
        self.prefix = channel_layer.prefix
        self.links = [Link(host, self) for host in channel_layer.hosts]
        self.queues = Queues(self.prefix, self.links, self._channel_link, channel_layer.deserialize)
        self._lingering: dict[str, asyncio.TimerHandle] = {}
        self._reachable = False  # has this process' direct channel been subscribed to?
        self._on_reconnect: list[Callable[[], None]] = []
        self._slots: dict[str, tuple[str, ...]] = {}  # held by sockets of this process
        self._renewal: asyncio.TimerHandle | None = None

    # What arrives, called by the links --------------------------------------------------------

    def received(self, name: str, data: bytes, *, twice: bool) -> None:
        """One message of a pub/sub channel."""
        group = self.channel_layer.group_of(name)
        if group is not None:
            if data[:1] == history.MARK:
                stream = self._known_stream(group)
                if stream is not None:
                    update = history.decode_message(stream, data)
                    self.local.fanout.receive(self.channel_layer.open(update))
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
        """The stream of a group; None if nobody here reads it (any more)."""
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
        """Subscribed again: compare every stream with its history, and fill what was missed."""
        if link is self.links[0]:
            self._write_slots()
        self.queues.ask_all(self.local, link)
        for callback in self._on_reconnect:
            callback()
        fanout = self.local.fanout
        fanout.resync_all(group for group in fanout.streams if self._link(group) is link)
        for channel in fanout.complete:
            link.keep(self._find_born(link, channel))

    # Channels and groups ----------------------------------------------------------------------

    def _link(self, group: str) -> Link:
        return self._channel_link(self.channel_layer.group_channel(group))

    def _channel_link(self, channel: str) -> Link:
        index: int = _consistent_hash(channel, len(self.links))
        return self.links[index]

    def _direct(self, process: str) -> str:
        """The one pub/sub channel of a process, for all its consumers' own channels."""
        return f"{self.prefix}__direct__{process}"

    async def new_channel(self, prefix: str = "specific.") -> str:
        name = self.local.new_channel(prefix)
        direct = self._direct(self.local.process)
        confirmed = self._channel_link(direct).want(direct)
        if not self._reachable:
            # Whoever learns the name may use it at once. The names that follow share this.
            await asyncio.wait([confirmed], timeout=FIRST_PATIENCE)
            self._reachable = True
        return name

    async def send(self, channel: str, message: Message) -> None:
        self.require_valid_channel_name(channel)
        if self.local.owns(channel):
            self.local.mailbox(channel).put(own_copy(message))
            return
        if "!" not in channel:
            # As that of channels_redis it carries whatever can be serialised.
            data = self.channel_layer.serialize(message)
            await self.queues.put(channel, data, self.get_capacity(channel), self.expiry)
            return
        require_message(message)
        # prefix + 32 hexadecimal digits of the process + ! + number
        name = self._direct(channel.partition("!")[0][-32:])
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
        item = update_of(group, message)
        if item is not None:
            await self.send_updates([item])
        else:
            name = self.channel_layer.group_channel(group)
            await self._link(group).publish(name, self.channel_layer.serialize(message))

    async def _watch(self, group: str, stream: Stream | None) -> None:
        timer = self._lingering.pop(group, None)
        if timer is not None:
            timer.cancel()
        name = self.channel_layer.group_channel(group)
        if stream is None:
            await self._link(group).subscribe(name)
        elif stream.wildcard:
            await self._watch_every(stream)
        else:
            # Not awaited here: `prepare` waits for the history, which is read after this
            # subscription has been confirmed, and the caller decides for how long.
            if stream.channel not in self.local.fanout.complete:
                self._link(group).want(name)
            self.local.fanout.state(stream)
            if self._renewal is None:
                self._renew()

    async def _watch_every(self, stream: Stream) -> None:
        """All symbols of a channel: a pattern on every shard, then the streams there are."""
        for link in self.links:
            await link.subscribe(self._pattern(stream.channel), pattern=True)
        if stream.channel in self.local.fanout.complete:
            return
        for link in self.links:
            await self._know_streams(link, stream.channel)
        self.local.fanout.complete.add(stream.channel)
        # The pattern brings them from now on: twice would be twice the work, and `receivers` would
        # count this process twice.
        for state in self.local.fanout.channel_states(stream.channel):
            group = state.stream.group
            self._link(group).unwant(self.channel_layer.group_channel(group))

    async def find_streams(self, channel: Channel) -> list[Stream]:
        return [stream for link in self.links for stream in await self._indexed(link, channel)]

    async def _indexed(self, link: Link, channel: Channel) -> list[Stream]:
        """The streams that a shard's index names."""
        try:
            symbols = await link.redis.smembers(history.index_key(self.prefix, channel))
        except (RedisError, OSError) as exc:
            raise BackendUnavailable(exc) from exc
        return [Stream(channel, symbol.decode()) for symbol in symbols]

    async def _know_streams(self, link: Link, channel: Channel) -> list[str]:
        """Know the streams that a shard's index names; returns their groups."""
        streams = await self._indexed(link, channel)
        return [self.local.fanout.state(stream).stream.group for stream in streams]

    async def _find_born(self, link: Link, channel: Channel) -> None:
        """After a reconnect: streams whose first updates nobody here has heard."""
        await link.subscribe(self._pattern(channel), pattern=True)
        before = set(self.local.fanout.streams)
        for _ in range(FIND_ATTEMPTS):
            try:
                groups = await self._know_streams(link, channel)
            except BackendUnavailable as exc:
                logger.warning("streams of %s not found: %s", channel, exc)
                await asyncio.sleep(1.0)  # a connection that is lost again begins anew
            else:
                self.local.fanout.resync_all(group for group in groups if group not in before)
                return

    def _pattern(self, channel: Channel) -> str:
        return self.channel_layer.group_channel(f"{channel}.*")

    def _linger(self, groups: Sequence[str]) -> None:
        loop = asyncio.get_running_loop()
        for group in groups:
            if group not in self._lingering:
                self._lingering[group] = loop.call_later(LINGER, self._unwatch, group)

    def _unwatch(self, group: str) -> None:
        self._lingering.pop(group, None)
        if group in self.local.groups:
            return
        stream = Stream.from_group(group)
        if stream is not None and stream.wildcard:
            return  # kept: a process that once served every symbol is asked for it again
        self._link(group).unwant(self.channel_layer.group_channel(group))
        if stream is None or stream.channel not in self.local.fanout.complete:
            self.local.fanout.forget(group)

    # Streams ----------------------------------------------------------------------------------

    async def send_updates(self, items: Sequence[Item]) -> list[Published]:
        results: dict[int, Published] = {}
        by_link: dict[Link, list[int]] = {}
        for index, (stream, _) in enumerate(items):
            by_link.setdefault(self._link(stream.group), []).append(index)
        for link, indexes in by_link.items():
            sealed = [self.channel_layer.sealed(*items[index]) for index in indexes]
            try:
                results.update(zip(indexes, await link.publish_updates(sealed), strict=True))
            except BackendUnavailable as exc:
                raise _with_earlier(exc, indexes, results) from exc
        return [results[index] for index in range(len(items))]

    async def read_history(self, stream: Stream, since: Position | None) -> Page:
        # After the subscription: what is published from now on arrives by itself.
        await self._link(stream.group).confirmed(self.channel_layer.group_channel(stream.group))
        return await self._read(stream, since, 1, history.new_epoch())

    async def read_after(self, stream: Stream, position: Position) -> Page:
        names = self.channel_layer.keys(stream)
        try:
            epoch, head, entries = await self._link(stream.group).read_after_script(
                keys=[names.meta, names.history],
                args=[
                    position.epoch, position.offset, RECENT,
                    history.new_epoch(), history.UNBORN_MS,
                ],
            )  # fmt: skip
        except (RedisError, OSError) as exc:
            raise BackendUnavailable(exc) from exc
        more = len(entries) == RECENT and history.offset_of(entries[-1]) < int(head)
        end = history.offset_of(entries[-1]) if more else int(head)
        return self._page(stream, epoch, end, entries, more=more)

    async def read_newest(self, stream: Stream, count: int) -> Page:
        return await self._read(stream, None, count, "")

    async def _read(
        self, stream: Stream, since: Position | None, newest: int, new_epoch: str
    ) -> Page:
        names = self.channel_layer.keys(stream)
        known: list[Any] = ["", -1] if since is None else [since.epoch, since.offset]
        try:
            epoch, head, entries = await self._link(stream.group).read_script(
                keys=[names.meta, names.history],
                args=[*known, RECENT, newest, new_epoch, history.UNBORN_MS],
            )
        except (RedisError, OSError) as exc:
            raise BackendUnavailable(exc) from exc
        return self._page(stream, epoch, int(head), entries, more=False)

    def _page(
        self, stream: Stream, epoch: bytes, end: int, entries: Sequence[Any], *, more: bool
    ) -> Page:
        text = epoch.decode()
        updates = history.decode_entries(stream, text, entries, end)
        return Page(text, end, [self.channel_layer.open(update) for update in updates], more)

    def _renew(self) -> None:
        """Keep the epochs of streams that have readers here and no updates yet."""
        self._renewal = asyncio.get_running_loop().call_later(history.RENEW_SECONDS, self._renew)
        for state in self.local.fanout.streams.values():
            if state.offset == 0 and state.epoch and state.readers:
                meta = self.channel_layer.keys(state.stream).meta
                self._link(state.stream.group).forget_result("PEXPIRE", meta, history.UNBORN_MS)

    async def restart_stream(self, stream: Stream, epoch: str) -> None:
        names = self.channel_layer.keys(stream)
        await self._link(stream.group).restart_script(
            keys=[names.meta, names.history], args=[epoch, history.new_epoch()]
        )

    # Leases -----------------------------------------------------------------------------------

    async def take_slot(self, slot: str, limits: Mapping[str, int]) -> Full | None:
        now = time.time()
        names = [history.lease_index(self.prefix)]
        names += [slots.slots_key(self.prefix, subject) for subject in limits]
        ends = now + slots.LEASE_SECONDS
        arguments = slots.take_arguments(now, self.local.process, ends, slot, limits)
        try:
            answer = await self.links[0].take_script(keys=names, args=arguments)
        except (RedisError, OSError) as exc:
            raise BackendUnavailable(exc) from exc
        full = slots.decode_taken(answer, limits)
        if full is None:
            self._slots[slot] = (*self._slots.get(slot, ()), *limits)
        return full

    async def keep_slot(
        self, slot: str, limits: Mapping[str, int], *, newest_first: bool
    ) -> Full | None:
        now = time.time()
        names = [history.lease_index(self.prefix)]
        names += [slots.slots_key(self.prefix, subject) for subject in limits]
        arguments = slots.keep_arguments(
            now,
            self.local.process,
            now + slots.LEASE_SECONDS,
            slot,
            limits,
            newest_first=newest_first,
        )
        # First: who closes while the answer is on its way gives back what is held here.
        self._slots[slot] = tuple({**dict.fromkeys(self._slots.get(slot, ())), **limits})
        try:
            number = int(await self.links[0].keep_script(keys=names, args=arguments))
        except (RedisError, OSError) as exc:
            raise BackendUnavailable(exc) from exc
        subject = list(limits)[number - 1]
        return Full(subject, limits[subject], "") if number else None

    def free_slot(self, slot: str, subjects: Sequence[str]) -> None:
        held = self._slots.pop(slot, None)
        if held is None:
            return
        left = tuple(subject for subject in held if subject not in subjects)
        if left:
            self._slots[slot] = left
        member = f"{self.local.process}!{slot}"
        for subject in subjects:
            self.links[0].forget_result("ZREM", slots.slots_key(self.prefix, subject), member)

    def _write_slots(self) -> None:
        """Every slot held here once more, for a Redis that forgot them or was away."""
        now = time.time()
        for slot, subjects in self._slots.items():
            member = f"{self.local.process}!{slot}"
            for subject in subjects:
                name = slots.slots_key(self.prefix, subject)
                self.links[0].forget_result("ZADD", name, "NX", now, member)
                self.links[0].forget_result("PEXPIRE", name, slots.ACCOUNT_MS)

    async def count(self, name: str, limit: int, seconds: float) -> float:
        key = f"{self.prefix}:count:{name}"
        try:
            wait = await self.links[0].count_script(keys=[key], args=[limit, int(seconds * 1000)])
        except (RedisError, OSError) as exc:
            raise BackendUnavailable(exc) from exc
        return float(wait) / 1000

    async def write_lease(self, fields: Mapping[str, int], seconds: float) -> None:
        """Publish numbers about this process that expire with it; raises BackendUnavailable."""
        key = history.lease_key(self.prefix, self.local.process)
        index = history.lease_index(self.prefix)
        try:
            async with self.links[0].redis.pipeline(transaction=True) as pipeline:
                pipeline.delete(key)
                if fields:
                    pipeline.hset(key, mapping=dict(fields))
                    pipeline.pexpire(key, int(seconds * 1000))
                    pipeline.zadd(index, {self.local.process: time.time() + seconds})
                else:
                    pipeline.zrem(index, self.local.process)
                await pipeline.execute()
        except (RedisError, OSError) as exc:
            raise BackendUnavailable(exc) from exc

    async def flush(self) -> None:
        for timer in self._lingering.values():
            timer.cancel()
        self._lingering.clear()
        if self._renewal is not None:
            self._renewal.cancel()
            self._renewal = None
        self.queues.clear()
        self._reachable = False
        self.local.fanout.close()
        self.local = Local(self, self.get_capacity, self.expiry)
        for link in self.links:
            await link.close()


class RedisStreamLayer(RedisPubSubChannelLayer):  # type: ignore[misc]
    """channels_redis' pub/sub layer with streams: its hosts, sharding, sentinel, serialisation.

    Configuration as for `RedisPubSubChannelLayer`; `capacity`, `channel_capacity` and `expiry` as
    the specification has them.
    Coroutines run on the part of the layer that belongs to the running event loop;
    `send_updates_sync` needs none.
    """

    extensions = ["groups", "flush", EXTENSION]

    def __init__(
        self,
        hosts: Sequence[Any] | None = None,
        prefix: str = "asgi",
        expiry: float = 60,
        capacity: int = 100,
        channel_capacity: dict[str | re.Pattern[str], int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(hosts=hosts, prefix=prefix, **kwargs)
        self.hosts: list[dict[str, Any]] = decode_hosts(hosts)
        self.prefix = prefix
        self.expiry = expiry
        self.capacity = capacity
        self.channel_capacity = channel_capacity or {}
        self._publishers = [SyncPublisher(host) for host in self.hosts]
        self._group_prefix = f"{prefix}__group__"
        self._keys: dict[Stream, history.Keys] = {}
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
        """Like new: no groups, no channels, and nothing that waits on general channels.

        Streams keep their history.
        """
        layer = self._get_layer()
        try:
            await layer.queues.delete_all()
        except BackendUnavailable as exc:
            logger.warning("what waits on general channels was not deleted: %s", exc)
        await layer.flush()

    # Names ------------------------------------------------------------------------------------

    def group_channel(self, group: str) -> str:
        return f"{self._group_prefix}{group}"

    def group_of(self, pubsub_channel: str) -> str | None:
        if pubsub_channel.startswith(self._group_prefix):
            return pubsub_channel[len(self._group_prefix) :]
        return None

    def keys(self, stream: Stream) -> history.Keys:
        names = self._keys.get(stream)
        if names is None:
            if len(self._keys) >= MAX_REMEMBERED:
                self._keys.clear()
            names = history.keys(self.prefix, stream, self.group_channel(stream.group))
            self._keys[stream] = names
        return names

    # Encryption -------------------------------------------------------------------------------

    def seal(self, body: bytes) -> bytes:
        """A body as it goes to Redis: encrypted if `symmetric_encryption_keys` are configured."""
        crypter = self._serializer.crypter
        return body if crypter is None else crypter.encrypt(body)

    def open(self, update: Update) -> Update:
        crypter = self._serializer.crypter
        if crypter is not None:
            update.body = crypter.decrypt(update.body)
        return update

    # Publishing without an event loop ---------------------------------------------------------

    def sealed(self, stream: Stream, body: bytes) -> tuple[history.Keys, bytes]:
        return self.keys(stream), self.seal(body)

    def send_updates_sync(self, items: Sequence[Item]) -> list[Published]:
        """Publish from synchronous code: one round trip for few updates, pipelines for many."""
        if len(self._publishers) == 1:
            return self._publishers[0].publish([self.sealed(*item) for item in items])
        results: dict[int, Published] = {}
        by_publisher: dict[SyncPublisher, list[int]] = {}
        for index, (stream, _) in enumerate(items):
            by_publisher.setdefault(self._publisher(stream), []).append(index)
        for publisher, indexes in by_publisher.items():
            sealed = [self.sealed(*items[index]) for index in indexes]
            try:
                results.update(zip(indexes, publisher.publish(sealed), strict=True))
            except BackendUnavailable as exc:
                raise _with_earlier(exc, indexes, results) from exc
        return [results[index] for index in range(len(items))]

    def group_send_sync(self, group: str, message: Message) -> None:
        """`group_send` for synchronous code; raises BackendUnavailable."""
        self._publisher_of(group).send(self.group_channel(group), self.serialize(message))

    def _publisher(self, stream: Stream) -> SyncPublisher:
        return self._publisher_of(stream.group)

    def _publisher_of(self, group: str) -> SyncPublisher:
        index: int = _consistent_hash(self.group_channel(group), len(self._publishers))
        return self._publishers[index]

    def read_leases(self) -> dict[str, dict[str, int]]:
        """The numbers of all living processes, by process; raises BackendUnavailable."""
        client = self._publishers[0].redis
        index = history.lease_index(self.prefix)
        try:
            client.zremrangebyscore(index, "-inf", time.time())
            processes = [name.decode() for name in client.zrange(index, 0, -1)]
            with client.pipeline(transaction=False) as pipeline:
                for process in processes:
                    pipeline.hgetall(history.lease_key(self.prefix, process))
                answers = pipeline.execute()
        except (RedisError, OSError) as exc:
            raise BackendUnavailable(exc) from exc
        return {
            process: {name.decode(): int(number) for name, number in fields.items()}
            for process, fields in zip(processes, answers, strict=True)
        }

    @property
    def sync_client(self) -> Any:
        """A pooled synchronous client of the first shard, for what is not a stream."""
        return self._publishers[0].redis

    @property
    def sync_clients(self) -> list[Any]:
        """One for each shard."""
        return [publisher.redis for publisher in self._publishers]
