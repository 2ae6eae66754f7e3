"""The local part of a channel layer: its readers, each stream's position, who gets an update.

Every update has its stream's next offset. A process that sees an offset beyond the next one has
missed an update (after a reconnect, a failover or a dropped pub/sub message): it reads the history
and delivers nothing later until the hole is filled. `gap` reports updates that are lost for good.
"""

import asyncio
import logging
import random
import time
from collections.abc import Iterable
from typing import Final

from msgspec import MsgspecError

from realtime.delivery.cork import cork_of
from realtime.delivery.latency import Latency
from realtime.delivery.losses import Losses
from realtime.delivery.staleness import LEARN_FROM, Freshness, heard_at
from realtime.delivery.stream_state import RECENT, History, Page, Start, StreamState
from realtime.delivery.updates import NO_EPOCH, FirstUpdate, Reader, Update
from realtime.protocol import Position, update_time
from realtime.streams import Channel, Stream

logger = logging.getLogger(__name__)

# Updates kept in the process for all streams together: the more streams, the fewer each keeps.
RECENT_TOTAL: Final = 60_000
# Seconds for which a stream keeps the updates read from the history for one reader.
HOLD_SECONDS: Final = 5.0
# Seconds until the next attempt to read a history that could not be read.
RETRY_SECONDS: Final = 0.5


class Fanout:
    """Streams and their readers in one process and event loop."""

    def __init__(self, history: History) -> None:
        self._history = history
        self.streams: dict[str, StreamState] = {}
        # Readers of every symbol of a channel, by channel and owner.
        self.wildcards: dict[str, dict[object, Reader]] = {}
        # Channels whose streams are all known here: a stream that appears later is new.
        self.complete: set[Channel] = set()
        # Streams that have had updates, and their number when all of them were last trimmed.
        self._born = 0
        self._trimmed = 1
        self._tasks: set[asyncio.Task[None]] = set()
        # Streams whose history could not be read, and the timer for the next attempt.
        self._failed: dict[str, None] = {}
        self._retry: asyncio.TimerHandle | None = None
        self.freshness = Freshness(self.streams, self._audience, self._learn)
        self.losses = Losses()
        self.latency = Latency()

    def state(self, stream: Stream) -> StreamState:
        """The state of a stream, created at its first mention."""
        group = stream.group
        state = self.streams.get(group)
        if state is None:
            new = stream.channel in self.complete
            state = self.streams[group] = StreamState(stream, new=new)
        return state

    def _bear(self, state: StreamState) -> None:
        """Register a stream that has its first update here."""
        state.born = True
        self._born += 1
        if self._born >= 1.25 * self._trimmed:
            self._trim()

    def _trim(self) -> None:
        """Trim every stream, quiet ones too, now that there are more of them."""
        self._trimmed = self._born
        now, keep = time.monotonic(), self._keep()
        for state in self.streams.values():
            if now >= state.hold_until:
                state.trim(keep)

    # Updates in -----------------------------------------------------------------------------

    def receive(self, update: Update) -> None:
        """Take an update from the backend. Updates may arrive out of order and more than once."""
        state = self.state(update.stream)
        if state.waiting is not None:
            state.waiting.append(update)
        elif update.epoch == state.epoch and update.offset == state.offset + 1:
            self._deliver(state, update)
            if state.stale:
                self.freshness.tell_fresh(state)
        elif (
            update.epoch == state.epoch
            and update.offset <= state.offset
            and not state.contradicts(update)
        ):
            pass  # already filled from the history
        elif state.epoch == NO_EPOCH and update.offset == 1:
            state.ready = True
            self._deliver(state, update)
            self.freshness.tell_reachable(state)
        else:
            state.waiting = [update]
            self._start_resync(state)

    def _deliver(self, state: StreamState, update: Update) -> None:
        if not state.born:
            self._bear(state)
        state.adopt(update, self._keep())
        for reader in tuple(state.readers.values()):
            try:
                reader.deliver(update)
            except Exception:  # the other readers must still get the update
                logger.exception("a reader of %s failed", state.stream.group)
        wildcards = self.wildcards.get(update.stream.channel)
        if wildcards:
            if update.offset == 1:
                update = FirstUpdate(update.stream, update.epoch, 1, update.body)
            for owner, reader in tuple(wildcards.items()):
                if owner not in state.readers:
                    try:
                        reader.deliver(update)
                    except Exception:
                        logger.exception("a reader of every symbol failed")
        if self.latency.skip:
            self.latency.skip -= 1
        else:
            self.latency.measure(update, state.readers or wildcards or {})

    def _keep(self) -> int:
        return max(1, min(RECENT, RECENT_TOTAL // max(1, self._born)))

    def _audience(self, state: StreamState) -> list[Reader]:
        wildcards = self.wildcards.get(state.stream.channel, {})
        others = (each for owner, each in wildcards.items() if owner not in state.readers)
        return [*state.readers.values(), *others]

    # Holes ----------------------------------------------------------------------------------

    def _start_resync(self, state: StreamState) -> asyncio.Task[None]:
        if state.resync is None:
            if state.waiting is None:
                state.waiting = []
            state.resync = asyncio.get_running_loop().create_task(self._resync(state))
            self._tasks.add(state.resync)
            state.resync.add_done_callback(self._tasks.discard)
        return state.resync

    async def _resync(self, state: StreamState) -> None:
        """Bring a stream to its history's head, then deliver the updates received meanwhile."""
        try:
            filled = await self._fill(state)
        finally:
            state.resync = None
        if not filled:
            return
        self.freshness.tell_reachable(state)
        waiting, state.waiting = state.waiting or [], None
        for update in waiting:
            self.receive(update)
        if state.again:
            self._start_resync(state)

    async def _fill(self, state: StreamState) -> bool:
        """Apply the history page by page up to its head; False if it could not be read."""
        state.again = False
        # Updates that came before this read are in the history, or were rolled back with it: a
        # second read about them would get the same answer.
        state.waiting = []
        page: Page | None = None
        while page is None or page.more:
            try:
                if page is None:
                    page = await self._read_page(state)
                else:
                    page = await self._history.read_after(state.stream, state.position)
            except Exception as exc:
                state.waiting = []
                self._try_again(state, exc)
                return False
            self._failed.pop(state.stream.group, None)
            first_look = not state.ready and not state.new
            state.ready = True
            # The updates of a page go out in one write to each socket.
            cork_of(asyncio.get_running_loop()).begin()
            self._apply(state, page, first_look=first_look)
        return True

    def _try_again(self, state: StreamState, reason: Exception) -> None:
        if not self._failed:
            logger.warning("the history of %s could not be read: %s", state.stream.group, reason)
        self._failed[state.stream.group] = None
        if self._retry is None:
            loop = asyncio.get_running_loop()
            delay = random.uniform(RETRY_SECONDS / 2, RETRY_SECONDS)
            self._retry = loop.call_later(delay, lambda: self._retry_one())

    def _retry_one(self) -> None:
        """Read the history of one stream; the others follow once that has worked."""
        self._retry = None
        group = next((group for group in self._failed if group in self.streams), None)
        if group is None:
            self._failed.clear()
            return
        self._start_resync(self.streams[group]).add_done_callback(self._retry_others)

    def _retry_others(self, task: asyncio.Task[None]) -> None:
        if self._retry is None and not task.cancelled():
            self.resync_all(tuple(self._failed))

    async def _read_page(self, state: StreamState) -> Page:
        """The history from the state's position on, checked against what was delivered.

        A backend that comes back with older data (a lagging replica, a restored dump) would assign
        offsets that clients have already seen to other updates.
        """
        if not state.ready and not state.new:
            return await self._history.read_history(state.stream, None)
        last = state.recent[-1] if state.recent else None
        since = Position(state.epoch, state.offset - 1 if last else state.offset)
        page = await self._history.read_after(state.stream, since)
        if page.epoch != state.epoch:
            return page
        again = next((update for update in page.updates if update.offset == state.offset), None)
        if page.offset < state.offset or (last and again and again.body != last.body):
            common = await self._last_common(state)
            await self._history.restart_stream(state.stream, state.epoch, common)
            page = await self._history.read_after(state.stream, state.position)
        return page

    async def _last_common(self, state: StreamState) -> int:
        """The last offset that is known to name the same update here and in the history."""
        if not state.recent:
            return state.offset
        before = state.recent[0].offset - 1
        page = await self._history.read_after(state.stream, Position(state.epoch, before))
        held = {update.offset: update.body for update in page.updates}
        same = (
            each.offset for each in reversed(state.recent) if held.get(each.offset) == each.body
        )
        return next(same, before)

    def _apply(self, state: StreamState, page: Page, *, first_look: bool) -> None:
        """Deliver the updates of a page beyond the state, and announce a gap for those it lacks."""
        if first_look and state.epoch == NO_EPOCH:
            self._begin(state, page)
            return
        if state.epoch in page.forks and state.epoch != page.epoch:
            self._turn(state, page)
        state.forks = page.forks
        same = state.epoch in (page.epoch, NO_EPOCH)
        known = state.offset if same else 0
        if same and page.offset <= known:
            state.epoch = page.epoch
            return
        updates = [update for update in page.updates if update.offset > known]
        next_offset = updates[0].offset if updates else page.offset + 1
        lost = not same or next_offset != known + 1
        if lost and not state.born and next_offset == 1:
            # No reader has had an update yet, but those that subscribed by name were told another
            # epoch.
            for reader in self._told(state):
                reader.deliver_gap(state.stream, 1, 0, page.epoch)
            state.epoch, lost = page.epoch, False
        if lost:
            self._lose(state, page, known + 1, next_offset)
        for update in updates[:-1] if lost else updates:
            self._deliver(state, update)
        if lost and updates:
            # After a gap the newest update is marked: everything the reader had is out of date.
            state.adopt(updates[-1], self._keep())
            for reader in self._audience(state):
                reader.deliver_snapshot(updates[-1])
        state.offset = page.offset
        if updates:
            state.heard = _published(updates[-1])  # not the time of its late arrival

    def _begin(self, state: StreamState, page: Page) -> None:
        """Take the first page. No reader here has a position yet: all start with a snapshot."""
        state.epoch, state.offset, state.forks = page.epoch, page.offset, page.forks
        if page.offset:
            self._bear(state)
            state.moved = time.monotonic()
        state.recent.extend(page.updates)
        if page.updates:
            state.heard = _published(page.updates[-1])
            for reader in self._audience(state):
                reader.deliver_snapshot(page.updates[-1])

    def _lose(self, state: StreamState, page: Page, first: int, next_offset: int) -> None:
        """Announce a gap from `first` to the offset before the next one."""
        if page.offset and not state.born:
            self._bear(state)
        self.losses.note(state.stream, next_offset - first)
        for reader in self._audience(state):
            reader.deliver_gap(state.stream, first, next_offset - 1, page.epoch)
        state.recent.clear()
        state.epoch, state.offset = page.epoch, next_offset - 1
        state.moved = time.monotonic()

    def _turn(self, state: StreamState, page: Page) -> None:
        """Turn to the page's epoch, which continues this one without a missing update."""
        known = page.known(state.position)
        self.losses.note(state.stream, 0)
        for reader in self._told(state):
            reader.deliver_gap(state.stream, known + 1, known, page.epoch)
        while state.recent and state.recent[-1].offset > known:
            state.recent.pop()
        state.epoch, state.offset, state.moved = page.epoch, known, time.monotonic()

    def _told(self, state: StreamState) -> list[Reader]:
        """Readers that know the epoch: before a first update only those that named the stream."""
        return self._audience(state) if state.born else list(state.readers.values())

    def resync_all(self, groups: Iterable[str]) -> None:
        """Compare these streams with their histories after a reconnect."""
        for group in tuple(groups):
            state = self.streams.get(group)
            if state is not None:
                state.again = state.resync is not None
                self._start_resync(state)

    async def ready(self, state: StreamState) -> None:
        """Wait until the position of a stream is known. The caller sets the time limit."""
        while not state.ready:
            await asyncio.wait([self._start_resync(state)])
            if not state.ready:
                await asyncio.sleep(0.1)  # the backend is away; the layer reconnects by itself

    async def cover(self, state: StreamState, since: Position) -> None:
        """Read what a reader at `since` has missed into memory, as far as it is held."""
        if not state.needs_history(since):
            return
        if state.is_behind(since):
            await asyncio.wait([self._start_resync(state)])
            return
        page = await self._history.read_history(state.stream, since)
        if page.epoch == state.epoch and page.updates:
            # Only updates older than those in memory: later ones arrive the usual way.
            first = state.recent[0].offset if state.recent else state.offset + 1
            older = [update for update in page.updates if update.offset < first]
            if older and older[-1].offset == first - 1:
                # Keep more than usual, until the reader has had time to start.
                state.recent.extendleft(reversed(older))
                state.trim(RECENT)  # more may have come while this was read
                state.hold_until = time.monotonic() + HOLD_SECONDS

    # Readers --------------------------------------------------------------------------------

    def start(self, state: StreamState, since: Position | None, limit: int) -> Start:
        """The position of a new reader. Synchronous: no update falls between this and `join`."""
        status = self.freshness.text(state) if state.stale else None
        return state.start(since, limit, status)

    def born(self, channel: str) -> list[StreamState]:
        """The streams of a channel that have updates."""
        return [state for state in self.channel_states(channel) if state.born]

    def join(self, stream: Stream, reader: Reader) -> None:
        if stream.wildcard:
            self.wildcards.setdefault(stream.channel, {})[reader.owner] = reader
        else:
            self.state(stream).readers[reader.owner] = reader
        self.freshness.watch()

    def leave(self, stream: Stream, reader: Reader) -> None:
        if stream.wildcard:
            readers = self.wildcards.get(stream.channel, {})
        else:
            state = self.streams.get(stream.group)
            readers = {} if state is None else state.readers
        if readers.get(reader.owner) is reader:
            del readers[reader.owner]

    def channel_states(self, channel: str) -> list[StreamState]:
        return [state for state in self.streams.values() if state.stream.channel == channel]

    def positions(self, streams: Iterable[Stream]) -> dict[str, tuple[str, int]]:
        """Epoch and newest offset that was delivered here, by symbol."""
        result: dict[str, tuple[str, int]] = {}
        for stream in streams:
            if stream.wildcard:
                states = self.channel_states(stream.channel)
            else:
                state = self.streams.get(stream.group)
                states = [] if state is None else [state]
            result.update({state.stream.symbol: (state.epoch, state.offset) for state in states})
        return result

    def moved(self, channel: str, since: float, most: int) -> tuple[dict[str, int], float]:
        """See StreamLayer.moved."""
        states = (state for state in self.channel_states(channel) if state.moved > since)
        moved = sorted(states, key=lambda state: state.moved)
        # More changes may still come within the last second: report it again next time.
        until = float(int(time.monotonic()))
        if len(moved) > most:
            until = moved[most - 1].moved
            moved = [state for state in moved if state.moved <= until]
        return {state.stream.symbol: state.offset for state in moved}, until

    # Freshness ------------------------------------------------------------------------------

    def tell_stale(self, groups: Iterable[str], reason: str) -> None:
        """Tell the readers that no update can arrive for now, once per stream."""
        self.freshness.tell_unreachable(groups, reason)

    def _learn(self, state: StreamState) -> None:
        task = asyncio.get_running_loop().create_task(self._learn_rhythm(state))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _learn_rhythm(self, state: StreamState) -> None:
        """Learn from the history what this process has not received itself."""
        try:
            page = await self._history.read_newest(state.stream, LEARN_FROM)
        except Exception as exc:
            logger.debug("the history of %s could not be read: %s", state.stream.group, exc)
            state.asked = False
            return
        if state.rhythm is not None:
            state.rhythm.learn([_published(update) for update in page.updates])

    # Housekeeping ---------------------------------------------------------------------------

    def forget(self, group: str) -> None:
        state = self.streams.pop(group, None)
        self._failed.pop(group, None)
        if state is None:
            return
        if state.resync is not None:
            state.resync.cancel()
        if state.born:
            self._born -= 1
            self._trimmed = max(1, min(self._trimmed, self._born))

    def forget_unborn(self, group: str) -> bool:
        """Forget a stream that has neither updates nor readers; False if it has either."""
        state = self.streams.get(group)
        if state is None or state.born or state.readers or not state.settled:
            return False
        if state.stream.channel in self.complete and not (state.ready or state.new):
            return False  # the index names it: readers of every symbol wait for its newest update
        self.forget(group)
        return True

    def is_unsettled(self, group: str) -> bool:
        state = self.streams.get(group)
        return state is not None and not state.born and not state.settled

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        self.freshness.close()
        self.losses.close()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self._failed.clear()
        self.streams.clear()
        self.wildcards.clear()


def _published(update: Update) -> float:
    """When an update was published, on this process' monotonic clock; now if it has no time."""
    try:
        return heard_at(update_time(update.body))
    except (MsgspecError, ValueError):
        return time.monotonic()
