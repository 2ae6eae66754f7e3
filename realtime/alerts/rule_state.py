"""One rule on one symbol: its current state, and the part that must survive a restart. Pure."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypedDict

from realtime.alerts.conditions import (
    AllOf,
    AnyOf,
    Node,
    milliseconds,
)
from realtime.alerts.rules import Definition, leaves
from realtime.alerts.watches import Watch

Truth = Callable[[Sequence[bool]], bool]


@dataclass(frozen=True, slots=True)
class Rule:
    """A definition with its identifiers. `revision` grows when its meaning changes.

    Updates published before `since` (milliseconds) are ignored.
    """

    id: int
    revision: int
    owner_id: object  # as the model of the users has it
    definition: Definition
    since: int = 0


class SavedRule(TypedDict, total=False):
    """What a restart needs of a RuleState."""

    since: int | None
    done: bool
    fired: int | None
    finished: bool
    wake: int | None
    on: list[int]


class RuleState:
    """`since`: when the rule became true; `done`: it has fired (or was passed over) since then.

    All times are in milliseconds. `fired`: when the rule last fired; `finished`: it never fires
    again; `wake`: when to evaluate it without an update.
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

    def __init__(self, rule: Rule, saved: SavedRule | None = None) -> None:
        self.rule = rule
        definition = rule.definition
        self.hold = milliseconds(definition.hold)
        self.cooldown = milliseconds(definition.cooldown)
        root = definition.root
        self.watches = [Watch(leaf, rule.id, latched=self.hold > 0) for leaf in leaves(root)]
        self.truth = truth_of(root)
        saved = saved or {}
        self.since = saved.get("since")
        self.done = saved.get("done", False)
        self.fired = saved.get("fired")
        self.finished = saved.get("finished", False)
        self.wake = saved.get("wake")
        on = set(saved.get("on", ()))
        for place, watch in enumerate(self.watches):
            watch.on = place in on

    @property
    def mark(self) -> object:
        """A value that changes whenever the state that a restart needs has changed."""
        on = [watch.on for watch in self.watches if watch.keeps]
        return self.since, self.done, self.fired, self.finished, self.wake, on

    def as_data(self) -> dict[str, object]:
        """The state that a restart needs; {} if there is none."""
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


def _truth(node: Node, places: Iterator[int]) -> Truth:
    if not isinstance(node, AllOf | AnyOf):
        place: Final = next(places)
        return lambda truths: truths[place]
    parts = [_truth(each, places) for each in node.conditions]
    if len(parts) == 1:
        return parts[0]
    if isinstance(node, AllOf):
        return lambda truths: all(part(truths) for part in parts)
    return lambda truths: any(part(truths) for part in parts)
