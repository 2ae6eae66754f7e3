"""The rules that an engine knows, and which symbols and channels they name. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from realtime.alerts.rule_state import Rule
from realtime.streams import WILDCARD, Channel


class RuleIndex:
    """Rules by id; `of(symbol)` gives the rules that name a symbol or `*`."""

    def __init__(self) -> None:
        self.rules: dict[int, Rule] = {}
        self._by_symbol: defaultdict[str, dict[int, None]] = defaultdict(dict)
        self._channels: defaultdict[str, dict[Channel, int]] = defaultdict(dict)

    def put(self, rule: Rule) -> None:
        self.drop(rule.id)
        self.rules[rule.id] = rule
        self._count(rule, 1)
        for symbol in rule.definition.symbols:
            self._by_symbol[symbol][rule.id] = None

    def drop(self, rule_id: int) -> Rule | None:
        rule = self.rules.pop(rule_id, None)
        if rule is None:
            return None
        self._count(rule, -1)
        for symbol in rule.definition.symbols:
            del self._by_symbol[symbol][rule_id]
            if not self._by_symbol[symbol]:
                del self._by_symbol[symbol]
        return rule

    def _count(self, rule: Rule, by: int) -> None:
        for symbol in rule.definition.symbols:
            counts = self._channels[symbol]
            for channel in rule.definition.channels:
                counts[channel] = counts.get(channel, 0) + by
                if not counts[channel]:
                    del counts[channel]

    def of(self, symbol: str) -> Iterator[Rule]:
        ids = {**self._by_symbol.get(WILDCARD, {}), **self._by_symbol.get(symbol, {})}
        return (self.rules[id] for id in ids)

    def channels(self, symbol: str) -> set[Channel]:
        """The channels of a symbol that some rule reads."""
        return {*self._channels.get(WILDCARD, {}), *self._channels.get(symbol, {})}

    @property
    def symbols(self) -> Iterable[str]:
        """The symbols that rules name, without `*`."""
        return [symbol for symbol in self._by_symbol if symbol != WILDCARD]

    @property
    def wildcards(self) -> set[Channel]:
        """The channels that rules on every symbol read."""
        return set(self._channels.get(WILDCARD, {}))
