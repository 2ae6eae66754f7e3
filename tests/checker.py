"""A client's bookkeeping, as the contract requires it: missed and repeated updates.

Pure: it takes messages and reports the offsets that never came. `since` is for the next
subscription, also on another connection.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

Offsets = tuple[str, str, int]  # stream name, epoch, offset


@dataclass
class Checker:
    """One client's view of its streams, over any number of connections."""

    epoch: dict[str, str] = field(default_factory=dict)
    offset: dict[str, int] = field(default_factory=dict)
    seen: Counter[Offsets] = field(default_factory=Counter)
    # Offsets skipped without `folded`, and not replayed since.
    missed: set[Offsets] = field(default_factory=set)
    # Offsets that the server said are gone (`gap`, or recovered: false).
    told_lost: set[Offsets] = field(default_factory=set)
    folded: int = 0
    behind: dict[str, int] = field(default_factory=dict)  # lost tails, revealed by `heads`

    def since(self) -> dict[str, dict[str, Any]]:
        return {
            name: {"epoch": self.epoch[name], "offset": self.offset[name]} for name in self.epoch
        }

    @property
    def twice(self) -> set[Offsets]:
        return {key for key, times in self.seen.items() if times > 1}

    def received(self, name: str) -> list[int]:
        """The received offsets of a stream's present epoch, in ascending order."""
        return sorted(n for stream, epoch, n in self.seen if (stream, epoch) == self._life(name))

    def feed(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind in ("connected", "subscribed"):
            for name, info in message["streams"].items():
                self._joined(name, info)
        elif kind == "ping":
            self._heads(message["heads"])
        elif kind == "gap":
            self._gap(message)
        elif kind == "alert":
            if "offset" in message:  # not an alert from the inbox
                self._update(message["audience"], message)
        elif "offset" in message:
            self._update(message["symbol"], message)

    def assert_complete(self) -> None:
        """Assert that no update was missed, none came twice, and none is still to come."""
        assert not self.missed, f"missed without a word: {_ranges(self.missed)}"
        assert not self.twice, f"seen twice: {_ranges(self.twice)}"
        assert not self.behind, f"lost tails: {self.behind}"

    def _life(self, name: str) -> tuple[str, str]:
        return name, self.epoch.get(name, "")

    def _joined(self, name: str, info: dict[str, Any]) -> None:
        mine, epoch, head = self.offset.get(name), info["epoch"], info["offset"]
        if mine is None or self.epoch[name] != epoch:
            assert not info.get("recovered"), f"{name}: recovered from another epoch"
            self.epoch[name], self.offset[name] = epoch, head
            return
        if info.get("recovered"):
            return  # the replay continues at our own offset
        # The newest update follows as a snapshot; those before it are gone.
        self.told_lost.update((name, epoch, n) for n in range(mine + 1, head))
        self.offset[name] = max(mine, head - 1)

    def _update(self, name: str, message: dict[str, Any]) -> None:
        if "epoch" in message:  # a stream that is new to a subscription to every symbol
            self.epoch[name] = message["epoch"]
        offset, epoch = message["offset"], self.epoch.setdefault(name, "")
        covers = message.get("folded", 0)
        mine = self.offset.get(name)
        if message.get("snapshot"):
            # A snapshot may repeat an update: a duplicate is harmless, a gap is not.
            self.offset[name] = max(offset, mine or 0)
            self.seen.setdefault((name, epoch, offset), 1)
            return
        self.folded += covers
        self.seen[name, epoch, offset] += 1
        self.missed.discard((name, epoch, offset))
        if mine is not None:
            self.missed.update((name, epoch, n) for n in range(mine + 1, offset - covers))
        self.offset[name] = max(offset, mine or 0)

    def _heads(self, heads: dict[str, int]) -> None:
        self.behind = {
            name: head for name, head in heads.items() if head > self.offset.get(name, head)
        }

    def _gap(self, message: dict[str, Any]) -> None:
        name = message["symbol"]
        first, last = message["from_offset"], message["to_offset"]
        self.told_lost.update((name, self.epoch.get(name, ""), n) for n in range(first, last + 1))
        self.epoch[name] = message.get("epoch", self.epoch.get(name, ""))
        self.offset[name] = last


def _ranges(offsets: set[Offsets]) -> str:
    """`AAPL 3-5, 9`: readable also when there are thousands."""
    streams: defaultdict[str, list[int]] = defaultdict(list)
    for name, _, offset in sorted(offsets):
        streams[name].append(offset)
    parts = []
    for name, numbers in streams.items():
        runs: list[list[int]] = []
        for n in numbers:
            if runs and n == runs[-1][1] + 1:
                runs[-1][1] = n
            else:
                runs.append([n, n])
        parts.append(name + " " + ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in runs))
    return "; ".join(parts)
