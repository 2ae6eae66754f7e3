"""What a subscription tells: updates, and what happens to the stream and the connection.

Times are aware datetimes in UTC. Numbers of seconds are floats.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from ara_client.positions import Position

Json = Mapping[str, Any]  # a JSON object, of whatever shape the publisher chose


def moment(text: str) -> datetime:
    """`2024-01-01T12:00:00.000Z` as an aware datetime."""
    return datetime.fromisoformat(text).astimezone(UTC)


def _moment_or_none(text: str | None) -> datetime | None:
    return None if text is None else moment(text)


def _float(data: Json, name: str) -> float | None:
    value = data.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value)


def _position(epoch: str | None, offset: int | None) -> Position | None:
    return Position(epoch, offset) if epoch and offset is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """An update of a stream: what market data and predictions share.

    `offset` is its number in the stream, 1, 2, 3, …, and `epoch` the name of that numbering; None
    for what belongs to no stream.
    `timestamp` is the time of publication. `snapshot`: it is the newest update, with which a
    subscription begins. `folded`: how many older updates it replaced, because they were not read
    in time or `max_rate` held them back. `replayed`: it was published while the client was away.
    """

    symbol: str
    data: Json
    timestamp: datetime
    offset: int | None = None
    epoch: str | None = None
    snapshot: bool = False
    folded: int = 0
    replayed: bool = False

    @property
    def position(self) -> Position | None:
        """Where to go on after it: a `since=`."""
        return _position(self.epoch, self.offset)


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketData(Update):
    """New market data. `data` is what was published; its usual fields are properties here."""

    @property
    def price(self) -> float | None:
        """In the currency of the symbol."""
        return _float(self.data, "price")

    @property
    def volume(self) -> float | None:
        """Of this tick, in shares or units."""
        return _float(self.data, "volume")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction(Update):
    """A new prediction. `request_id` is that of `request_prediction`, else None."""

    request_id: str | None = None

    @property
    def predicted_price(self) -> float | None:
        """In the currency of the symbol."""
        return _float(self.data, "predicted_price")

    @property
    def lower_bound(self) -> float | None:
        """The price is to be above it with `confidence`."""
        return _float(self.data, "lower_bound")

    @property
    def upper_bound(self) -> float | None:
        """The price is to be below it with `confidence`."""
        return _float(self.data, "upper_bound")

    @property
    def confidence(self) -> float | None:
        """Between 0 and 1: the share of prices that the bounds are to hold."""
        return _float(self.data, "confidence")

    @property
    def model(self) -> str:
        """The name of the model, or an empty string."""
        return str(self.data.get("model") or "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """An alert for everybody (`audience` is `all`) or for this user (`user`).

    `replayed`: it was sent while the client was away. One from the inbox has no `offset`.
    """

    id: str
    data: Json
    audience: str
    timestamp: datetime
    offset: int | None = None
    epoch: str | None = None
    replayed: bool = False

    @property
    def position(self) -> Position | None:
        """Where to go on after it, in the stream `audience`."""
        return _position(self.epoch, self.offset)

    @property
    def message(self) -> str:
        """The text for people, or an empty string."""
        return str(self.data.get("message") or "")

    @property
    def severity(self) -> str | None:
        """`low`, `medium`, `high`, `critical`, or None."""
        value = self.data.get("severity")
        return value if isinstance(value, str) else None

    @property
    def symbol(self) -> str | None:
        """What it is about, or None."""
        value = self.data.get("symbol")
        return value if isinstance(value, str) else None


@dataclass(frozen=True, slots=True)
class Connected:
    """The connection is there."""

    connection_id: str
    authenticated: bool


@dataclass(frozen=True, slots=True)
class Reconnecting:
    """The connection is lost; the next attempt comes in `wait` seconds.

    `code` is the close code: 1006 for a connection that broke or could not be made.
    """

    code: int
    reason: str
    wait: float


@dataclass(frozen=True, slots=True)
class Resumed:
    """A stream goes on where it was: `replayed` updates follow."""

    symbol: str
    replayed: int


@dataclass(frozen=True, slots=True)
class Gap:
    """The updates `from_offset` to `to_offset` of `epoch` are lost; the newest one follows.

    `to_offset` below `from_offset`: nothing is lost, but the numbering goes on in another epoch.
    """

    symbol: str
    from_offset: int
    to_offset: int
    epoch: str


@dataclass(frozen=True, slots=True)
class Folded:
    """`count` updates were replaced by the update of `offset`, which follows."""

    symbol: str
    count: int
    offset: int


@dataclass(frozen=True, slots=True)
class Stale:
    """The stream is quiet for longer than the `expected_every` seconds.

    `reason` is `backend_unavailable` if nothing can arrive at present, else an empty string.
    """

    symbol: str
    last_update: datetime | None
    expected_every: float | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Fresh:
    """A stream that was stale goes on."""

    symbol: str


@dataclass(frozen=True, slots=True)
class PredictionOutcome:
    """What became of a recorded prediction; `error` is the actual less the predicted price."""

    symbol: str
    prediction_id: str
    predicted_price: float
    actual_price: float
    error: float
    within_bounds: bool


@dataclass(frozen=True, slots=True)
class TokenExpiring:
    """The token has expired. With `get_token` it is renewed by itself."""

    expires_at: datetime


@dataclass(frozen=True, slots=True)
class ServerShutdown:
    """The server stops; the client comes back in `reconnect_in` seconds."""

    reconnect_in: float


@dataclass(frozen=True, slots=True)
class ServerError:
    """An `error` that answers no request: `code` is one of the error codes."""

    code: str
    message: str
    details: Json = field(default_factory=dict)


Event = (
    MarketData
    | Prediction
    | Alert
    | Connected
    | Reconnecting
    | Resumed
    | Gap
    | Folded
    | Stale
    | Fresh
    | PredictionOutcome
    | TokenExpiring
    | ServerShutdown
    | ServerError
)


def update(
    message: Json, epoch: str | None, *, replayed: bool = False
) -> MarketData | Prediction | Alert:
    """The event of a message that is an update."""
    match message["type"]:
        case "market_data_update":
            return market_data(message, epoch=epoch, replayed=replayed)
        case "prediction_update":
            return prediction(message, epoch=epoch, replayed=replayed)
        case _:
            return alert(message, epoch=epoch, replayed=replayed)


def market_data(message: Json, *, epoch: str | None = None, replayed: bool = False) -> MarketData:
    return MarketData(**_update(message), epoch=epoch, replayed=replayed)


def prediction(message: Json, *, epoch: str | None = None, replayed: bool = False) -> Prediction:
    return Prediction(
        **_update(message), epoch=epoch, replayed=replayed, request_id=message.get("request_id")
    )


def _update(message: Json) -> dict[str, Any]:
    return {
        "symbol": message["symbol"],
        "data": message["data"],
        "timestamp": moment(message["timestamp"]),
        "offset": message.get("offset"),
        "snapshot": message.get("snapshot", False),
        "folded": message.get("folded", 0),
    }


def alert(message: Json, *, epoch: str | None = None, replayed: bool = False) -> Alert:
    return Alert(
        id=message["id"], data=message["data"], audience=message["audience"],
        timestamp=moment(message["timestamp"]), offset=message.get("offset"), epoch=epoch,
        replayed=replayed or message.get("replayed", False),
    )  # fmt: skip


def gap(message: Json) -> Gap:
    names = ("symbol", "from_offset", "to_offset", "epoch")
    return Gap(*(message[name] for name in names))


def _status(message: Json) -> Stale | Fresh:
    if message["state"] == "fresh":
        return Fresh(message["symbol"])
    last_update = _moment_or_none(message["last_update"])
    reason = message.get("reason", "")
    return Stale(message["symbol"], last_update, message["expected_every"], reason)


def _outcome(message: Json) -> PredictionOutcome:
    return PredictionOutcome(
        message["symbol"], message["prediction_id"], message["predicted_price"],
        message["actual_price"], message["error"], message["within_bounds"],
    )  # fmt: skip


# What a subscription is told besides its updates.
NOTICES: Final[Mapping[str, Callable[[Json], Event]]] = {
    "stream_status": _status,
    "prediction_outcome": _outcome,
    "token_expiring": lambda message: TokenExpiring(moment(message["expires_at"])),
    "server_shutdown": lambda message: ServerShutdown(message["reconnect_in_ms"] / 1000),
    "gap": gap,
    "error": lambda message: ServerError(
        message["code"], message["message"], message.get("details", {})
    ),
}
