"""A history and readers in memory: what the fan-out stands between."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from realtime.delivery import stream_state
from realtime.delivery.publisher import BackendUnavailable
from realtime.delivery.stream_state import Page, Start
from realtime.delivery.updates import Update
from realtime.protocol import Position
from realtime.streams import Stream
from tests.delivery.updates import price


@dataclass
class Life:
    """One epoch of a stream: its head, and the updates that are held of it."""

    epoch: str
    offset: int = 0
    held: list[Update] = field(default_factory=list)
    forks: dict[str, int] = field(default_factory=dict)


class MemoryHistory:
    """What Redis keeps. `gate` holds answers back after they were read; `broken` fails them."""

    def __init__(self) -> None:
        self.lives: dict[Stream, Life] = {}
        self.reads = 0
        self.broken = False
        self.gate = asyncio.Event()
        self.gate.set()
        self._epochs = 0
        self._bodies = 0

    # What publishers do

    def publish(self, stream: Stream) -> Update:
        """The next update; no two have the same body."""
        life = self.life(stream)
        life.offset += 1
        self._bodies += 1
        update = price(life.offset, stream, epoch=life.epoch, body=self._bodies)
        life.held.append(update)
        return update

    def life(self, stream: Stream) -> Life:
        if stream not in self.lives:
            self._epochs += 1
            self.lives[stream] = Life(f"epoch-{self._epochs}")
        return self.lives[stream]

    # What goes wrong

    def trim(self, stream: Stream, keep: int) -> None:
        held = self.life(stream).held
        del held[: max(0, len(held) - keep)]

    def lose(self, stream: Stream) -> None:
        """Redis came back empty."""
        self.lives.pop(stream, None)

    def go_back(self, stream: Stream, count: int) -> None:
        """Redis came back with older data."""
        life = self.life(stream)
        life.offset = max(0, life.offset - count)
        life.held = [update for update in life.held if update.offset <= life.offset]

    # What the fan-out asks for

    async def read_history(self, stream: Stream, since: Position | None) -> Page:
        self.reads += 1
        await asyncio.sleep(0)
        if self.broken:
            raise BackendUnavailable("the history is away")
        page = self._page(stream, since)
        await self.gate.wait()
        return page

    async def read_after(self, stream: Stream, position: Position) -> Page:
        self.reads += 1
        await asyncio.sleep(0)
        if self.broken:
            raise BackendUnavailable("the history is away")
        life = self.life(stream)
        known = _known(life, position)
        found = [update for update in life.held if update.offset > known]
        more = len(found) > stream_state.RECENT
        copies = [
            Update(u.stream, life.epoch, u.offset, u.body) for u in found[: stream_state.RECENT]
        ]
        end = copies[-1].offset if more else life.offset
        page = Page(life.epoch, end, copies, more, life.forks)
        await self.gate.wait()
        return page

    def _page(self, stream: Stream, since: Position | None) -> Page:
        life = self.life(stream)
        known = 0 if since is None else _known(life, since)
        if since is None or life.offset - known > stream_state.RECENT:
            found = life.held[-1:]
        else:
            found = [update for update in life.held if update.offset > known]
        # Each answer is decoded again.
        copies = [Update(u.stream, life.epoch, u.offset, u.body) for u in found]
        return Page(life.epoch, life.offset, copies, forks=life.forks)

    async def read_newest(self, stream: Stream, count: int) -> Page:
        await asyncio.sleep(0)
        if self.broken:
            raise BackendUnavailable("the history is away")
        life = self.life(stream)
        return Page(life.epoch, life.offset, life.held[-count:])

    async def restart_stream(self, stream: Stream, epoch: str, common: int) -> None:
        await asyncio.sleep(0)
        if self.broken:
            raise BackendUnavailable("the history is away")
        life = self.life(stream)
        if life.epoch == epoch:
            shared = min(common, life.offset)
            self.lose(stream)
            forks = {older: min(last, shared) for older, last in life.forks.items()}
            new = self.life(stream)
            new.offset, new.held, new.forks = life.offset, life.held, {**forks, epoch: shared}


def _known(life: Life, position: Position) -> int:
    if position.epoch == life.epoch:
        return position.offset
    return min(position.offset, life.forks.get(position.epoch, 0))


class Disorder(BaseException):
    """Raised for an update out of turn. No Exception: the fan-out goes on after one of those."""


class Reader:
    """Writes down what it is given, and checks it as a client would."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.states: list[tuple[str, str]] = []
        # Epoch and offset of each stream up to which everything came, or is told to be lost.
        self.at: dict[str, tuple[str, int]] = {}
        self.after_gap: set[str] = set()

    @property
    def owner(self) -> object:
        return self

    def begin(self, starts: dict[str, Start]) -> None:
        for symbol, start in starts.items():
            if start.turns_to:
                self.at[symbol] = (start.turns_to, start.offset)
                for update in start.updates:
                    self.deliver(update)
                continue
            if start.recovered:
                self.at[symbol] = (start.epoch, start.offset - len(start.updates))
                for update in start.updates:
                    self.deliver(update)
            self.at[symbol] = (start.epoch, start.offset)

    def deliver(self, update: Update) -> None:
        self.events.append(("update", update.offset))
        self._expect(update)

    def deliver_snapshot(self, update: Update) -> None:
        self.events.append(("snapshot", update.offset))
        symbol = update.stream.symbol
        assert symbol in self.after_gap or symbol not in self.at, "a snapshot without a reason"
        if symbol in self.at:
            self._expect(update)
        else:
            self.at[symbol] = (update.epoch, update.offset)

    def deliver_gap(self, stream: Stream, first: int, last: int, epoch: str) -> None:
        self.events.append(("gap", first, last, epoch))
        known, offset = self.at.get(stream.symbol, (epoch, 0))
        goes_on = known != epoch and first == last + 1 and last <= offset
        begins = offset + 1 if known == epoch else 1
        assert goes_on or first == begins, "a gap begins where the reader is"
        assert last >= first if known == epoch else last >= first - 1
        self.at[stream.symbol] = (epoch, last)
        self.after_gap.add(stream.symbol)

    def deliver_state(self, stream: Stream, text: bytes) -> None:
        self.states.append((stream.symbol, json.loads(text)["state"]))

    def _expect(self, update: Update) -> None:
        # A stream that appears while one reads all of them begins at 1.
        epoch, offset = self.at.get(update.stream.symbol, (update.epoch, 0))
        if (update.epoch, update.offset) != (epoch, offset + 1):
            raise Disorder(update, epoch, offset)
        self.at[update.stream.symbol] = (update.epoch, update.offset)

    def has(self, events: int) -> Callable[[], bool]:
        """A condition to wait for."""
        return lambda: len(self.events) >= events

    @property
    def offsets(self) -> list[int]:
        return [event[1] for event in self.events if event[0] != "gap"]
