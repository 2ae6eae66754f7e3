"""Readers between a stream and a socket: a rate limit, an alert filter.

Both skip offsets, and tell the client how many (`folded`, `filtered`). For `ping` they know the
newest offset that they let through, so that a client does not expect more.
"""

import asyncio
import math
from collections.abc import Callable, Collection
from typing import Final, Protocol

from realtime.delivery.sockets import Socket
from realtime.delivery.updates import Update
from realtime.protocol import SEVERITIES
from realtime.streams import Stream

# Alerts that a socket is known to have received: more than one replay holds.
SHOWN_ALERTS: Final = 1000
_SEVERITY: Final = {name: rank for rank, name in enumerate(SEVERITIES)}


class Timer(Protocol):
    def cancel(self) -> None: ...


class Clock(Protocol):
    """The part of an event loop that knows the time."""

    def time(self) -> float: ...

    def call_later(
        self, delay: float, callback: Callable[[str], object], symbol: str, /
    ) -> Timer: ...


class SocketReader:
    """The common base: gaps, snapshots and states pass unchanged."""

    def __init__(self, socket: Socket) -> None:
        self.socket = socket
        # The newest offset that the client was sent, by symbol.
        self.heads: dict[str, int] = {}

    @property
    def owner(self) -> object:
        return self.socket

    def deliver(self, update: Update) -> None:
        raise NotImplementedError

    def deliver_snapshot(self, update: Update) -> None:
        self.heads[update.stream.symbol] = update.offset
        self.socket.deliver_snapshot(update)

    def deliver_gap(self, stream: Stream, first: int, last: int, epoch: str) -> None:
        self.heads[stream.symbol] = last
        self.socket.deliver_gap(stream, first, last, epoch)

    def deliver_state(self, stream: Stream, text: bytes) -> None:
        self.socket.deliver_state(stream, text)

    def close(self) -> None:
        """Let nothing more through."""


class RateLimitedReader(SocketReader):
    """Passes at most `rate` updates per second and symbol; the newest one waits for its turn."""

    def __init__(self, socket: Socket, rate: float, clock: Clock | None = None) -> None:
        super().__init__(socket)
        self._clock = clock or asyncio.get_running_loop()
        self._interval = 1.0 / rate
        self._sent_at: dict[str, float] = {}
        self._held: dict[str, tuple[Update, int]] = {}
        self._timers: dict[str, Timer] = {}

    def deliver(self, update: Update) -> None:
        symbol = update.stream.symbol
        held = self._held.get(symbol)
        if held is not None:
            self._held[symbol] = (update, held[1] + 1)
            return
        wait = self._sent_at.get(symbol, -math.inf) + self._interval - self._clock.time()
        if wait <= 0:
            self._send(update, 0)
        else:
            self._held[symbol] = (update, 0)
            self._timers[symbol] = self._clock.call_later(wait, self._release, symbol)

    def deliver_snapshot(self, update: Update) -> None:
        self._release(update.stream.symbol)
        super().deliver_snapshot(update)

    def deliver_gap(self, stream: Stream, first: int, last: int, epoch: str) -> None:
        self._release(stream.symbol)
        super().deliver_gap(stream, first, last, epoch)

    def _release(self, symbol: str) -> None:
        timer = self._timers.pop(symbol, None)
        if timer is not None:
            timer.cancel()
        held = self._held.pop(symbol, None)
        if held is not None:
            self._send(*held)

    def _send(self, update: Update, folded: int) -> None:
        symbol = update.stream.symbol
        self._sent_at[symbol] = self._clock.time()
        self.heads[symbol] = update.offset
        self.socket.outbox.folded += folded
        self.socket.deliver(update, folded)

    def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._held.clear()


class ShownAlerts:
    """The newest alerts that a socket was sent, from any source: no alert is sent twice.

    While `held` is a list, live alerts wait in it for older ones that must go first.
    """

    def __init__(self) -> None:
        self.held: list[tuple[AlertFilter, Update]] | None = None
        self._ids: dict[str, None] = {}

    def is_new(self, id: str) -> bool:
        """False for an alert that was sent before; any other one counts as sent from now on."""
        if id in self._ids:
            return False
        self._ids[id] = None
        if len(self._ids) > SHOWN_ALERTS:
            del self._ids[next(iter(self._ids))]
        return True

    def release(self) -> None:
        """Send the alerts that were held."""
        held, self.held = self.held or [], None
        for reader, update in held:
            reader.deliver(update)


class AlertFilter(SocketReader):
    """Passes alerts from some severity upwards, of some symbols, each once.

    An alert without a known severity, or without a symbol, always passes that condition.
    """

    def __init__(
        self,
        socket: Socket,
        min_severity: str | None,
        symbols: Collection[str] | None,
        shown: ShownAlerts | None = None,
    ) -> None:
        super().__init__(socket)
        self._shown = shown or ShownAlerts()
        self._rank = -1 if min_severity is None else _SEVERITY[min_severity]
        self._symbols = None if symbols is None else frozenset(symbols)
        self._filtered: dict[str, int] = {}

    def continue_from(self, before: "AlertFilter") -> None:
        """Replace another filter, and take over the offsets that it has not yet reported."""
        self.heads.update(before.heads)
        self._filtered.update(before._filtered)

    def wants(self, update: Update) -> bool:
        data = update.data
        severity = data.get("severity")
        rank = _SEVERITY.get(severity) if isinstance(severity, str) else None
        if rank is not None and rank < self._rank:
            return False
        symbol = data.get("symbol")
        if self._symbols is None or not isinstance(symbol, str):
            return self._shown.is_new(update.alert_id)
        return symbol.upper() in self._symbols and self._shown.is_new(update.alert_id)

    def replay(self, update: Update) -> None:
        """Send the missed alerts, with the offsets and `heads` as they then are."""
        name = update.stream.symbol
        if not self.wants(update):
            self._filtered[name] = self._filtered.get(name, 0) + 1
            self.heads[name] = min(self.heads.get(name, update.offset), update.offset - 1)
            return
        count = self._filtered.pop(name, 0)
        self.heads[name] = update.offset
        self.socket.send(update.replayed_after(count))

    def deliver(self, update: Update) -> None:
        if self._shown.held is not None:
            self._shown.held.append((self, update))
            return
        name = update.stream.symbol
        if not self.wants(update):
            self._filtered[name] = self._filtered.get(name, 0) + 1
            return
        count = self._filtered.pop(name, 0)
        self.heads[name] = update.offset
        if count:
            self.socket.send(update.filtered_text(count))
        else:
            self.socket.deliver(update)

    def deliver_snapshot(self, update: Update) -> None:
        # An alert is never a snapshot: this is the newest alert after a gap.
        self.deliver(update)

    def deliver_gap(self, stream: Stream, first: int, last: int, epoch: str) -> None:
        # The gap includes the filtered alerts before it, or the client would miss them. Offsets
        # begin at 1: a change of the epoch reports those of an epoch that has ended.
        unwanted = self._filtered.pop(stream.symbol, 0)
        lost = first <= last
        super().deliver_gap(stream, max(1, first - unwanted) if lost else first, last, epoch)
