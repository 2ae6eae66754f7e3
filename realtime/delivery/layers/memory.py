"""The channel layer in memory."""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from realtime.conf import conf
from realtime.delivery import history_scripts
from realtime.delivery.events import update_in
from realtime.delivery.history_scripts import Published
from realtime.delivery.layers.base import Item, StreamLayer
from realtime.delivery.process_layer import Local, Mailbox, Message, own_copy, require_message
from realtime.delivery.recording import record_published
from realtime.delivery.stream_state import RECENT, Page
from realtime.delivery.updates import Update
from realtime.protocol import Position
from realtime.remembered import Remembered
from realtime.streams import CHANNELS, Channel, Stream


class MemoryStreamLayer(StreamLayer):
    """Everything in one process, for tests: a second process receives nothing."""

    def __init__(self, expiry: float = 60, capacity: int = 100, **kwargs: Any) -> None:
        super().__init__(expiry, capacity=capacity)
        capacities = kwargs.get("channel_capacity", {})
        self.channel_capacity = self.compile_capacities(capacities)  # type: ignore[assignment]
        self._streams: dict[str, tuple[str, deque[Update]]] = {}
        self._once: Remembered[Published] = Remembered(history_scripts.ONCE_SECONDS)
        self._era = history_scripts.new_epoch()
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
            # Every general channel belongs to this process, whether it has been used or not.
            self.local.mailbox(channel)
        await super().group_add(group, channel)

    # Tests written for Channels' own in-memory layer look at these two.

    @property
    def channels(self) -> dict[str, Mailbox]:
        """The channels with waiting messages or waiting receivers."""
        mailboxes = self.local.mailboxes.items()
        return {name: each for name, each in mailboxes if each.waiting or each.receivers}

    @property
    def groups(self) -> dict[str, dict[str, None]]:
        """The channels in each group."""
        return self.local.groups

    def _forget_empty(self) -> None:
        """General channels are never created or closed explicitly, so they are forgotten here."""
        for name, mailbox in tuple(self.local.mailboxes.items()):
            mailbox.drop_expired()
            idle = not (mailbox.waiting or mailbox.receivers or mailbox.groups or mailbox.callback)
            if idle and "!" not in name:
                self.detach(name)

    async def group_send(self, group: str, message: Message) -> None:
        self.require_valid_group_name(group)
        require_message(message)
        item = update_in(group, message)
        if item is not None:
            await self.send_updates([item])
        else:
            self.local.deliver_group(group, message)

    async def send_updates(self, items: Sequence[Item]) -> list[Published]:
        published = [self._publish_once(*item) for item in items]
        record_published(items, published)
        return published

    def _publish_once(self, stream: Stream, body: bytes, id: str = "") -> Published:
        key = history_scripts.once_key(self.prefix, stream, id) if id else ""
        first = self._once.get(key)
        if first is None:
            published = self._publish(stream, body)
            if key:
                self._once.put(key, published)
            return published
        return replace(first, repeated=True)

    def _publish(self, stream: Stream, body: bytes) -> Published:
        epoch, kept = self._streams.setdefault(stream.group, self._kept(stream))
        update = Update(stream, epoch, kept[-1].offset + 1 if kept else 1, body)
        kept.append(update)
        self.local.fanout.receive(update)
        return Published(epoch, update.offset, 1)

    async def read_history(self, stream: Stream, since: Position | None) -> Page:
        epoch, kept = self._kept(stream)
        head = kept[-1].offset if kept else 0
        known = since.offset if since is not None and since.epoch == epoch else 0
        unknown = since is None or head - known > RECENT
        return Page(epoch, head, _newest(kept, 1 if unknown else head - known))

    async def read_after(self, stream: Stream, position: Position) -> Page:
        return self.read_page_sync(stream, position, RECENT)

    async def read_newest(self, stream: Stream, count: int) -> Page:
        return self.read_page_sync(stream, None, count)

    def read_newest_sync(self, streams: Sequence[Stream]) -> list[Page]:
        return [self.read_page_sync(stream, None, 1) for stream in streams]

    def read_page_sync(self, stream: Stream, since: Position | None, most: int) -> Page:
        epoch, kept = self._kept(stream)
        head = kept[-1].offset if kept else 0
        if since is None:
            return Page(epoch, head, _newest(kept, most))
        known = since.offset if since.epoch == epoch else 0
        following = [update for update in kept if update.offset > known]
        more, page = len(following) > most, following[:most]
        return Page(epoch, page[-1].offset if more else head, page, more)

    def _kept(self, stream: Stream) -> tuple[str, deque[Update]]:
        """The held updates of a stream. A stream that was only asked for has just its epoch."""
        held = self._streams.get(stream.group)
        return held or (f"{self._era}-{stream.group}", self._empty(stream))

    def _empty(self, stream: Stream) -> deque[Update]:
        return deque(maxlen=conf.REALTIME_HISTORY_LENGTH[stream.channel])

    async def restart_stream(self, stream: Stream, epoch: str, common: int) -> None:
        if self._streams.get(stream.group, (None,))[0] == epoch:
            self._streams[stream.group] = (history_scripts.new_epoch(), self._empty(stream))

    async def find_streams(self, channel: Channel) -> list[Stream]:
        return [Stream(channel, symbol) for symbol in self.read_symbols(channel)]

    def read_symbols(self, channel: Channel) -> set[str]:
        """The symbols whose streams have had an update."""
        groups = [group for group, (_, kept) in self._streams.items() if kept]
        found = [Stream.from_group(group) for group in groups]
        return {each.symbol for each in found if each is not None and each.channel == channel}

    async def flush(self) -> None:
        self.local.fanout.close()
        self._streams.clear()
        self._once.clear()
        self._era = history_scripts.new_epoch()
        self._parts.clear()
        self.local = Local(self, self.get_capacity, self.expiry)
        self.local.fanout.complete.update(CHANNELS)

    async def close(self) -> None:
        self.local.fanout.close()


def _newest(kept: Sequence[Update], count: int) -> list[Update]:
    return list(kept)[-count:] if count > 0 else []
