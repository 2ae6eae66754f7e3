"""General channels in Redis: a message waits there until exactly one receiver takes it.

A list holds the messages and a pub/sub channel announces each new one, so that a worker needs no
blocking connection of its own. Every notified process asks for the message; the first one gets it.
"""

import asyncio
import logging
import sys
from collections.abc import Callable, Sequence
from typing import Final

from channels.exceptions import ChannelFull
from redis.commands.core import AsyncScript
from redis.exceptions import RedisError

from realtime.delivery.link import Link
from realtime.delivery.process_layer import Local, Message
from realtime.delivery.publisher import BackendUnavailable

logger = logging.getLogger(__name__)

# Seconds until the next attempt to read a queue that could not be read.
RETRY_SECONDS: Final = 0.5

# Expired messages lie at the head, since all messages of a channel are kept for the same time.
# KEYS: a list of messages, each after the ms since the epoch when it expires and a space.
# ARGV: capacity, ms for which a message is kept, the message, the pub/sub channel to tell.
# Returns 1, or 0 if there is no room.
PUSH: Final = """\
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local head = redis.call('LINDEX', KEYS[1], 0)
while head and tonumber(string.match(head, '^%d+')) <= now do
  redis.call('LPOP', KEYS[1])
  head = redis.call('LINDEX', KEYS[1], 0)
end
if redis.call('LLEN', KEYS[1]) >= tonumber(ARGV[1]) then return 0 end
local entry = string.format('%.0f', now + ARGV[2]) .. ' ' .. ARGV[3]
redis.call('RPUSH', KEYS[1], entry)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PUBLISH', ARGV[4], '')
return 1
"""

# KEYS: the list. Returns the oldest message that has not expired, or nothing.
POP: Final = """\
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
while true do
  local entry = redis.call('LPOP', KEYS[1])
  if not entry then return false end
  local space = string.find(entry, ' ', 1, true)
  if tonumber(string.sub(entry, 1, space - 1)) > now then
    return string.sub(entry, space + 1)
  end
end
"""


class Queues:
    """The general channels that one event loop receives from."""

    def __init__(
        self,
        prefix: str,
        links: Sequence[Link],
        link_of: Callable[[str], Link],
        deserialize: Callable[[bytes], Message],
    ) -> None:
        self._prefix = prefix
        self._push: dict[Link, AsyncScript] = {
            each: each.redis.register_script(PUSH) for each in links
        }
        self._pop: dict[Link, AsyncScript] = {
            each: each.redis.register_script(POP) for each in links
        }
        self._link_of = link_of  # returns the shard of a channel
        self._deserialize = deserialize
        self._names: dict[str, str] = {}  # by the pub/sub channel that announces their messages
        self._asked: set[str] = set()  # a message may have come since the queue was last read
        self._taking: set[str] = set()

    def key(self, channel: str) -> str:
        return f"{self._prefix}:queue:{channel}"

    def _notice(self, channel: str) -> str:
        """The pub/sub channel that announces new messages."""
        return f"{self._prefix}__queue__{channel}"

    async def put(self, channel: str, data: bytes, capacity: int, expiry: float) -> None:
        """Append a message; raises ChannelFull beyond `capacity`, and BackendUnavailable."""
        arguments: list[int | bytes | str] = [
            capacity,
            int(expiry * 1000),
            data,
            self._notice(channel),
        ]
        try:
            taken = await self._push[self._link_of(channel)]([self.key(channel)], arguments)
        except (RedisError, OSError) as exc:
            raise BackendUnavailable(exc) from exc
        if not taken:
            raise ChannelFull(f"{capacity} messages wait on {channel}")

    async def delete_all(self) -> None:
        """Delete the messages on all channels, of all processes; raises BackendUnavailable."""
        try:
            for link in self._pop:
                async for key in link.redis.scan_iter(match=self.key("*"), count=1000):
                    await link.redis.delete(key)
        except (RedisError, OSError) as exc:
            raise BackendUnavailable(exc) from exc

    async def open(self, local: Local, channel: str) -> None:
        """Subscribe to a channel's announcements; returns when none can be missed."""
        notice = self._notice(channel)
        if notice not in self._names:
            self._names[notice] = channel
            # Redis enforces the capacity: each message that is taken has a waiting receiver.
            local.mailbox(channel).capacity = sys.maxsize
        await self._link_of(channel).subscribe(notice)

    def close(self, channel: str) -> None:
        notice = self._notice(channel)
        if self._names.pop(notice, None) is not None:
            self._link_of(channel).unwant(notice)

    def clear(self) -> None:
        self._names.clear()
        self._asked.clear()

    def channel_of(self, notice: str) -> str | None:
        return self._names.get(notice)

    def ask(self, local: Local, channel: str) -> None:
        """Take as many messages as receivers wait for, if there are any."""
        self._asked.add(channel)
        if channel not in self._taking:
            self._taking.add(channel)
            self._link_of(channel).keep(self._take(local, channel))

    def ask_all(self, local: Local, link: Link) -> None:
        """After a reconnect: announcements made meanwhile were lost."""
        for channel in self._names.values():
            if self._link_of(channel) is link:
                self.ask(local, channel)

    async def _take(self, local: Local, channel: str) -> None:
        try:
            while channel in self._asked:
                self._asked.discard(channel)
                await self._take_waiting(local, channel)
        finally:
            self._taking.discard(channel)

    async def _take_waiting(self, local: Local, channel: str) -> None:
        pop = self._pop[self._link_of(channel)]
        while True:
            mailbox = local.mailboxes.get(channel)
            if mailbox is None or mailbox.receivers <= mailbox.waiting:
                return
            try:
                data = await pop([self.key(channel)])
            except (RedisError, OSError) as exc:
                logger.debug("channel %s could not be read: %s", channel, exc)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if data is None:
                return
            try:
                mailbox.put(self._deserialize(data))
            except Exception:
                logger.exception("a message on %s could not be read", channel)
