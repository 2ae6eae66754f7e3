"""How many sockets are connected, over all processes of the project, and what these have done.

Each process keeps a lease in Redis: its own counts, with a time to live. A process that dies
without a word stops renewing it and is counted no more LEASE_SECONDS later; no counter can drift.
"""

import asyncio
import logging
import os
import resource
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from asgiref.sync import sync_to_async

from realtime.delivery.heartbeat import beating
from realtime.delivery.history_scripts import LEASE_SECONDS
from realtime.delivery.layers import RedisLoopLayer, current_layer, shared_layer
from realtime.delivery.publisher import BackendUnavailable
from realtime.streams import CHANNELS
from realtime.workers import process_name

logger = logging.getLogger(__name__)

LEASE_RENEW_SECONDS: Final = 3.0
# A change is written this soon; while they go on, those of a longer time together.
WRITE_DELAY: Final = 0.02
BUSY_WRITE_DELAY: Final = 0.25
# The field of a lease with the sockets of one API key, beside those of the channels.
_KEY: Final = "key:"
# The field of a stream that is stale, `stale:market-data:AAPL`, as far as a process knows.
_STALE: Final = "stale:"
# Of these a process names so many at most: a market that has closed is known without its list.
_MAX_STALE: Final = 500
# The field of a lease that says, for people, which process it is: `at:host:pid`.
_AT: Final = "at:"
# What the process has done since it began, `done:sent`, and what it uses now: see api/metrics.py.
_DONE: Final = "done:"
# The names of a connection's `tally`.
TALLIED: Final = ("sent", "folded", "replayed")


class StatisticsUnavailable(Exception):
    """Raised when the leases of the other processes cannot be read."""


class _Lease:
    """The counts of one event loop, written soon after a change and again before they expire."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        layer = current_layer()
        self.counts: Counter[str] = Counter()
        # What sockets have done that are closed, and as it was last published, all of them.
        self.done: Counter[str] = Counter()
        self._published: Counter[str] = Counter()
        self._published_at = -LEASE_RENEW_SECONDS
        self._layer = layer if isinstance(layer, RedisLoopLayer) else None
        self.server = None if self._layer is None else self._layer.local.process
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0  # when; uvloop's handles do not say
        self._written_at = 0.0
        self._writing = False
        self._fanout = None if layer is None else layer.local.fanout

    def change(self, name: str, by: int) -> None:
        self.counts[name] += by
        if not self.counts[name]:
            del self.counts[name]
        if not self.counts.total():
            self._schedule(0.0)  # the last one has gone: the process may be about to end
        elif self._loop.time() - self._written_at < BUSY_WRITE_DELAY:
            self._schedule(BUSY_WRITE_DELAY)
        else:
            self._schedule(WRITE_DELAY)

    def _schedule(self, delay: float) -> None:
        if self._layer is None:
            return
        if self._timer is not None:
            if self._due <= self._loop.time() + delay:
                return
            self._timer.cancel()
        self._due = self._loop.time() + delay
        self._timer = self._loop.call_later(delay, self._start_write)

    def _start_write(self) -> None:
        self._timer = None
        self._tally(self._loop.time() - self._due)
        if self._writing:
            self._schedule(WRITE_DELAY)
        elif self._layer is not None:
            self._writing = True
            # Kept by the layer, which waits for it when it closes.
            self._layer.keep(self._write())

    def fields(self) -> Counter[str]:
        """What this process publishes: its counts, and the stale streams that its sockets read."""
        fields = self.counts.copy()
        if fields:
            fields.update(self._published)
            fields[f"{_AT}{process_name()}"] = 1
        if fields and self._fanout is not None:
            stale = sorted(self._fanout.freshness.stale(), key=lambda stream: stream.group)
            fields.update(
                f"{_STALE}{stream.channel}:{stream.symbol}"
                for stream in stale[:_MAX_STALE]
                if stream.channel != "alerts"
            )
        return fields

    def _tally(self, late: float) -> None:
        """Count what all sockets have done: too much for every write of a busy process."""
        elapsed = self._loop.time() - self._published_at
        if elapsed < LEASE_RENEW_SECONDS / 2:
            return
        self._published_at = self._loop.time()
        done = self.done.copy()
        sent = folded = replayed = waiting = 0
        for connection in beating():
            its_sent, its_folded, its_replayed = connection.tally()
            sent += its_sent
            folded += its_folded
            replayed += its_replayed
            waiting += connection.waiting_bytes
        done.update(dict(zip(TALLIED, (sent, folded, replayed), strict=True)))
        since = done["sent"] - self._published[f"{_DONE}sent"]
        done["sent_per_second"] = max(0, round(since / elapsed))
        if self._fanout is not None:
            done["lost"] = self._fanout.losses.total
        done["waiting_bytes"] = waiting
        done["late_us"] = int(late * 1e6)
        done.update(_usage())
        self._published = Counter({f"{_DONE}{name}": number for name, number in done.items()})

    async def _write(self) -> None:
        assert self._layer is not None
        self._written_at = self._loop.time()
        counts = self.fields()
        try:
            await self._layer.write_lease(counts, LEASE_SECONDS)
        except BackendUnavailable as exc:
            logger.debug("connection counts not written: %s", exc)
        finally:
            self._writing = False
        if counts:
            self._schedule(LEASE_RENEW_SECONDS)


def _usage() -> dict[str, int]:
    """What this process uses: microseconds of processors so far, bytes of memory now."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used = {"cpu_us": int((usage.ru_utime + usage.ru_stime) * 1e6)}
    with suppress(OSError, ValueError, IndexError):  # /proc is Linux's
        pages = Path("/proc/self/statm").read_text().split()[1]
        used["memory_bytes"] = int(pages) * os.sysconf("SC_PAGE_SIZE")
    return used


class ConnectionManager:
    """Statistics over all processes; `connection_manager` is the one to use."""

    def __init__(self) -> None:
        self._leases: dict[asyncio.AbstractEventLoop, _Lease] = {}

    def get_connection_count(self, channel: str | None = None) -> int:
        """The number of sockets that are connected, in all or to one channel.

        `channel` is `predictions`, `market-data` (or `market_data`) or `alerts`. Raises ValueError
        for another one and StatisticsUnavailable while Redis is away.
        """
        if channel is None:
            return sum(self.get_counts().values())
        name = channel.replace("_", "-")
        if name not in CHANNELS:
            raise ValueError(f"unknown channel {channel!r}; there are {', '.join(CHANNELS)}")
        return self.get_counts().get(name, 0)

    def get_channels(self) -> list[str]:
        """The channels that have a socket, in alphabetical order."""
        return sorted(self.get_counts())

    def get_counts(self) -> dict[str, int]:
        """Connected sockets by channel; channels without any are absent."""
        counts = self._read()
        return {channel: counts[channel] for channel in CHANNELS if counts[channel] > 0}

    def get_key_counts(self) -> dict[int, int]:
        """Connected sockets by the number of their API key; keys without any are absent."""
        return {
            int(name.removeprefix(_KEY)): count
            for name, count in self._read().items()
            if name.startswith(_KEY) and count > 0
        }

    def get_stale_streams(self) -> dict[str, list[str]]:
        """Symbols by channel whose stream is stale for the sockets of some process.

        Stale: quiet for longer than expected, or unreachable. Streams that nobody reads are not
        watched here.
        """
        stale: dict[str, set[str]] = {}
        for name in self._read():
            if name.startswith(_STALE):
                channel, _, symbol = name.removeprefix(_STALE).partition(":")
                stale.setdefault(channel, set()).add(symbol)
        return {channel: sorted(symbols) for channel, symbols in sorted(stale.items())}

    def get_processes(self) -> dict[str, str]:
        """The processes that have sockets, `host:pid` by id. Raises StatisticsUnavailable."""
        return {
            process: next((name[len(_AT) :] for name in fields if name.startswith(_AT)), process)
            for process, fields in self._read_leases().items()
            if any(channel in fields for channel in CHANNELS)
        }

    def get_by_process(self) -> dict[str, Mapping[str, int]]:
        """All numbers of each process that has sockets, by `host:pid`.

        Raises StatisticsUnavailable.
        """
        names, leases = self.get_processes(), self._read_leases()
        return {name: leases[process] for process, name in names.items() if process in leases}

    def get_activity(self) -> dict[str, dict[str, int]]:
        """What each living process that has sockets has done and uses, by process (api/metrics.py).

        As of a few seconds ago. Raises StatisticsUnavailable.
        """
        return {
            process: {
                name.removeprefix(_DONE): number
                for name, number in fields.items()
                if name.startswith(_DONE)
            }
            for process, fields in self._read_leases().items()
        }

    def _read(self) -> Counter[str]:
        """All fields of all leases; raises StatisticsUnavailable."""
        counts: Counter[str] = Counter()
        for fields in self._read_leases().values():
            counts.update(fields)
        return counts

    def _read_leases(self) -> dict[str, Mapping[str, int]]:
        leases: dict[str, Mapping[str, int]] = {}
        layer = shared_layer()
        if layer is not None:
            try:
                leases.update(layer.read_leases())
            except BackendUnavailable as exc:
                raise StatisticsUnavailable(f"no statistics: {exc.reason}") from exc
        # Our own are newer than those in Redis. A loop that is closed took its sockets along.
        for number, (loop, lease) in enumerate(list(self._leases.items())):
            if not loop.is_closed():
                leases[lease.server or f"loop {number}"] = lease.fields()
        return leases

    # Not thread-sensitive: these touch Redis only, and must not wait for a view.

    async def aget_connection_count(self, channel: str | None = None) -> int:
        """`get_connection_count` for asynchronous code."""
        return await sync_to_async(self.get_connection_count, thread_sensitive=False)(channel)

    async def aget_channels(self) -> list[str]:
        """`get_channels` for asynchronous code."""
        return await sync_to_async(self.get_channels, thread_sensitive=False)()

    # Called by the consumers ------------------------------------------------------------------

    def opened(self, channel: str, key_id: int | None = None) -> None:
        self._change(channel, key_id, 1)
        self.count(f"opened:{channel}")

    def closed(self, channel: str, key_id: int | None, tally: Sequence[int]) -> None:
        self._change(channel, key_id, -1)
        self._lease().done.update(dict(zip(TALLIED, tally, strict=True)))

    def changed_key(self, channel: str, before: int | None, after: int | None) -> None:
        """An open socket has authenticated again."""
        self._change(channel, before, -1)
        self._change(channel, after, 1)

    def count(self, name: str) -> None:
        """One more of something that this process does."""
        self._lease().done[name] += 1

    def _change(self, channel: str, key_id: int | None, by: int) -> None:
        lease = self._lease()
        lease.change(channel, by)
        if key_id is not None:
            lease.change(f"{_KEY}{key_id}", by)

    def _lease(self) -> _Lease:
        loop = asyncio.get_running_loop()
        lease = self._leases.get(loop)
        if lease is None:
            # Loops that are closed take their sockets with them.
            for other in [other for other in self._leases if other.is_closed()]:
                del self._leases[other]
            lease = self._leases[loop] = _Lease(loop)
        return lease


connection_manager: Final = ConnectionManager()
