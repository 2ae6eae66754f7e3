"""Telling readers that a stream is stale, once, and that it is fresh again.

A stream is stale for one of two reasons: it has been quiet for longer than its rhythm suggests, or
the backend is away and no update can arrive (`reason`: `backend_unavailable`). One timer per
process checks all streams; an update costs no more than setting the time in `heard`.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, Generic, Protocol, TypeVar

from realtime.conf import conf
from realtime.delivery.rhythm import Rhythm
from realtime.delivery.updates import Reader
from realtime.protocol import StreamStatus, encode, timestamp
from realtime.streams import Channel, Stream

# Seconds between two checks of the streams: silence is noticed at most this much too late.
TICK: Final = 0.5
# Updates of the history from which the rhythm of a stream is learned that is quiet from the start.
LEARN_FROM: Final = 21
# Streams whose histories are read in one check.
_LEARN_AT_ONCE: Final = 50


class Watched(Protocol):
    """The freshness of a stream in this process. `heard` is on the clock of `time.monotonic`."""

    stream: Stream
    heard: float | None
    rhythm: Rhythm | None
    stale: bool
    reason: str  # why it is stale, other than being quiet
    asked: bool  # to learn the rhythm from the history


StreamT = TypeVar("StreamT", bound=Watched)


def rhythm_for(channel: Channel) -> Rhythm | None:
    """The rhythm that the settings ask for; None for alerts, which have no rhythm."""
    intervals = conf.REALTIME_EXPECTED_INTERVAL
    if channel not in intervals:
        return None
    return Rhythm(
        intervals[channel] or None,
        floor=conf.REALTIME_EXPECTED_INTERVAL_FLOOR,
        ceiling=conf.REALTIME_EXPECTED_INTERVAL_CEILING,
    )


class Freshness(Generic[StreamT]):
    """The watch over the streams of one event loop.

    `audience` returns the readers of a stream; `learn` learns its rhythm from its history.
    """

    def __init__(
        self,
        streams: Mapping[str, StreamT],
        audience: Callable[[StreamT], Sequence[Reader]],
        learn: Callable[[StreamT], None],
    ) -> None:
        self._streams = streams
        self._audience = audience
        self._learn = learn
        self._timer: asyncio.TimerHandle | None = None

    # The timer --------------------------------------------------------------------------------

    def watch(self) -> None:
        """Check the streams from now on, as long as there are any."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK, self._tick)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self._timer = None
        if self._streams:
            self.watch()
            self.look(time.monotonic())

    def look(self, now: float) -> None:
        """Mark the streams that are quiet, and tell their readers."""
        floor = conf.REALTIME_EXPECTED_INTERVAL_FLOOR
        quiet, silent = [], []
        for state in self._streams.values():
            heard, rhythm = state.heard, state.rhythm
            if heard is None or rhythm is None:
                continue
            if rhythm.is_quiet(heard, now):
                if not state.stale:
                    quiet.append(state)
            elif rhythm.expected is None and now - heard > floor and not state.asked:
                silent.append(state)
        for state in quiet:
            self._mark(state, "")
        for state in silent[:_LEARN_AT_ONCE]:
            state.asked = True
            self._learn(state)

    # States -----------------------------------------------------------------------------------

    def tell_unreachable(self, groups: Iterable[str], reason: str) -> None:
        """No update can arrive for now: mark the streams that are not stale already."""
        for group in groups:
            state = self._streams.get(group)
            if state is not None and not state.stale:
                self._mark(state, reason)

    def tell_reachable(self, state: StreamT) -> None:
        """Updates arrive again: a stream is fresh, unless it is quiet itself."""
        if not state.stale:
            return
        if not self._is_quiet(state):
            self.tell_fresh(state)
        elif state.reason:
            self._mark(state, "")

    def tell_fresh(self, state: StreamT) -> None:
        state.stale, state.reason = False, ""
        self._tell(state)

    def _is_quiet(self, state: StreamT) -> bool:
        heard, rhythm = state.heard, state.rhythm
        return heard is not None and rhythm is not None and rhythm.is_quiet(heard, time.monotonic())

    def _mark(self, state: StreamT, reason: str) -> None:
        state.stale, state.reason = True, reason
        self._tell(state)

    def _tell(self, state: StreamT) -> None:
        audience = self._audience(state)
        if audience:
            text = self.text(state)
            for reader in audience:
                reader.deliver_state(state.stream, text)

    def text(self, state: StreamT) -> bytes:
        """The `stream_status` message for the present state of a stream."""
        expected = None if state.rhythm is None else state.rhythm.expected
        message = StreamStatus(
            symbol=state.stream.symbol,
            state="stale" if state.stale else "fresh",
            last_update=None if state.heard is None else timestamp(_moment(state.heard)),
            expected_every=None if expected is None else round(expected, 3),
        )
        if state.reason:
            message.reason = state.reason
        return encode(message)

    def stale(self) -> dict[Stream, datetime | None]:
        """The streams that are stale, and when they were last heard of."""
        return {
            state.stream: None if state.heard is None else _moment(state.heard)
            for state in self._streams.values()
            if state.stale
        }


def _moment(heard: float) -> datetime:
    """A time of `time.monotonic` as wall-clock time."""
    return datetime.fromtimestamp(time.time() - (time.monotonic() - heard), UTC)


def heard_at(published: datetime) -> float:
    """A time in the past on the clock of `time.monotonic`."""
    return time.monotonic() - max(0.0, time.time() - published.timestamp())
