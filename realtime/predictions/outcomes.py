"""When is the price known that a prediction was about, and which one is it? Pure.

The horizon counts bars: the price is the close of the `horizon`-th bar that starts after `as_of`
(the bar that `as_of` lies in was the last one that the predictor saw). Days and minutes without
trading have no bar and do not count, for the predictor and here alike.

Two things are not an outcome. A bar that was there before the prediction: a replay that begins
again writes the same bars in each lap, and one that is not written yet in this lap would tell
the future. And a bar that is still open: it counts once a later bar was written after it or, with
prices of the present, once its time is over.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from realtime.predictions.fields import STEPS, later

# Prices that are at most so old when they are predicted from are those of the present.
PRESENT: Final = timedelta(minutes=15)
# After the end of a bar, for ticks on their way and for the recorder.
GRACE: Final = timedelta(seconds=10)
# Markets close for nights, weekends and holidays. A bar further off than this, and twice the
# horizon, is of another time: a replay was moved there.
CLOSED: Final = timedelta(days=7)
# Bars behind the horizon that are looked at for one that was written later.
BEYOND: Final = 5
# An outcome that is not there yet is looked for again when the wait is longer by this share of it.
PATIENCE: Final = 0.1
SOONEST: Final = timedelta(seconds=1)
LATEST: Final = timedelta(days=1)
# What is not known so long after three times its horizon is given up: at the end of a replay's
# file there are predictions of days that never come.
GIVEN_UP: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Close:
    """A bar: its first moment on the market's clock, and when (on ours) it was written."""

    start: datetime
    close: float
    written_at: datetime


@dataclass(frozen=True, slots=True)
class Wait:
    """What a prediction waits for. `as_of` is on the market's clock, `made_at` on ours."""

    as_of: datetime
    made_at: datetime
    horizon: int
    step: str  # 1d or 1m

    @property
    def of_the_present(self) -> bool:
        return -PRESENT <= self.made_at - self.as_of <= PRESENT

    def first_look(self) -> datetime | None:
        """Before this time (on our clock) the outcome cannot be known; None: it never can.

        How long single updates take is not known.
        """
        if self.step == "update":
            return None
        if not self.of_the_present:
            return self.made_at  # the speed of a replay is not known
        return later(self.as_of, self.horizon * STEPS[self.step])

    def next_look(self, now: datetime) -> datetime | None:
        """None: there is no further one."""
        if now - self.made_at > GIVEN_UP + 3 * self.horizon * STEPS[self.step]:
            return None
        pause = (now - self.made_at) * PATIENCE
        return later(now, min(max(pause, SOONEST), LATEST))

    def price(self, bars: Sequence[Close], now: datetime) -> float | None:
        """The price at the horizon, once it is known.

        `bars`: those that start after `as_of`, oldest first, at least `horizon` + BEYOND of them if
        there are as many.
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
