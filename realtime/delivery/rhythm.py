"""How often a stream has updates, and when it has been quiet for too long. Pure.

    rhythm = Rhythm(None, floor=5.0, ceiling=3600.0)   # learned from the stream's own spacing
    rhythm.learn([0.0, 10.0, 20.0, 30.0, 40.0, 50.0])
    rhythm.expected                                     # 20.0: twice the longest spacing
    rhythm.is_quiet(50.0, 71.0)                         # True

All times are seconds on any clock that does not go back.
"""

import math
from collections.abc import Iterable
from typing import Final

# Spacings needed before a rhythm is known.
ENOUGH: Final = 5
# The expected interval, in units of the longest recent spacing, which decays with each later one.
MARGIN: Final = 2.0
DECAY: Final = 0.95


class Rhythm:
    """`expected`: seconds within which the next update should come; None if unknown or never.

    `fixed` is an interval from the settings. Without it the interval is learned: MARGIN times the
    longest recent spacing, within `floor` and `ceiling`. A stream whose own spacing is longer than
    `ceiling` has no rhythm and never counts as quiet.
    """

    __slots__ = (
        "_ceiling",
        "_count",
        "_fixed",
        "_floor",
        "_longest",
        "_next",
        "_noted",
        "expected",
    )

    def __init__(self, fixed: float | None, *, floor: float, ceiling: float) -> None:
        self.expected = fixed
        self._fixed = fixed is not None
        self._floor = floor
        self._ceiling = ceiling
        self._noted: float | None = None
        self._longest = 0.0
        self._count = 0
        # Until then updates are so close together that the expected interval would be the floor.
        self._next = math.inf if self._fixed else -math.inf

    def is_quiet(self, heard: float, now: float) -> bool:
        """Whether the stream, last heard of at `heard`, has been quiet for longer than expected.

        Called now and then instead of for each update: the updates between two calls count as one
        spacing, of at most the time between the calls.
        """
        if heard >= self._next:
            self._note(heard)
        return self.expected is not None and now - heard > self.expected

    def learn(self, moments: Iterable[float]) -> None:
        """Learn from the times of updates, oldest first, unless the rhythm is known already."""
        if not self._fixed and self._count < ENOUGH:
            self._noted = None
            for moment in moments:
                self._note(moment)

    def _note(self, heard: float) -> None:
        noted, self._noted = self._noted, heard
        self._next = heard + self._floor / MARGIN
        if noted is None:
            return
        gap = heard - noted
        if self.expected is not None:
            # A night's silence is not a spacing; a second one doubles the expected interval.
            gap = min(gap, self.expected)
        self._longest = max(gap, self._longest * DECAY)
        self._count += 1
        if self._count >= ENOUGH:
            slow = self._longest > self._ceiling
            wanted = min(max(self._longest * MARGIN, self._floor), self._ceiling)
            self.expected = None if slow else wanted
