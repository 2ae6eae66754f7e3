"""Which price is the outcome of a prediction, and when is it known? Pure.

The horizon counts bars: the price is the close of the `horizon`-th bar that starts after `as_of`
(the predictor's last bar is the one that contains `as_of`). Days and minutes without trading have
no bar and do not count, neither for the predictor nor here.

Two kinds of bar are not an outcome. First, a bar that is older than the prediction: a replay writes
the same bars in each lap, so a bar that this lap has not written yet would reveal the future.
Second, a bar that is still open: it counts once a later bar has been written or, for current
prices, once its time is over.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from realtime.predictions.fields import STEPS, later

# Prices count as current if they are at most this old when a prediction uses them.
PRESENT: Final = timedelta(minutes=15)
# Wait after the end of a bar, for ticks in transit and for the recorder.
GRACE: Final = timedelta(seconds=10)
# Markets close for nights, weekends and holidays. A bar that is further away than this plus twice
# the horizon belongs to another period, to which a replay has jumped.
CLOSED: Final = timedelta(days=7)
# Bars after the horizon that are searched for one that was written later.
BEYOND: Final = 5
# A missing outcome is looked up again when the wait has grown by this share.
PATIENCE: Final = 0.1
SOONEST: Final = timedelta(seconds=1)
LATEST: Final = timedelta(days=1)
# An outcome still missing this long after three times the horizon is given up: predictions near the
# end of a replay's file are about days that are not in it.
GIVEN_UP: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Close:
    """A bar: its first moment by the market's clock, and the time of writing by ours."""

    start: datetime
    close: float
    written_at: datetime


@dataclass(frozen=True, slots=True)
class Wait:
    """The outcome that a prediction waits for; `as_of` by the market's clock, `made_at` by ours."""

    as_of: datetime
    made_at: datetime
    horizon: int
    step: str  # 1d or 1m

    @property
    def of_the_present(self) -> bool:
        return -PRESENT <= self.made_at - self.as_of <= PRESENT

    def first_look(self) -> datetime | None:
        """The earliest time (by our clock) at which the outcome can be known; None: never.

        It is never known for steps of single updates, whose duration is unknown.
        """
        if self.step == "update":
            return None
        if not self.of_the_present:
            return self.made_at  # the speed of a replay is unknown
        return later(self.as_of, self.horizon * STEPS[self.step])

    def next_look(self, now: datetime) -> datetime | None:
        """When to look for the outcome again; None: give it up."""
        if now - self.made_at > GIVEN_UP + 3 * self.horizon * STEPS[self.step]:
            return None
        pause = (now - self.made_at) * PATIENCE
        return later(now, min(max(pause, SOONEST), LATEST))

    def price(self, bars: Sequence[Close], now: datetime) -> float | None:
        """The price at the horizon, once it is known.

        `bars`: the bars that start after `as_of`, oldest first; `horizon` + BEYOND of them, or all
        if there are fewer.
        """
        if len(bars) < self.horizon:
            return None
        target, rest = bars[self.horizon - 1], bars[self.horizon :]
        length = STEPS[self.step]
        if target.start - self.as_of > CLOSED + 2 * self.horizon * length:
            return None
        if target.written_at <= self.made_at:
            return None
        complete = any(bar.written_at >= target.written_at for bar in rest) or (
            self.of_the_present and now >= target.start + length + GRACE
        )
        return target.close if complete else None
