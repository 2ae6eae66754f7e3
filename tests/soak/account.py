"""What must not happen, and whether it did."""

import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.checker import Checker, Offsets

# Seconds before Redis lost its data in which what crossed a level need not have been evaluated.
UNREAD_SECONDS = 15.0


@dataclass
class Account:
    """Violations, and what the publisher and the clients say of the same updates and alerts."""

    violations: list[str] = field(default_factory=list)
    numbers: dict[Offsets, int] = field(default_factory=dict)
    confirmed: int = 0
    failed: int = 0
    alerts: dict[int, set[str]] = field(default_factory=dict)  # stored and sent, by user
    unstored: int = 0
    crossings: dict[str, float] = field(default_factory=dict)  # what a rule must tell, and when
    losses: list[float] = field(default_factory=list)  # when Redis lost data
    faults: Counter[str] = field(default_factory=Counter)
    slowest: dict[str, float] = field(default_factory=dict)  # ends after SIGTERM

    def violated(self, what: str) -> None:
        self.violations.append(what)
        print(f"VIOLATION {what}", flush=True)

    def heard(self, line: list[Any]) -> None:
        """A line of the publisher."""
        match line:
            case ["update", symbol, epoch, offset, number]:
                self.confirmed += 1
                self.compare((symbol, epoch, offset), number)
            case ["alert", user, message, stored]:
                self.unstored += not stored
                if stored:
                    self.alerts.setdefault(user, set()).add(message)
            case ["crossed", message, moment]:
                self.crossings[message] = moment
            case ["failed", _]:
                self.failed += 1

    def compare(self, place: Offsets, number: int) -> None:
        if self.numbers.setdefault(place, number) != number:
            self.violated(f"two updates at {place}: {self.numbers[place]} and {number}")

    def due_crossings(self) -> Iterator[str]:
        for message, moment in self.crossings.items():
            if not any(moment < loss < moment + UNREAD_SECONDS for loss in self.losses):
                yield message

    def read_log(self, path: Path) -> None:
        text = path.read_text(errors="replace")
        count = text.count("Traceback (most recent call last)")
        if count:
            first = text[text.index("Traceback (most recent call last)") :][:3000]
            self.violated(f"{count} tracebacks in {path}, the first one:\n{first}")


class Strict(Checker):
    """A client's bookkeeping that also minds the order and the content."""

    def __init__(self, account: Account, name: str) -> None:
        super().__init__()
        self._account = account
        self._name = name
        self._trail: deque[tuple[float, dict[str, Any]]] = deque(maxlen=2000)

    def feed(self, message: dict[str, Any]) -> None:
        if message["type"] != "ping":
            self._trail.append((time.time(), message))
        super().feed(message)

    def trail(self, name: str) -> str:
        """The last messages about a stream, to find the cause of a violation."""
        found = []
        for moment, message in self._trail:
            if message.get("symbol") == name:
                found.append(f"{moment:.3f} {message}")
            elif name in message.get("streams", {}):
                place = message["streams"][name]
                found.append(f"{moment:.3f} {message['type']} {place}")
        return "\n".join(found[-80:])

    def _update(self, name: str, message: dict[str, Any]) -> None:
        epoch = message.get("epoch") or self.epoch.get(name, "")
        before = self.offset.get(name, 0) if epoch == self.epoch.get(name) else 0
        super()._update(name, message)
        offset = message["offset"]
        if not message.get("snapshot") and offset <= before:
            self._account.violated(f"{self._name}: {name} {offset} after {before} of {epoch}")
            print(self.trail(name), flush=True)
        if "number" in message["data"]:
            self._account.compare((name, epoch, offset), message["data"]["number"])

    def settle(self) -> None:
        """Report what is missing at the end."""
        try:
            self.assert_complete()
        except AssertionError as exc:
            self._account.violated(f"{self._name}: {exc}")
            names = {name for name, _, _ in self.missed | self.twice} | set(self.behind)
            for name in sorted(names)[:3]:
                print(self.trail(name), flush=True)
