"""One conversation with the server, over as many connections as it takes. Pure.

It is told what happened and answers with a list of effects, which `subscription` carries out. Every
`now` comes from one monotonic clock, in seconds.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

from ara_client import events
from ara_client.backoff import Backoff
from ara_client.errors import AraError, NotAnAraServer, RequestFailed, is_terminal, refusal
from ara_client.events import Event
from ara_client.gate import AlertGate
from ara_client.positions import Position, Positions

Channel = Literal["market-data", "predictions", "alerts"]
CHANNELS: Final[tuple[str, ...]] = get_args(Channel)
PROTOCOL: Final = 1
MAX_HISTORY: Final = 300  # earlier updates of a stream that one answer brings
Phase = Literal["idle", "connecting", "live", "backend_unavailable", "waiting", "closed"]
Message = Mapping[str, Any]

BROKEN: Final = 1006  # the code of a connection that ended without one
_UNAUTHORIZED: Final = 4401
_LIMIT_EXCEEDED: Final = 4429
# A server that wants a credential says so after its REALTIME_AUTH_TIMEOUT, 10 s by default: that
# answer is not to be missed.
_GREETING_SECONDS: Final = 15.0
_STEADY_SECONDS: Final = 10.0  # a connection that lived this long was not a failed attempt
# A silent connection is dead after the two of them together.
QUIET_SECONDS: Final = 4.0
ANSWER_SECONDS: Final = 4.0
_HELD_UP_SECONDS: Final = 1.0  # a tick so much later: messages may wait to be read
_SLOW_SECONDS: Final = 3.0  # an answer that takes longer waits for the backend of the server
_MAX_SYMBOLS: Final = 500  # of one message, with their positions


@dataclass(frozen=True, slots=True)
class Send:
    """Write this message."""

    message: dict[str, object]


@dataclass(frozen=True, slots=True)
class Emit:
    """Tell the user."""

    event: Event


@dataclass(frozen=True, slots=True)
class Wait:
    """Come back with `start` after this time."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Drop:
    """Give the connection up."""

    reason: str


@dataclass(frozen=True, slots=True)
class Renew:
    """The credential has expired: answer with `renewed`, if there is a new one."""


@dataclass(frozen=True, slots=True)
class Settle:
    """The outcome of a request."""

    id: int
    error: AraError | None


@dataclass(frozen=True, slots=True)
class Finish:
    """It is over, and this is why."""

    error: AraError


Effect = Send | Emit | Wait | Drop | Renew | Settle | Finish


@dataclass(slots=True)
class _Request:
    message: dict[str, object]
    repeat: bool = False  # sent again with the next connection
    names: list[str] = field(default_factory=list)  # streams that are being recovered
    joins: bool = False  # without it this connection receives nothing
    since: float = 0.0  # when it was sent


class Session:
    """The state of one subscription. `can_renew`: there is a way to get another credential."""

    def __init__(
        self,
        channel: Channel,
        *,
        since: Mapping[str, Position] | None = None,
        history: int = 0,
        max_rate: float | None = None,
        gate: AlertGate | None = None,
        can_renew: bool = False,
        backoff: Backoff | None = None,
    ) -> None:
        self.phase: Phase = "idle"
        self.positions = Positions(since or {})
        self._channel = channel
        self._history = history
        self._max_rate = max_rate
        self._gate = gate or AlertGate(None, None)
        self._can_renew = can_renew
        self._backoff = backoff or Backoff()
        self._wanted: dict[str, None] = {}  # symbols that the server has confirmed, in order
        self._requests: dict[int, _Request] = {}
        self._ids = itertools.count(1)
        self._now = 0.0
        self._heard = 0.0  # when the last message came
        self._pinged: float | None = None
        self._live_since: float | None = None
        self._asked: tuple[float, float] | None = None  # seconds to stay away, and since when
        self._last_error = ""  # of this connection: why the server closes it
        self._renewed_in_vain = False

    def start(self, now: float) -> list[Effect]:
        """A connection is there, and the server is to greet."""
        self.phase = "connecting"
        self._heard, self._pinged = now, None
        self._last_error = ""
        self._live_since = None
        return []

    def subscribe(self, symbols: Iterable[str], now: float) -> tuple[int, list[Effect]]:
        """Add symbols; the id is that of the Settle that follows."""
        self._now, names = now, list(symbols)
        return self._ask(_Request(self._subscribe(names), repeat=True, names=names))

    def unsubscribe(self, symbols: Iterable[str], now: float) -> tuple[int, list[Effect]]:
        """End these subscriptions; the id is that of the Settle that follows."""
        self._now, names = now, list(symbols)
        self._forget(names)
        if self._is_live:
            return self._ask(_Request({"type": "unsubscribe", "symbols": names}))
        return (id := next(self._ids)), [*self._withdraw(set(names)), Settle(id, None)]

    def tick(self, now: float) -> list[Effect]:
        """Time has passed: does the connection still live?"""
        held_up, self._now = now - self._now >= _HELD_UP_SECONDS, now
        if self.phase == "connecting" and now - self._heard >= _GREETING_SECONDS:
            return [Drop("the server does not greet")]
        if not self._is_live:
            return []
        unanswered = self._pinged is not None and now - self._pinged >= ANSWER_SECONDS
        if unanswered and not held_up:
            return [Drop(f"nothing was heard for {now - self._heard:.0f} s")]
        if any(now - request.since >= _SLOW_SECONDS for request in self._requests.values()):
            self.phase = "backend_unavailable"
        if self._pinged is not None or now - self._heard < QUIET_SECONDS:
            return []
        self._pinged = now
        return [Send({"type": "ping"})]

    def renewed(self, token: str) -> list[Effect]:
        """A new credential for the open connection."""
        return [Send({"type": "auth", "token": token})] if self._is_live else []

    def received(self, message: Message, now: float) -> list[Effect]:
        """A message of the server has come."""
        self._now = self._heard = now
        self._pinged = None
        match message["type"]:
            case "market_data_update" | "prediction_update" | "alert":
                return self._update(message)
            case "connected":
                return self._connected(message, now)
            case "ping":
                behind = self.positions.compare(message["heads"])
                return [Send({"type": "pong"}), *self._resume(behind)]
            case "subscribed" | "unsubscribed":
                # The streams of alerts come with the connection, not by subscription.
                if self._channel != "alerts":
                    self._wanted = dict.fromkeys(message["symbols"])
                return [*self._answered(message), *self._join(message)]
            case "gap":
                self.positions.skip(message["symbol"], message["epoch"], message["to_offset"])
                return _told(message)
            case "server_shutdown":
                self._asked = message["reconnect_in_ms"] / 1000, now
                return _told(message)
            case "token_expiring":
                return [*_told(message), Renew()]
            case "stream_status":
                away = message.get("reason") == "backend_unavailable"
                self.phase = "backend_unavailable" if away else "live"
                return _told(message)
            case "error":
                return self._error(message, now)
            case _:
                return _told(message) or self._answered(message)

    def dropped(self, code: int, reason: str, now: float) -> list[Effect]:
        """The connection is gone, or could not be made."""
        self._now = now
        if self._live_since is not None and now - self._live_since >= _STEADY_SECONDS:
            self._backoff.reset()
        self._live_since = None
        effects = self._fail_requests()
        wait = self._wait_after(code, now)
        reason = self._last_error or reason
        if wait is None:
            self.phase = "closed"
            return [*effects, Finish(refusal(code, reason))]
        self.phase = "waiting"
        return [*effects, Emit(events.Reconnecting(code, reason, wait)), Wait(wait)]

    def _wait_after(self, code: int, now: float) -> float | None:
        """Seconds to wait before the next attempt; None: not before something has changed."""
        asked, self._asked = self._asked, None
        if asked is not None:
            wait, at = asked
            if code == _LIMIT_EXCEEDED or not is_terminal(code):
                return max(0.0, wait - (now - at))
        if code == _UNAUTHORIZED and self._can_renew and not self._renewed_in_vain:
            self._renewed_in_vain = True
            return self._backoff.next()
        return None if is_terminal(code) else self._backoff.next()

    @property
    def _is_live(self) -> bool:
        return self.phase in ("live", "backend_unavailable")

    def _connected(self, message: Message, now: float) -> list[Effect]:
        if message.get("protocol", PROTOCOL) != PROTOCOL:
            text = f"the server speaks version {message['protocol']} of the protocol"
            return [Finish(NotAnAraServer(f"{text}: update ara-realtime-client"))]
        self.phase = "live"
        self._live_since = now
        self._renewed_in_vain = False
        waiting = list(self._requests.values())
        effects: list[Effect] = [
            Emit(events.Connected(message.get("connection_id", ""), message["authenticated"]))
        ]
        if self._gate.config:
            config = _Request({"type": "configure_alerts", "config": self._gate.config}, joins=True)
            effects += self._ask(config)[1]
        # Joined by the URL, like both streams of alerts: only what was missed is to be asked for.
        effects += self._join(message)
        missing = [name for name in self._wanted if name not in message["streams"]]
        effects += self._resume(missing, joins=True)
        for request in waiting:
            request.since = now
        return [*effects, *(Send(request.message) for request in waiting)]

    def _join(self, message: Message) -> list[Effect]:
        streams = message["streams"]
        joined = self.positions.join(streams, self._history)
        effects: list[Effect] = [
            Emit(events.Resumed(name, info.get("replayed", 0)))
            for name, info in streams.items()
            if info.get("recovered")
        ]
        for name, epoch, first, last in joined.gaps:
            effects.append(Emit(events.Gap(name, first, last, epoch)))
        return [*effects, *self._resume(joined.behind)]

    def _update(self, message: Message) -> list[Effect]:
        name = message["audience" if message["type"] == "alert" else "symbol"]
        offset, folded = message.get("offset"), message.get("folded", 0)
        replayed, epoch = False, None
        if offset is not None:
            verdict = self.positions.take(
                name, offset, folded + message.get("filtered", 0),
                epoch=message.get("epoch"), snapshot=message.get("snapshot", False),
            )  # fmt: skip
            if verdict in ("drop", "lost"):
                return self._resume([name]) if verdict == "lost" else []
            replayed, epoch = verdict == "replay", self.positions.epoch(name)
        self.phase = "live"
        if message["type"] == "alert" and not self._gate.passes(message):
            return []
        effects: list[Effect] = [Emit(events.update(message, epoch, replayed=replayed))]
        return [Emit(events.Folded(name, folded, offset or 0)), *effects] if folded else effects

    def _subscribe(self, names: Sequence[str]) -> dict[str, object]:
        message: dict[str, object] = {"type": "subscribe", "symbols": list(names)}
        since = self.positions.since(names)
        if since:
            message["since"] = {
                name: {"epoch": at.epoch, "offset": at.offset} for name, at in since.items()
            }
        if self._max_rate is not None:
            message["max_rate"] = self._max_rate
        return message

    def _resume(self, names: Sequence[str], *, joins: bool = False) -> list[Effect]:
        """Subscribe (again) with `since`: the answer is followed by what was missed."""
        effects: list[Effect] = []
        for begin in range(0, len(names), _MAX_SYMBOLS):
            some = list(names[begin : begin + _MAX_SYMBOLS])
            request = _Request(self._subscribe(some), names=some, joins=joins)
            effects += self._ask(request)[1]
        return effects

    def _ask(self, request: _Request) -> tuple[int, list[Effect]]:
        id = next(self._ids)
        request.message["id"], request.since = id, self._now
        if self._is_live or request.repeat:
            self._requests[id] = request
            return id, [Send(request.message)] if self._is_live else []
        return id, [Settle(id, RequestFailed("not_connected", "not connected", retry=True))]

    def _answered(self, message: Message) -> list[Effect]:
        id = message.get("id")
        request = self._requests.pop(id, None) if isinstance(id, int) else None
        if request is None:
            return []
        self.phase = "live"
        return [Settle(int(message["id"]), None)]

    def _error(self, message: Message, now: float) -> list[Effect]:
        text, id, wait = message["message"], message.get("id"), message.get("retry_after_ms")
        request = self._requests.get(id) if isinstance(id, int) else None
        needed = request is not None and (request.joins or request.repeat)
        again = needed and message["retry"]
        if wait is not None and (again or message["code"] == "connection_limit"):
            self._asked = wait / 1000, now
        refused = [] if message["retry"] else list(message.get("details", {}).get("symbols", ()))
        if request is None:
            self._last_error = text
            self._forget(refused)
            return _told(message)
        if again:
            return [Drop(text)]  # to ask again with the next connection
        del self._requests[message["id"]]
        if request.names and not needed:
            self.positions.abandon(request.names)
            return _told(message)
        error = _failed(message)
        if not request.joins:
            return [Settle(message["id"], error)]
        self._forget(refused)
        rest = [name for name in request.names if name in self._wanted]
        if not refused or not self._wanted:
            return [*_told(message), Finish(error)]
        return [*_told(message), *self._resume(rest, joins=True)]

    def _forget(self, names: Sequence[str]) -> None:
        for name in names:
            self._wanted.pop(name, None)
        self.positions.forget(names)

    def _withdraw(self, names: set[str]) -> list[Effect]:
        """Nobody wants these any more, which no connection has asked for yet."""
        effects: list[Effect] = []
        for id, request in list(self._requests.items()):
            request.names = [name for name in request.names if name not in names]
            request.message = {**self._subscribe(request.names), "id": id}
            if not request.names:
                del self._requests[id]
                effects.append(Settle(id, None))
        return effects

    def _fail_requests(self) -> list[Effect]:
        lost = [id for id, request in self._requests.items() if not request.repeat]
        for id in lost:
            del self._requests[id]
        error = RequestFailed("not_connected", "the connection was lost", retry=True)
        return [Settle(id, error) for id in lost]


def _told(message: Message) -> list[Effect]:
    """The event of a message; none for one that a later version of the server may send."""
    build = events.NOTICES.get(message["type"])
    return [] if build is None else [Emit(build(message))]


def _failed(message: Message) -> RequestFailed:
    wait = message.get("retry_after_ms")
    return RequestFailed(
        message["code"], message["message"], details=message.get("details"),
        retry=message["retry"], retry_after=None if wait is None else wait / 1000,
    )  # fmt: skip
