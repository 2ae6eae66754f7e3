"""One rule on one symbol: what is true of it now, and what must survive a restart. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, assert_never

from realtime.alerts.conditions import (
    DIRECTION,
    AllOf,
    AnyOf,
    DirectionFlip,
    Leaf,
    Leveled,
    Metric,
    Node,
    PercentMove,
    Stale,
    milliseconds,
)
from realtime.alerts.rules import Definition, leaves
from realtime.alerts.watches import Series

Truth = Callable[[Sequence[bool]], bool]


@dataclass(frozen=True, slots=True)
class Rule:
    """A definition with what names it. `revision` grows when its meaning changes.

    It ignores what was published before `since` (milliseconds).
    """

    id: int
    revision: int
    owner_id: Any
    definition: Definition
    since: int = 0


class Watch:
    """One condition of one rule on one symbol: is it true, given the number that it watches?"""

    __slots__ = (
        "back",
        "condition",
        "keeps",
        "latched",
        "level",
        "metric",
        "on",
        "owner",
        "strict",
        "upward",
    )

    def __init__(self, condition: Leaf, owner: "RuleState", *, latched: bool) -> None:
        self.condition = condition
        self.owner = owner
        self.metric: Metric = condition.metric
        self.level = condition.level
        rearm = None
        # `strict`: `> level` or `< level`, and not `>= level`.
        match condition:
            case Leveled():
                self.strict, self.upward, rearm = True, condition.upward, condition.rearm
            case PercentMove() | DirectionFlip() | Stale():
                self.strict, self.upward = False, True
            case _:
                assert_never(condition)
        self.back = self.level if rearm is None else rearm
        # With `for`, a crossing stays true until the number is back.
        self.latched = latched and condition.event
        # Can what is true not be told from the number alone?
        self.keeps = rearm is not None or self.latched
        self.on = False

    def look(self, series: Series, step: int) -> bool:
        """Is the condition true at this step? Called once in a step."""
        value = series.value
        if value is None:
            return False
        if not self.condition.event:
            self.on = self._is_beyond(value) or (self.on and not self._is_back(value))
            return self.on
        happened = not (self.keeps and self.on) and self._has_crossed(series, step)
        if self.keeps:
            self.on = happened or (self.on and not self._is_back(value))
        return self.on if self.latched else happened

    def _is_beyond(self, value: float) -> bool:
        if not self.strict:
            return value >= self.level
        return value > self.level if self.upward else value < self.level

    def _is_back(self, value: float) -> bool:
        if not self.strict:
            return value < self.level
        return value <= self.back if self.upward else value >= self.back

    def _has_crossed(self, series: Series, step: int) -> bool:
        before, value = series.before, series.value
        if series.step != step or before is None or value is None:
            return False
        if self.metric is DIRECTION:
            return before != value
        if self.upward:
            return before <= self.level < value
        return before >= self.level > value


class RuleState:
    """`since`: when the rule became true; `done`: it has fired (or was passed over) since then.

    All times in milliseconds. `fired` is when it fired last, `finished` that it never will again,
    `wake` when it wants to be looked at without an update.
    """

    __slots__ = (
        "cooldown",
        "done",
        "finished",
        "fired",
        "hold",
        "rule",
        "since",
        "truth",
        "wake",
        "watches",
    )

    def __init__(self, rule: Rule, saved: Any = None) -> None:
        self.rule = rule
        definition = rule.definition
        self.hold = milliseconds(definition.hold)
        self.cooldown = milliseconds(definition.cooldown)
        root = definition.root
        self.watches = [Watch(leaf, self, latched=self.hold > 0) for leaf in leaves(root)]
        self.truth = truth_of(root)
        saved = saved or {}
        self.since: int | None = saved.get("since")
        self.done: bool = saved.get("done", False)
        self.fired: int | None = saved.get("fired")
        self.finished: bool = saved.get("finished", False)
        self.wake: int | None = saved.get("wake")
        on = set(saved.get("on", ()))
        for place, watch in enumerate(self.watches):
            watch.on = place in on

    @property
    def mark(self) -> Any:
        """Equal as long as nothing has changed that a restart needs."""
        on = [watch.on for watch in self.watches if watch.keeps]
        return self.since, self.done, self.fired, self.finished, self.wake, on

    def as_data(self) -> dict[str, Any]:
        """What a restart needs; {} if that is nothing."""
        data = {
            "since": self.since,
            "done": self.done,
            "fired": self.fired,
            "finished": self.finished,
            "wake": self.wake,
            "on": [place for place, watch in enumerate(self.watches) if watch.keeps and watch.on],
        }
        return {name: value for name, value in data.items() if value not in (None, False, [])}


def truth_of(node: Node) -> Truth:
    """A function from the truths of the leaves, in their order, to the truth of the whole."""
    return _truth(node, iter(range(len(leaves(node)))))


def _truth(node: Node, places: Any) -> Truth:
    if not isinstance(node, AllOf | AnyOf):
        place: Final = next(places)
        return lambda truths: truths[place]
    parts = [_truth(each, places) for each in node.conditions]
    if len(parts) == 1:
        return parts[0]
    if isinstance(node, AllOf):
        return lambda truths: all(part(truths) for part in parts)
    return lambda truths: any(part(truths) for part in parts)
