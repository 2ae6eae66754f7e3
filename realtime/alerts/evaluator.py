"""All rules on one symbol, as a state machine: updates and times in, firings out. Pure.

Time is that of the updates: their `timestamp` on the wire, when they were published. What becomes
true between two updates (a `for` that has elapsed, a stream that goes stale) becomes true at its
own time, as if it had been evaluated at that moment; so it does not matter when, or how often,
updates are processed. An update touches only the rules with a level between the old value and the
new one.
"""

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypedDict, assert_never

from realtime.alerts.conditions import (
    CONFIDENCE,
    DIRECTION,
    MOVES,
    PREDICTED_RETURN,
    PRICE,
    VOLUME,
    Metric,
)
from realtime.alerts.rule_state import Rule, RuleState, SavedRule
from realtime.alerts.watches import MetricSeries, Watch, Window, percent
from realtime.bars.ticks import corrected_id
from realtime.streams import Channel
from realtime.values import number

AGE: Final[Mapping[str, Metric]] = {
    "market-data": Metric("age", "market-data"),
    "predictions": Metric("age", "predictions"),
}
# The fields of an update's data that rules read.
NUMBERS: Final = (
    "price", "volume", "confidence", "predicted_price", "last_price", "current_price",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class TimedUpdate:
    """One update. `at`: when it was published, in milliseconds since 1970."""

    channel: Channel
    at: int
    data: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Fired:
    """A rule that fires at `at`. `timed`: because time has passed, not because of an update.

    `numbers` are the symbol's numbers at that time, `condition` is the first true one. `channels`
    are the sources of the result: the rule's, and the one whose last price a prediction used.
    """

    rule: Rule
    symbol: str
    at: int
    timed: bool
    watch: Watch
    numbers: Mapping[str, float]
    channels: frozenset[Channel]


class SavedMachine(TypedDict, total=False):
    """What a restart needs of a SymbolMachine, beside the states of its rules."""

    now: int
    last: dict[Channel, int]
    numbers: dict[str, float]
    values: dict[str, list[float | None]]
    borrowed: bool
    windows: dict[str, list[list[float]]]


class SymbolMachine:
    """`dirty` collects the rules whose state has changed since it was emptied, by id.

    `failed` collects rules that could not be evaluated, with what went wrong: they are dropped.
    """

    def __init__(self, symbol: str, saved: SavedMachine | None = None) -> None:
        saved = saved or {}
        self.symbol = symbol
        self.now = saved.get("now", 0)
        self.states: dict[int, RuleState] = {}
        self.dirty: dict[int, RuleState] = {}
        self.failed: list[tuple[Rule, Exception]] = []
        self._step = 0
        self._series: dict[Metric, MetricSeries] = {}
        self._windows: dict[int, Window] = {}
        # When the stream of each channel had its last update.
        self._last: dict[Channel, int] = dict(saved.get("last", {}))
        # Numbers that only messages use.
        self._numbers: dict[str, float] = dict(saved.get("numbers", {}))
        self._values: dict[str, list[float | None]] = dict(saved.get("values", {}))
        self._saved_windows: dict[str, list[list[float]]] = dict(saved.get("windows", {}))
        # Was the newest predicted return computed from the last market price, for lack of its own?
        self._borrowed = saved.get("borrowed", False)
        self._timers: list[tuple[int, int]] = []
        # Rules to evaluate in the next step in any case: new ones, and those whose event is over by
        # then.
        self._again: dict[RuleState, None] = {}
        for metric in (PRICE, VOLUME, CONFIDENCE, PREDICTED_RETURN, DIRECTION):
            self._metric(metric)

    # Rules ----------------------------------------------------------------------------------

    def put(self, rule: Rule, saved: SavedRule | None = None) -> None:
        """Add a rule, or replace the rule with this id. It is evaluated with the next update."""
        self.drop(rule.id)
        state = RuleState(rule, saved)
        if state.finished:
            return
        self.states[rule.id] = state
        for watch in state.watches:
            self._metric(watch.metric).watch(watch)
        self._again[state] = None
        if state.wake is not None:
            heapq.heappush(self._timers, (state.wake, rule.id))

    def drop(self, rule_id: int) -> None:
        state = self.states.pop(rule_id, None)
        if state is None:
            return
        for watch in state.watches:
            self._metric(watch.metric).unwatch(watch)
        self._again.pop(state, None)
        self._forget_windows()

    def fail(self, rule: Rule, exc: Exception) -> None:
        """Drop a rule that cannot be evaluated; the others continue."""
        self.drop(rule.id)
        self.dirty.pop(rule.id, None)
        self.failed.append((rule, exc))

    def _forget_windows(self) -> None:
        for length in tuple(self._windows):
            metrics = [Metric(name, "market-data", length) for name in MOVES.values()]
            if not any(
                metric in self._series and self._series[metric].watched for metric in metrics
            ):
                del self._windows[length]
                for metric in metrics:
                    self._series.pop(metric, None)

    def _metric(self, metric: Metric) -> MetricSeries:
        series = self._series.get(metric)
        if series is None:
            series = self._series[metric] = MetricSeries()
            value = self._values.pop(_key(metric), None)
            if value is not None:
                series.value, series.before = value
            self._feed(metric, series)
        return series

    def _feed(self, metric: Metric, series: MetricSeries) -> None:
        """Prepare what gives the metric its values from now on."""
        match metric.name:
            case "price" | "volume" | "confidence" | "predicted_return" | "direction":
                pass  # `_take` sets them from the data of updates
            case "move_up" | "move_down" | "move_any":
                if metric.window not in self._windows:
                    saved = self._saved_windows.pop(str(metric.window), ())
                    self._windows[metric.window] = Window(metric.window, saved)
            case "age":
                if series.value is None and metric.channel in self._last:
                    series.value = max(0.0, float(self.now - self._last[metric.channel]))
            case _:
                assert_never(metric.name)

    # Time and updates -----------------------------------------------------------------------

    def update(self, tick: TimedUpdate) -> list[Fired]:
        """Take an update: first what became true by its time, then what its data says."""
        fired = self.advance(tick.at)
        self.now = max(self.now, tick.at)
        self._step += 1
        touched = dict(self._again)
        self._again.clear()
        for watch in self._take(tick):
            touched[self.states[watch.rule_id]] = None
        if touched:
            fired += self._look_at(touched, timed=False)
        return fired

    def advance(self, now: int) -> list[Fired]:
        """Let time pass up to `now`, stopping wherever something is due."""
        fired: list[Fired] = []
        while (due := self.due) is not None and due <= now:
            fired += self._pass(due)
        return fired

    @property
    def due(self) -> int | None:
        """When the next condition changes by time alone; None for never."""
        times = [self._timers[0][0]] if self._timers else []
        for channel, last in self._last.items():
            series = self._series.get(AGE[channel])
            level = None if series is None else series.next_level(series.value or 0.0)
            if level is not None:
                times.append(last + int(level))
        return max(min(times), self.now) if times else None

    def _pass(self, due: int) -> list[Fired]:
        self.now = due
        self._step += 1
        touched: dict[RuleState, None] = {}
        while self._timers and self._timers[0][0] <= due:
            _, rule_id = heapq.heappop(self._timers)
            state = self.states.get(rule_id)
            if state is not None and state.wake is not None and state.wake <= due:
                state.wake = None
                touched[state] = None
        for channel, last in self._last.items():
            series = self._series.get(AGE[channel])
            if series is not None and series.watched:
                for watch in series.set(float(due - last), self._step):
                    touched[self.states[watch.rule_id]] = None
        return self._look_at(touched, timed=True)

    def _take(self, tick: TimedUpdate) -> Iterable[Watch]:
        data = tick.data
        if tick.channel == "market-data":
            price, volume = number(data.get("price")), number(data.get("volume"))
            if corrected_id(data) is not None:
                # The return from an invalid price is not a move, and nothing was traded.
                volume = None
                for window in self._windows.values():
                    window.clear()
            if price is not None:
                yield from self._series[PRICE].set(price, self._step)
                for length, window in self._windows.items():
                    for name, move in window.add(price, self.now).items():
                        series = self._series.get(Metric(name, "market-data", length))
                        if series is not None:
                            yield from series.set(move, self._step)
            if volume is not None:
                yield from self._series[VOLUME].set(volume, self._step)
        else:
            yield from self._take_prediction(data)
        self._last[tick.channel] = self.now
        age = self._series.get(AGE[tick.channel])
        if age is not None:
            yield from age.set(0.0, self._step)

    def _take_prediction(self, data: Mapping[str, object]) -> Iterable[Watch]:
        confidence = number(data.get("confidence"))
        if confidence is not None:
            yield from self._series[CONFIDENCE].set(confidence, self._step)
        predicted = number(data.get("predicted_price"))
        if predicted is None:
            return
        self._numbers["predicted_price"] = predicted
        own = (number(data.get(name)) for name in ("last_price", "current_price"))
        stated = next((price for price in own if price), None)
        last = self._series[PRICE].value if stated is None else stated
        if last is not None and last > 0:
            move = percent(predicted, last)
            if move is None:
                return
            self._borrowed = stated is None
            yield from self._series[PREDICTED_RETURN].set(move, self._step)
            if move:
                yield from self._series[DIRECTION].set(1.0 if move > 0 else -1.0, self._step)

    # Firing ---------------------------------------------------------------------------------

    def _look_at(self, states: Iterable[RuleState], *, timed: bool) -> list[Fired]:
        fired = []
        for state in sorted(states, key=lambda state: state.rule.id):
            before = state.mark
            try:
                watch = self._fires(state)
            except Exception as exc:
                self.fail(state.rule, exc)
                continue
            if watch is not None:
                fired.append(self._fired(state, watch, timed=timed))
            if state.mark != before:
                self.dirty[state.rule.id] = state
            if state.finished:
                self.drop(state.rule.id)
        return fired

    def _fires(self, state: RuleState) -> Watch | None:
        """Evaluate a rule: the condition by which it fires now, or None."""
        definition = state.rule.definition
        if self.now < state.rule.since:
            self._again[state] = None
            return None
        if (
            definition.expires_at is not None
            and self.now >= definition.expires_at.timestamp() * 1000
        ):
            return None
        truths = [watch.look(self._series[watch.metric], self._step) for watch in state.watches]
        holds = state.truth(truths)
        happens = any(
            truth and watch.condition.event and not watch.latched
            for truth, watch in zip(truths, state.watches, strict=True)
        )
        hours = definition.active_hours
        if hours is not None and (holds or state.since is not None):
            if holds:
                self._wake(state, hours.next_change(self.now))
            holds = holds and hours.contain(self.now)
        if not holds:
            state.since, state.done = None, False
            return None
        if happens:
            # True at this update alone, so each time is a new firing.
            self._again[state] = None
            state.since = None
        if state.since is None:
            state.since, state.done = self.now, False
        if state.done:
            return None
        if self.now - state.since < state.hold:
            self._wake(state, state.since + state.hold)
            return None
        state.done = True
        if state.fired is not None and self.now - state.fired < state.cooldown:
            return None
        state.fired = self.now
        state.finished = definition.once
        return next(w for truth, w in zip(truths, state.watches, strict=True) if truth)

    def _wake(self, state: RuleState, due: int) -> None:
        if state.wake is None or due < state.wake:
            state.wake = due
            heapq.heappush(self._timers, (due, state.rule.id))

    def as_if_fired(self, rule_id: int) -> Fired:
        """What a rule would give if its first condition were true now."""
        state = self.states[rule_id]
        return self._fired(state, state.watches[0], timed=False)

    def _fired(self, state: RuleState, watch: Watch, *, timed: bool) -> Fired:
        channels: set[Channel] = {each.metric.channel for each in state.watches}
        numbers = self.numbers(watch)
        if self._borrowed:
            if any(each.metric in (PREDICTED_RETURN, DIRECTION) for each in state.watches):
                channels.add("market-data")
            elif "market-data" not in channels:
                numbers.pop("predicted_return", None)
        return Fired(state.rule, self.symbol, self.now, timed, watch, numbers, frozenset(channels))

    # Numbers --------------------------------------------------------------------------------

    def numbers(self, watch: Watch) -> dict[str, float]:
        """The known values of the fields that a message may name."""
        values: dict[str, float | None] = {
            metric.name: self._series[metric].value for metric in _NAMED
        }
        if watch.metric.name in MOVES.values():
            values["move"] = self._series[watch.metric].value
        known = {name: value for name, value in values.items() if value is not None}
        return {**self._numbers, **known}

    def as_data(self) -> SavedMachine:
        """The state that a restart needs beside the states of the rules, as JSON."""
        return {
            "now": self.now,
            "last": self._last,
            "numbers": self._numbers,
            "values": {
                _key(metric): [series.value, series.before]
                for metric, series in self._series.items()
                if series.value is not None
            },
            "borrowed": self._borrowed,
            "windows": {str(length): window.as_data() for length, window in self._windows.items()},
        }


_NAMED: Final = (PRICE, VOLUME, CONFIDENCE, PREDICTED_RETURN)


def _key(metric: Metric) -> str:
    return f"{metric.name}:{metric.channel}:{metric.window}"
