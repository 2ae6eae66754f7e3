"""THE WIRE: every message between server and client, the close and error codes, parse and encode.

JSON text frames, one object each, with `type`. `timestamp` is UTC, RFC 3339, milliseconds, `Z`.
docs/reference/protocol.md is this file in prose; a test compares the two.
"""

import enum
import re
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, TypeVar, cast, get_args
from urllib.parse import parse_qs

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from realtime.shapes import choices_of, explain
from realtime.streams import Channel

PROTOCOL_VERSION: Final = 1
SUBPROTOCOL: Final = "ara.v1"
JsonObject = dict[str, Any]
MAX_HORIZON: Final = 30
SEVERITIES: Final = ("low", "medium", "high", "critical")


class CloseCode(enum.IntEnum):
    """Why the server closed a socket. `meaning` says when it is issued.

    44xx: the client must change something first and does not reconnect unchanged. Everything
    else: reconnect with full-jitter backoff.
    """

    _value_: int
    meaning: str

    def __new__(cls, number: int, meaning: str) -> "CloseCode":
        code = int.__new__(cls, number)
        code._value_ = number
        code.meaning = meaning
        return code

    BAD_REQUEST = 4400, "REALTIME_MAX_INVALID_PER_MINUTE invalid messages within a minute."
    UNAUTHORIZED = 4401, "The credential is missing, invalid, expired or revoked."
    FORBIDDEN = 4403, "The credential lacks the scope, or the Origin is not allowed."
    NOT_FOUND = 4404, "Unknown endpoint, or an invalid symbol in the URL."
    DISCONNECTED = 4409, "An operator has ended the connection; `error.message` says why."
    LIMIT_EXCEEDED = (
        4429,
        "Connection limit reached, or a flood of pings and pongs; `error.retry_after_ms` says when "
        "to try again.",
    )
    INTERNAL_ERROR = (
        4500,
        "A fault of the server, or a credential that cannot be checked at the moment.",
    )
    HEARTBEAT_TIMEOUT = 4504, "No `pong` for two heartbeat intervals."
    SLOW_CONSUMER = 4508, "More than REALTIME_OUTBOX_BYTES waited for a client that does not read."
    # Sent by the ASGI server.
    MESSAGE_TOO_BIG = 1009, "More than REALTIME_MAX_MESSAGE_BYTES in one message."
    SERVICE_RESTART = 1012, "The server stops; `server_shutdown` said when to come back."


class ErrorCode(enum.StrEnum):
    """`error.code`. `error.retry` says whether the same request may succeed later."""

    _value_: str
    meaning: str

    def __new__(cls, name: str, meaning: str) -> "ErrorCode":
        code = str.__new__(cls, name)
        code._value_ = name
        code.meaning = meaning
        return code

    INVALID_JSON = "invalid_json", "The text is not JSON, or not UTF-8."
    INVALID_MESSAGE = (
        "invalid_message",
        "JSON, but not the shape of a message: `details.field` names the field.",
    )
    UNKNOWN_TYPE = "unknown_type", "`type` names no message that a client may send."
    INVALID_SYMBOL = "invalid_symbol", "`details.symbols` says which symbol, and why."
    INVALID_TOKEN = "invalid_token", "The credential is wrong, expired or revoked. 4401 follows."
    AUTH_REQUIRED = "auth_required", "Not for anonymous sockets: send `auth`."
    FORBIDDEN = "forbidden", "The credential lacks the scope for this."
    NOT_SUBSCRIBED = "not_subscribed", "`unsubscribe` for a symbol without a subscription."
    SUBSCRIPTION_LIMIT = "subscription_limit", "More subscriptions than one socket may hold."
    CONNECTION_LIMIT = (
        "connection_limit",
        "More sockets than the credential or the address may open. 4429 follows.",
    )
    RATE_LIMITED = "rate_limited", "Too many requests: `retry_after_ms` says when to try again."
    PREDICTION_FAILED = (
        "prediction_failed",
        "No prediction could be made: `details.reason` says why.",
    )
    DISCONNECTED = "disconnected", "An operator has ended the connection. 4409 follows."
    SLOW_CONSUMER = "slow_consumer", "This socket is read too slowly. 4508 follows."
    INTERNAL_ERROR = "internal_error", "A fault of the server; its log has the reason."


class ProtocolError(Exception):
    """Raised for a message that a client must not send; `error()` is the answer to it."""

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        details: Mapping[str, object] | None = None,
        id: str | int | None = None,
        retry: bool = False,
        retry_after_ms: int | None = None,
    ) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.details = details
        self.id = id
        self.retry = retry
        self.retry_after_ms = retry_after_ms

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"

    def error(self) -> "Error":
        return Error(
            code=self.code,
            message=self.message,
            retry=self.retry,
            retry_after_ms=UNSET if self.retry_after_ms is None else self.retry_after_ms,
            details=UNSET if self.details is None else dict(self.details),
            id=UNSET if self.id is None else self.id,
        )


def timestamp(moment: datetime | None = None) -> str:
    """`2024-01-01T12:00:00.000Z`; now, or an aware datetime."""
    if moment is None:
        seconds, milliseconds = divmod(time.time_ns() // 1_000_000, 1000)
        return f"{_second(seconds)}.{milliseconds:03d}Z"
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


# Client to server -----------------------------------------------------------------------------

RequestId = Annotated[str, Meta(max_length=64)] | int


class ClientMessage(Struct, tag_field="type", forbid_unknown_fields=True, kw_only=True):
    """What a client may send. `id`, if present, comes back in the answer."""

    id: RequestId | None = None


class Position(Struct, forbid_unknown_fields=True, frozen=True):
    """Where a reader stands in a stream: it has everything of `epoch` up to `offset`."""

    epoch: Annotated[str, Meta(max_length=64)]
    offset: Annotated[int, Meta(ge=0)]


# The position of a reader whose own position is wrong: an epoch that no stream has.
UNKNOWN_POSITION: Final = Position("?", 0)


class Pong(ClientMessage, tag="pong", kw_only=True):
    """The answer to `ping`."""


class PingRequest(ClientMessage, tag="ping", kw_only=True):
    """Ask for `pong`, to see within seconds whether the connection still lives."""


class Subscribe(ClientMessage, tag="subscribe", kw_only=True):
    """`symbol` changes the subscription to that one; `symbols` adds to it, `*` is every symbol.

    `since`, by symbol: replay what came after it. `max_rate`: updates per second and symbol.
    """

    symbol: str | None = None
    symbols: Annotated[list[str], Meta(min_length=1, max_length=1000)] | None = None
    since: dict[str, Position] | None = None
    max_rate: Annotated[float, Meta(ge=0.001, le=1000)] | None = None


class Unsubscribe(ClientMessage, tag="unsubscribe", kw_only=True):
    """End these subscriptions; answered with `unsubscribed`."""

    symbols: Annotated[list[str], Meta(min_length=1, max_length=1000)]


class RequestPrediction(ClientMessage, tag="request_prediction", kw_only=True):
    """`horizon` in steps ahead; `symbol` defaults to the connection's only one."""

    symbol: str | None = None
    horizon: Annotated[int, Meta(ge=1, le=MAX_HORIZON)] = 1


class AlertConfig(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`rules` of the user, and which alerts this socket wants.

    `dry_run`: change nothing, and say how often `rules` would have fired.
    """

    rules: list[JsonObject] | None = None
    min_severity: Literal["low", "medium", "high", "critical"] | None = None
    symbols: Annotated[list[str], Meta(max_length=1000)] | None = None
    dry_run: bool | None = None


class ConfigureAlerts(ClientMessage, tag="configure_alerts", kw_only=True):
    """Change which alerts this socket gets, and the user's rules."""

    config: AlertConfig


class Ack(ClientMessage, tag="ack", kw_only=True):
    """The user has seen these alerts: they do not come again."""

    ids: Annotated[list[str | int], Meta(min_length=1, max_length=1000)]


class Auth(ClientMessage, tag="auth", kw_only=True):
    """A JWT, an API key or a ticket; on an open socket a new JWT of the same user."""

    token: Annotated[str, Meta(min_length=1, max_length=8192)]


class StatusRequest(ClientMessage, tag="status", kw_only=True):
    """Ask for `status`."""


AnyClientMessage = (
    Pong
    | PingRequest
    | Subscribe
    | Unsubscribe
    | RequestPrediction
    | ConfigureAlerts
    | Ack
    | Auth
    | StatusRequest
)
CLIENT_TYPES: Final = tuple(str(kind.__struct_config__.tag) for kind in get_args(AnyClientMessage))
# Where to send what one channel alone answers.
ENDPOINT_OF: Final = {
    "request_prediction": "/ws/predictions/{symbol}",
    "configure_alerts": "/ws/alerts",
    "ack": "/ws/alerts",
}

_decoder: Final = msgspec.json.Decoder(AnyClientMessage)
_CHOICES: Final = choices_of(AlertConfig)
_OFFSET: Final = re.compile(r"[0-9]{1,18}")


def parse(text: str | bytes) -> AnyClientMessage:
    """Decode and check one message from a client; raises ProtocolError."""
    try:
        message = _decoder.decode(text)
    except msgspec.ValidationError as exc:
        raise _invalid(text, str(exc)) from None
    except (msgspec.DecodeError, RecursionError, UnicodeError) as exc:
        raise ProtocolError(
            ErrorCode.INVALID_JSON, f"not JSON: {exc}; send one JSON object as a text frame"
        ) from None
    if message.id is not None and not _valid_id(message.id):
        raise ProtocolError(
            ErrorCode.INVALID_MESSAGE, "id has more than 64 characters", details={"field": "id"}
        )
    if (
        isinstance(message, Subscribe)
        and message.symbol is not None
        and message.symbols is not None
    ):
        raise ProtocolError(
            ErrorCode.INVALID_MESSAGE,
            "send symbol (changes the subscription) or symbols (adds to it), not both",
            details={"field": "symbols"},
            id=message.id,
        )
    return cast(AnyClientMessage, message)


def _valid_id(id: object) -> bool:
    """A string or integer of at most 64 characters."""
    if isinstance(id, str):
        return len(id) <= 64
    # Not len(str(id)): Python refuses to print integers of more than 4,300 digits.
    return isinstance(id, int) and not isinstance(id, bool) and -(10**63) < id < 10**64


def _invalid(text: str | bytes, reason: str) -> ProtocolError:
    """The answer to a text that is JSON but no message; the slow path decodes it once more."""
    try:
        content = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as exc:
        # A shape error may stand before a syntax error in the same text.
        return ProtocolError(
            ErrorCode.INVALID_JSON, f"not JSON: {exc}; send one JSON object as a text frame"
        )
    if not isinstance(content, dict):
        return ProtocolError(ErrorCode.INVALID_MESSAGE, "a message is a JSON object with `type`")
    id = content.get("id")
    if not _valid_id(id):
        id = None
    kind = content.get("type")
    if isinstance(kind, str) and kind not in CLIENT_TYPES:
        return ProtocolError(
            ErrorCode.UNKNOWN_TYPE,
            f"unknown type {kind[:64]!r}; known: {', '.join(CLIENT_TYPES)}",
            details={"field": "type"},
            id=id,
        )
    field, what = explain(reason, _CHOICES)
    return ProtocolError(
        ErrorCode.INVALID_MESSAGE,
        f"{field}: {what}" if field else what,
        details={"field": field} if field else None,
        id=id,
    )


def position_from_query(query: bytes) -> Position | None:
    """`?epoch=&offset=` of the URL, None if both are absent or empty; raises ProtocolError."""
    if b"epoch=" not in query and b"offset=" not in query:
        return None
    try:
        values = parse_qs(query.decode("latin-1"), max_num_fields=20)
    except ValueError:  # more fields than anybody needs
        return None
    epoch, offset = values.get("epoch", [""])[0], values.get("offset", [""])[0]
    if not epoch and not offset:
        return None
    wrong = "epoch" if len(epoch) > 64 else "offset"
    if wrong == "epoch" or not _OFFSET.fullmatch(offset):
        raise ProtocolError(
            ErrorCode.INVALID_MESSAGE,
            f"{wrong}: the URL needs both as streams had them: ?epoch=h3J2x9aQ&offset=17",
            details={"field": wrong},
        )
    return Position(epoch, int(offset))


class InvalidPosition(ValueError):
    """Raised for a text that is not `epoch:offset`."""

    def __str__(self) -> str:
        return "a position is written epoch:offset, as in h3J2x9aQ:17"


def parse_position(text: str) -> Position:
    """`epoch:offset`, as SSE and REST write a position; raises InvalidPosition."""
    epoch, _, offset = text.rpartition(":")
    if not 1 <= len(epoch) <= 64 or not _OFFSET.fullmatch(offset):
        raise InvalidPosition
    return Position(epoch, int(offset))


# Server to client -----------------------------------------------------------------------------


# UTC, RFC 3339, milliseconds, `Z`.
Moment = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
Offset = Annotated[int, Meta(ge=1)]
Audience = Literal["all", "user"]
Answers = str | int | UnsetType  # `id` of the request


class ServerMessage(Struct, tag_field="type", kw_only=True, omit_defaults=True):
    """What the server sends. Fields that are UNSET are left out."""

    timestamp: Moment = msgspec.field(default_factory=timestamp)


class StreamInfo(Struct, omit_defaults=True):
    """A stream's position when a subscription began, and how `since` was answered."""

    epoch: str
    offset: int
    recovered: bool | UnsetType = UNSET
    replayed: int | UnsetType = UNSET


class Connected(ServerMessage, tag="connected", kw_only=True):
    """The first message, once. `heartbeat_interval` in seconds.

    `streams` is empty while Redis does not answer; `subscribed` without `id` has them then.
    """

    channel: Channel
    symbol: str | UnsetType = UNSET
    symbols: Sequence[str]
    connection_id: str
    message: str
    protocol: int
    heartbeat_interval: float
    authenticated: bool
    streams: dict[str, StreamInfo]


class Ping(ServerMessage, tag="ping", kw_only=True):
    """`heads`: the newest offset of each stream; of `*` those that changed since the last ping."""

    heads: dict[str, int]


class PongAnswer(ServerMessage, tag="pong", kw_only=True):
    """The answer to `ping` of a client."""

    id: Answers = UNSET


class Subscribed(ServerMessage, tag="subscribed", kw_only=True):
    """The answer to `subscribe`: all `symbols` after it, and the `streams` that it concerned."""

    channel: Channel
    symbol: str | UnsetType = UNSET
    symbols: Sequence[str]
    streams: dict[str, StreamInfo]
    id: Answers = UNSET


class Unsubscribed(Subscribed, tag="unsubscribed", kw_only=True):
    """The answer to `unsubscribe`: what is left."""


class PredictionRequested(ServerMessage, tag="prediction_requested", kw_only=True):
    """The answer to `request_prediction`; the prediction follows, with this `request_id`."""

    symbol: str
    request_id: str
    status: Literal["processing"]
    message: str
    id: Answers = UNSET


class PredictionAnswer(ServerMessage, tag="prediction_update", kw_only=True):
    """The prediction that this socket asked for.

    It belongs to no stream, so it has `request_id` and no `offset`.
    """

    symbol: str
    data: JsonObject
    request_id: str


class PredictionOutcome(ServerMessage, tag="prediction_outcome", kw_only=True):
    """A prediction's horizon has passed: what became of it.

    It tells the subscribers of the symbol. It is not an update of the stream: it has no `offset`,
    and clients that were away ask for it over HTTP. `error` is actual less predicted price. A
    prediction without bounds is not `within_bounds`.
    """

    symbol: str
    prediction_id: str
    predicted_price: float
    actual_price: float
    error: float
    within_bounds: bool


class ReplayedAlert(ServerMessage, tag="alert", omit_defaults=False, kw_only=True):
    """An alert from the inbox: its reader was away, and has not acknowledged it.

    `timestamp` is that of the alert. It is told beside the streams, so it has no `offset`.
    """

    id: str
    audience: Audience
    data: JsonObject
    replayed: Literal[True] = True


class AlertsConfigured(ServerMessage, tag="alerts_configured", kw_only=True):
    """The answer to `configure_alerts`: `rules` with their ids, or what a dry run found."""

    config: AlertConfig
    message: str
    id: Answers = UNSET


class Acked(ServerMessage, tag="acked", kw_only=True):
    """The answer to `ack`: those of the `ids` that are the user's."""

    ids: Sequence[str | int]
    id: Answers = UNSET


class Authenticated(ServerMessage, tag="authenticated", kw_only=True):
    """The answer to `auth`; `expires_at` is null for a credential that does not expire."""

    expires_at: Moment | None
    id: Answers = UNSET


class TokenExpiring(ServerMessage, tag="token_expiring", kw_only=True):
    """The JWT has expired: send `auth` with a new one, or 4401 follows."""

    expires_at: Moment


class Status(ServerMessage, tag="status", kw_only=True):
    """What a user needs to see why something does not arrive."""

    channel: Channel
    connection_id: str
    symbols: Sequence[str]
    streams: dict[str, StreamInfo]
    limits: dict[str, dict[str, int]]
    counters: dict[str, int]
    rtt_ms: float | None
    credential: dict[str, str | None]
    server: dict[str, str]
    id: Answers = UNSET


class StreamStatus(ServerMessage, tag="stream_status", kw_only=True):
    """`state` is `stale` or `fresh`; times in RFC 3339, `expected_every` in seconds."""

    symbol: str
    state: Literal["stale", "fresh"]
    last_update: Moment | None
    expected_every: float | None
    reason: str | UnsetType = UNSET


_stream_status_decoder: Final = msgspec.json.Decoder(StreamStatus)


def parse_stream_status(text: bytes) -> StreamStatus:
    """What readers inside the server are told in the words of the wire."""
    return _stream_status_decoder.decode(text)


class Gap(ServerMessage, tag="gap", kw_only=True):
    """Updates that are lost for good. `epoch` is the one in force from now on.

    `to_offset` below `from_offset`: none is; the epoch goes on, or begins, behind `to_offset`.
    """

    symbol: str
    from_offset: int
    to_offset: int
    epoch: str


class ServerShutdown(ServerMessage, tag="server_shutdown", kw_only=True):
    """The server stops: it closes with 1012, and this is when to come back."""

    reconnect_in_ms: int


class Error(ServerMessage, tag="error", omit_defaults=False, kw_only=True):
    """Anything wrong. `retry`: the same may succeed later, after `retry_after_ms` if it is said."""

    code: ErrorCode
    message: str
    retry: bool
    retry_after_ms: int | UnsetType = UNSET
    details: JsonObject | UnsetType = UNSET
    id: Answers = UNSET


Message = TypeVar("Message", bound=ServerMessage)


def answering(message: Message, id: str | int | None) -> Message:
    """The message with the `id` of the request that it answers, if that had one."""
    if id is not None:
        msgspec.structs.force_setattr(message, "id", id)
    return message


def _plain(value: object) -> object:
    """As msgspec knows it: a subclass (numpy.float64, SafeString, pandas.Timestamp), a mapping."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, datetime):
        return datetime.combine(value.date(), value.timetz())
    for kind in (float, int, Decimal):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise NotImplementedError(f"{type(value).__name__} is not JSON")


_encoder: Final = msgspec.json.Encoder(decimal_format="number", enc_hook=_plain)


def encode(message: ServerMessage) -> bytes:
    """The JSON text of a message, UTF-8."""
    return _encoder.encode(message)


def encode_json(value: Mapping[str, object] | Struct) -> bytes:
    """Any other JSON object, with numbers and times as messages have them."""
    return _encoder.encode(value)


# Updates --------------------------------------------------------------------------------------
# A publisher encodes an update once, up to its offset; the number and what only some readers get
# (`snapshot`, `folded`, `replayed`) are joined to the end. No process that delivers parses JSON.


class _UpdateHead(Struct, tag_field="type", kw_only=True):
    timestamp: Moment = msgspec.field(default_factory=timestamp)


class _PredictionHead(_UpdateHead, tag="prediction_update", kw_only=True):
    symbol: str
    data: Mapping[str, Any]


class _MarketDataHead(_UpdateHead, tag="market_data_update", kw_only=True):
    symbol: str
    data: Mapping[str, Any]


class _AlertHead(_UpdateHead, tag="alert", kw_only=True):
    id: str
    audience: str
    data: Mapping[str, Any]


def prediction_body(symbol: str, data: Mapping[str, object]) -> bytes:
    return _body(_PredictionHead(symbol=symbol, data=data))


def market_data_body(symbol: str, data: Mapping[str, object]) -> bytes:
    return _body(_MarketDataHead(symbol=symbol, data=data))


def alert_body(id: str, audience: str, data: Mapping[str, object]) -> bytes:
    return _body(_AlertHead(id=id, audience=audience, data=data))


def _body(head: _UpdateHead) -> bytes:
    """An update without its last brace: what the publisher stores and sends."""
    return _encoder.encode(head)[:-1]


def update_text(body: bytes, offset: int | None, suffix: bytes = b"") -> bytes:
    """The whole JSON text of an update. `suffix` is a `SUFFIX_…` or what a function below gives."""
    if offset is None:  # a channel layer that does not number its updates
        return b"%b%b}" % (body, suffix)
    return b'%b,"offset":%d%b}' % (body, offset, suffix)


SUFFIX_SNAPSHOT: Final = b',"snapshot":true'
SUFFIX_REPLAYED: Final = b',"replayed":true'


def folded(count: int) -> bytes:
    return b',"folded":%d' % count


def filtered(count: int) -> bytes:
    return b',"filtered":%d' % count


def begun(epoch: str) -> bytes:
    """Of the first update of a stream, for those who subscribed before there was such a stream."""
    return b',"epoch":%b' % msgspec.json.encode(epoch)


# The same as their readers find them. Nobody here builds these.


class PredictionUpdate(_PredictionHead, tag="prediction_update", omit_defaults=True, kw_only=True):
    """A new prediction. `folded`: the older ones that it replaced on the way to a slow reader.

    `epoch` comes with the first update of a stream that is new to a subscription of `*`.
    """

    offset: Offset | UnsetType = UNSET
    snapshot: Literal[True] | UnsetType = UNSET
    folded: Offset | UnsetType = UNSET
    epoch: str | UnsetType = UNSET


class MarketDataUpdate(_MarketDataHead, tag="market_data_update", omit_defaults=True, kw_only=True):
    """New market data; `folded` and `epoch` as in `prediction_update`."""

    offset: Offset | UnsetType = UNSET
    snapshot: Literal[True] | UnsetType = UNSET
    folded: Offset | UnsetType = UNSET
    epoch: str | UnsetType = UNSET


class LiveAlert(_AlertHead, tag="alert", omit_defaults=True, kw_only=True):
    """An alert for everybody, or for this user; `filtered`: how many before it were not wanted."""

    audience: Audience
    offset: Offset | UnsetType = UNSET
    replayed: Literal[True] | UnsetType = UNSET
    filtered: Offset | UnsetType = UNSET


class _UpdateData(Struct):
    data: JsonObject


_data_decoder: Final = msgspec.json.Decoder(_UpdateData)


def update_data(body: bytes) -> dict[str, object]:
    """The `data` of a stored update, for readers inside the server."""
    return _data_decoder.decode(body + b"}").data


class _UpdateTime(Struct):
    timestamp: str


_time_decoder: Final = msgspec.json.Decoder(_UpdateTime)


class _AlertId(Struct):
    id: str


_alert_id_decoder: Final = msgspec.json.Decoder(_AlertId)


def alert_id(body: bytes) -> str:
    """The `id` of a stored alert."""
    return _alert_id_decoder.decode(body + b"}").id


def update_time(body: bytes) -> datetime:
    """When a stored update was published; aware."""
    return datetime.fromisoformat(_time_decoder.decode(body + b"}").timestamp)
