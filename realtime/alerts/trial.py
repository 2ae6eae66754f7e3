"""The process that evaluates dry runs: run with `python -m`, not imported.

A rule may cost much time and memory, so it is evaluated outside the web server. Standard input
carries pickled calls, each a name with arguments, in this order for every rule: `rule`, then for
each of its symbols `symbol` with `updates` or `bars`, then `report`, which is answered with a line
of JSON. The process ends at the end of its input. It does not import Django.
"""

import heapq
import os
import pickle
import resource
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Final

import msgspec

from realtime import protocol
from realtime.alerts.evaluator import NUMBERS, Fired, SymbolMachine, TimedUpdate
from realtime.alerts.firing import EPOCH, alert_data
from realtime.alerts.rule_state import Rule
from realtime.alerts.rules import Definition, parse_rule
from realtime.streams import Channel

# Number of newest firings that an answer lists.
MAX_TIMES: Final = 100
# CPU seconds that all rules together may take.
MAX_SECONDS: Final = 20
# Start in milliseconds, open, high, low, close, volume.
BarRow = tuple[int, float, float, float, float, float | None]


class Trial:
    """Counts how often one rule would have fired, with and without its cooldown."""

    def __init__(self, raw: dict[str, object]) -> None:
        definition = parse_rule(raw)
        self._with = _Tally(definition)
        self._without = _Tally(msgspec.structs.replace(definition, cooldown=0.0))
        self._symbol = ""
        self._ticks: list[TimedUpdate] = []
        self._updates = 0
        self._begin: int | None = None
        self._end: int | None = None

    def symbol(self, symbol: str) -> None:
        """The next calls are about this symbol."""
        self._play()
        self._symbol = symbol

    def updates(self, channel: Channel, bodies: Sequence[bytes]) -> None:
        for body in bodies:
            at = round(protocol.update_time(body).timestamp() * 1000)
            data = protocol.update_data(body)
            self._ticks.append(TimedUpdate(channel, at, {name: data.get(name) for name in NUMBERS}))

    def bars(self, length: int, rows: Iterable[BarRow]) -> None:
        """Each bar as four updates: open, the extreme nearer to it, the other extreme, close."""
        for row in rows:
            self._ticks += _of_bar(length, *row)

    def report(self) -> dict[str, object]:
        """`begin` and `end` of the data that was evaluated; see `dry_run.try_out`."""
        self._play()
        failed = self._with.failed or self._without.failed
        if failed:
            return {"failed": f"cannot be evaluated: {failed[0][1]}"}
        return {
            "updates": self._updates,
            "begin": None if self._begin is None else _time(self._begin),
            "end": None if self._end is None else _time(self._end),
            "fired": self._with.count,
            "fired_without_cooldown": self._without.count,
            "times": self._with.times(),
            "times_without_cooldown": self._without.times(),
        }

    def _play(self) -> None:
        ticks = sorted(self._ticks, key=lambda tick: tick.at)
        self._ticks = []
        if not ticks:
            return
        self._updates += len(ticks)
        self._begin = ticks[0].at if self._begin is None else min(self._begin, ticks[0].at)
        self._end = ticks[-1].at if self._end is None else max(self._end, ticks[-1].at)
        for tally in (self._with, self._without):
            tally.play(self._symbol, ticks)


class _Tally:
    def __init__(self, definition: Definition) -> None:
        self.count = 0
        self.failed: list[tuple[Rule, Exception]] = []
        self._rule = Rule(0, 0, None, definition)
        self._newest: list[tuple[int, int, Fired]] = []

    def play(self, symbol: str, ticks: Iterable[TimedUpdate]) -> None:
        machine = SymbolMachine(symbol)
        machine.put(self._rule)
        for tick in ticks:
            for fired in machine.update(tick):
                self.count += 1
                keep = heapq.heappush if len(self._newest) < MAX_TIMES else heapq.heappushpop
                keep(self._newest, (fired.at, self.count, fired))
        self.failed += machine.failed

    def times(self) -> list[dict[str, object]]:
        """The times of the newest firings, oldest first."""
        names = ("timestamp", "symbol", "price", "message")
        told = (alert_data(fired) for _, _, fired in sorted(self._newest, key=lambda n: n[:2]))
        return [{name: data.get(name) for name in names} for data in told]


def _of_bar(
    length: int, start: int, first: float, high: float, low: float, last: float, volume: object
) -> Iterator[TimedUpdate]:
    nearer, other = sorted((low, high), key=lambda price: abs(price - first))
    for step, price in enumerate((first, nearer, other, last)):
        data = {"price": price, "volume": volume}
        yield TimedUpdate("market-data", start + length * step // 4, data)


def _time(moment: int) -> str:
    return protocol.timestamp(EPOCH + timedelta(milliseconds=moment))


def main() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_SECONDS, MAX_SECONDS + 1))
    os.nice(10)  # serving clients has priority
    trial = Trial({"symbols": ["*"], "conditions": [{"type": "above", "value": 0}]})
    while True:
        try:
            name, *arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        if name == "rule":
            trial = Trial(*arguments)
            continue
        call: Callable[..., object] = getattr(trial, name)
        answer = call(*arguments)
        if answer is not None:
            sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
