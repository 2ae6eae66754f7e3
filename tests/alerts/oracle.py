"""Which rules fire, the slow way: every rule looks at every update, from the text of README alone.

Shares nothing with `realtime.alerts`: no index, no state that could be restored, no other words
than those of a rule's JSON. Times in milliseconds.
"""

import zoneinfo
from collections.abc import Iterable
from datetime import datetime
from typing import Any

DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
# What a rule is about, who it is, when, and whether time alone made it fire.
Firing = tuple[int, str, int, bool]


class Oracle:
    """All rules, by id, as their owners wrote them (with `symbols` and `conditions`)."""

    def __init__(self, rules: dict[int, dict[str, Any]]) -> None:
        self.rules = rules
        self.judges: dict[str, list[Judge]] = {}

    def update(self, symbol: str, channel: str, at: int, data: dict[str, Any]) -> list[Firing]:
        if symbol not in self.judges:
            self.judges[symbol] = [
                Judge(id, symbol, rule)
                for id, rule in sorted(self.rules.items())
                if symbol in rule["symbols"] or "*" in rule["symbols"]
            ]
        return [
            firing for judge in self.judges[symbol] for firing in judge.update(channel, at, data)
        ]

    def pass_until(self, at: int) -> list[Firing]:
        """Let time pass without updates."""
        judges = (judge for judges in self.judges.values() for judge in judges)
        return [firing for judge in judges for firing in judge.pass_until(at)]


def fired(
    rules: dict[int, dict[str, Any]], symbol: str, updates: list[tuple[int, dict[str, Any]]]
) -> list[Firing]:
    """What fires by the market data (time and data) of one symbol."""
    oracle = Oracle(rules)
    return [
        firing for at, data in updates for firing in oracle.update(symbol, "market-data", at, data)
    ]


class Judge:
    """One rule on one symbol."""

    def __init__(self, id: int, symbol: str, rule: dict[str, Any]) -> None:
        self.id = id
        self.symbol = symbol
        self.rule = rule
        self.all = rule.get("match", "all") == "all"
        self.leaves = list(flat(rule["conditions"]))
        stale = any(leaf["type"] == "stale" for leaf in self.leaves)
        self.waits = stale or "for" in rule or "active_hours" in rule
        self.prices: list[tuple[int, float]] = []
        self.number: dict[str, float | None] = {}
        self.before: dict[str, float | None] = {}
        self.changed: set[str] = set()
        self.last: dict[str, int] = {}
        self.engaged: dict[int, bool] = {}  # by identity of a condition: beyond, and not yet back
        self.true_since: int | None = None
        self.fired_in_this_turn = False
        self.fired_at: int | None = None
        self.now = 0
        # What the name of a condition says: upwards, of which number, and a crossing?
        self.words = {leaf["type"]: words(leaf["type"]) for leaf in self.leaves}

    # What comes in ---------------------------------------------------------------------------

    def update(self, channel: str, at: int, data: dict[str, Any]) -> list[Firing]:
        firings = self.pass_until(at)
        self.now = max(self.now, at)
        self.changed.clear()
        if channel == "market-data":
            if "price" in data:
                self.prices.append((self.now, data["price"]))
            for name in ("price", "volume"):
                if name in data:
                    self.set(name, data[name])
        else:
            if "confidence" in data:
                self.set("confidence", data["confidence"])
            last = data.get("last_price", self.number.get("price"))
            if last and "predicted_price" in data:
                gain = round((data["predicted_price"] / last - 1) * 100, 9)
                self.set("predicted_return", gain)
                if gain:
                    self.set("direction", 1 if gain > 0 else -1)
        self.last[channel] = self.now
        return firings + self.look(timed=False)

    def set(self, name: str, value: float) -> None:
        self.before[name] = self.number.get(name)
        self.number[name] = value
        self.changed.add(name)

    def pass_until(self, at: int) -> list[Firing]:
        firings: list[Firing] = []
        if not self.last or not self.waits:
            return firings  # nothing is known yet, or time alone changes nothing
        while moments := [moment for moment in self.moments() if self.now < moment <= at]:
            self.now = min(moments)
            self.changed = set()
            firings += self.look(timed=True)
        return firings

    def moments(self) -> Iterable[int]:
        """When something may become true, or false, by itself."""
        if self.true_since is not None:
            yield self.true_since + round(self.rule.get("for", 0) * 1000)
        for condition in self.leaves:
            channel = condition.get("channel", "market-data")
            if condition["type"] == "stale" and channel in self.last:
                yield self.last[channel] + round(condition["seconds"] * 1000)
        if "active_hours" in self.rule:
            yield self.now - self.now % 60_000 + 60_000

    # Judging ---------------------------------------------------------------------------------

    def look(self, *, timed: bool) -> list[Firing]:
        if "expires_at" in self.rule and self.now >= milliseconds(self.rule["expires_at"]):
            return []
        answers = [self.is_true(condition) for condition in self.rule["conditions"]]
        true = (all if self.all else any)(answers)
        if not true or not self.is_active():
            self.true_since, self.fired_in_this_turn = None, False
            return []
        if self.true_since is None or self.has_event():
            self.true_since, self.fired_in_this_turn = self.now, False
        if self.fired_in_this_turn or self.now - self.true_since < self.rule.get("for", 0) * 1000:
            return []
        self.fired_in_this_turn = True
        if self.fired_at is not None:
            if self.rule.get("once"):
                return []
            if self.now - self.fired_at < self.rule.get("cooldown", 0) * 1000:
                return []
        self.fired_at = self.now
        return [(self.id, self.symbol, self.now, timed)]

    def has_event(self) -> bool:
        """Is there a condition that is true at this very update, and at no other?"""
        if self.rule.get("for"):
            return False
        return any(condition.get("__happened") for condition in self.leaves)

    def is_active(self) -> bool:
        hours = self.rule.get("active_hours")
        if hours is None:
            return True
        zone = zoneinfo.ZoneInfo(hours.get("timezone", "UTC"))
        local = datetime.fromtimestamp(self.now / 1000, zone)
        clock = f"{local.hour:02}:{local.minute:02}"
        today, yesterday = DAYS[local.weekday()], DAYS[local.weekday() - 1]
        days = hours.get("days", DAYS)
        start, end = hours["start"], hours["end"]
        if start < end:
            return today in days and start <= clock < end
        return (today in days and clock >= start) or (yesterday in days and clock < end)

    def is_true(self, condition: dict[str, Any]) -> bool:
        kind = condition["type"]
        if kind in ("all", "any"):
            answers = [self.is_true(each) for each in condition["conditions"]]
            return all(answers) if kind == "all" else any(answers)
        if kind == "stale":
            last = self.last.get(condition.get("channel", "market-data"))
            return last is not None and self.now - last >= round(condition["seconds"] * 1000)
        if kind == "percent_move":
            return self.has_moved(condition)
        if kind == "direction_flip":
            before, now = self.before.get("direction"), self.number.get("direction")
            flipped = "direction" in self.changed and before is not None and before != now
            condition["__happened"] = flipped
            return flipped
        return self.is_beyond(condition, kind)

    def is_beyond(self, condition: dict[str, Any], kind: str) -> bool:
        up, name, crossing = self.words[kind]
        now, before = self.number.get(name), self.before.get(name)
        if now is None:
            return False
        value, rearm = condition["value"], condition.get("rearm")
        back = value if rearm is None else rearm
        beyond = now > value if up else now < value
        is_back = now <= back if up else now >= back
        was_engaged = self.engaged.get(id(condition), False)
        if not crossing:
            self.engaged[id(condition)] = beyond or (was_engaged and not is_back)
            return self.engaged[id(condition)]
        from_there = before is not None and (before <= value if up else before >= value)
        happened = beyond and from_there and name in self.changed and not was_engaged
        self.engaged[id(condition)] = happened or (was_engaged and not is_back)
        condition["__happened"] = happened
        return self.engaged[id(condition)] if self.rule.get("for") else happened

    def has_moved(self, condition: dict[str, Any]) -> bool:
        """Against every price of the window, which moves on in steps of a 60th of its length."""
        if not self.prices:
            return False
        window = round(condition["window"] * 1000)
        step = max(1, window // 60)
        at, price = self.prices[-1]  # between two prices nothing moves
        begin = (at - window) // step * step
        recent = [value for moment, value in self.prices[-1000:] if moment >= begin]
        up = round((price / min(recent) - 1) * 100, 9)
        down = -round((price / max(recent) - 1) * 100, 9)
        wanted = {"up": up, "down": down, "any": max(up, down)}
        return wanted[condition.get("direction", "any")] >= condition["value"]


def words(kind: str) -> tuple[bool, str, bool]:
    name = kind.removesuffix("above").removesuffix("below").removesuffix("_") or "price"
    crossing = name == "crosses"
    return kind.endswith("above"), "price" if crossing else name, crossing


def flat(conditions: list[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    for condition in conditions:
        if condition["type"] in ("all", "any"):
            yield from flat(condition["conditions"])
        else:
            yield condition


def milliseconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)
