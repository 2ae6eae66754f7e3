"""The rate and lag of a running feed, in one line. Pure."""

from dataclasses import dataclass

from realtime.feeds.ticks import Tick


@dataclass(slots=True)
class Progress:
    """Counts since the start; `lag`: seconds from the last tick's arrival to its publication."""

    started: float
    updates: int = 0
    predictions: int = 0
    lag: float = 0.0
    last: Tick | None = None
    _reported: tuple[float, int] | None = None

    def published(self, tick: Tick, lag: float) -> None:
        self.updates += 1
        self.last = tick
        self.lag = lag

    def line(self, now: float) -> str:
        """`10.0 updates/s, lag 2 ms, 5230 updates, 41 predictions, last AAPL 94.51 (2012-07-19)`.

        The rate is measured since the previous line.
        """
        since, before = self._reported or (self.started, 0)
        self._reported = now, self.updates
        rate = (self.updates - before) / (now - since) if now > since else 0.0
        return (
            f"{rate:.1f} updates/s, lag {self.lag * 1000:.0f} ms, {self.updates} updates, "
            f"{self.predictions} predictions, last {self._last()}"
        )

    def _last(self) -> str:
        if self.last is None:
            return "none yet"
        when = self.last.bar_date or f"{self.last.timestamp:%Y-%m-%d %H:%M:%S}"
        return f"{self.last.symbol} {self.last.price:.8g} ({when})"
