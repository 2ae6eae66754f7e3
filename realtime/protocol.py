"""THE WIRE: every message between server and client, the close and error codes, parse and encode.

JSON text frames, one object each, with `type`. `timestamp` is UTC, RFC 3339, milliseconds, `Z`.
README's "Wire protocol" is this file in prose; a test compares the two.
"""

import enum
import re
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, TypeVar, cast
from urllib.parse import parse_qs

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from realtime.shapes import choices_of, explain

PROTOCOL_VERSION: Final = 1
SUBPROTOCOL: Final = "ara.v1"
MAX_HORIZON: Final = 30
SEVERITIES: Final = ("low", "medium", "high", "critical")


class CloseCode(enum.IntEnum):
    """Why the server closed a socket.

    44xx: the client must change something first and does not reconnect unchanged. Everything
    else: reconnect with full-jitter backoff.
    """

    # REALTIME_MAX_INVALID_PER_MINUTE invalid messages within a minute.
    BAD_REQUEST = 4400
    # The credential is missing, invalid, expired or revoked.
    UNAUTHORIZED = 4401
    # The credential lacks the scope, or the Origin is not allowed.
    FORBIDDEN = 4403
    # Unknown endpoint, or an invalid symbol in the URL.
    NOT_FOUND = 4404
    # Connection limit reached; `error.retry_after_ms` says when to try again.
    LIMIT_EXCEEDED = 4429
    # Our fault.
    INTERNAL_ERROR = 4500
    # No `pong` for two heartbeat intervals.
    HEARTBEAT_TIMEOUT = 4504
    # More than REALTIME_OUTBOX_BYTES waited for a reader that does not read.
    SLOW_CONSUMER = 4508
    # More than REALTIME_MAX_MESSAGE_BYTES in one message; sent by the ASGI server.
    MESSAGE_TOO_BIG = 1009
    # The server stops; `server_shutdown` said when to come back.
    SERVICE_RESTART = 1012


class ErrorCode(enum.StrEnum):
    """`error.code`. `error.retry` says whether the same request may succeed later."""

    # The text is not JSON, or not UTF-8.
    INVALID_JSON = "invalid_json"
    # JSON, but not the shape of a message: `details.field` names the field.
    INVALID_MESSAGE = "invalid_message"
    # `type` names no message that a client may send.
    UNKNOWN_TYPE = "unknown_type"
    # `details.symbols` says which symbol, and why.
    INVALID_SYMBOL = "invalid_symbol"
    # The credential is wrong, expired or revoked. 4401 follows.
    INVALID_TOKEN = "invalid_token"
    # Anonymous sockets are not served here: send `auth`.
    AUTH_REQUIRED = "auth_required"
    # The credential lacks the scope for this.
    FORBIDDEN = "forbidden"
    # `unsubscribe` or `request_prediction` for a symbol without a subscription.
    NOT_SUBSCRIBED = "not_subscribed"
    # More subscriptions than one socket may hold.
    SUBSCRIPTION_LIMIT = "subscription_limit"
    # More sockets than the credential or the address may open. 4429 follows.
    CONNECTION_LIMIT = "connection_limit"
    # Too many requests: `retry_after_ms` says when to try again.
    RATE_LIMITED = "rate_limited"
    # No prediction could be made: the message says why.
    PREDICTION_FAILED = "prediction_failed"
    # 4508 follows.
    SLOW_CONSUMER = "slow_consumer"
    # Our fault; the log of the server has the reason.
    INTERNAL_ERROR = "internal_error"


class ProtocolError(Exception):
    """Raised for a message that a client must not send; `error()` is the answer to it."""

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        details: Mapping[str, Any] | None = None,
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


# Of a reader that says wrongly where it stands: no epoch of any stream.
UNKNOWN_POSITION: Final = Position("?", 0)


class Pong(ClientMessage, tag="pong", kw_only=True):
    pass


class Subscribe(ClientMessage, tag="subscribe", kw_only=True):
    """`symbol` changes the subscription to that one; `symbols` adds to it."""

    symbol: str | None = None
    symbols: Annotated[list[str], Meta(min_length=1, max_length=1000)] | None = None
    since: dict[str, Position] | None = None
    max_rate: Annotated[float, Meta(gt=0, le=1000)] | None = None


class Unsubscribe(ClientMessage, tag="unsubscribe", kw_only=True):
    symbols: Annotated[list[str], Meta(min_length=1, max_length=1000)]


class RequestPrediction(ClientMessage, tag="request_prediction", kw_only=True):
    """`horizon` in steps ahead; `symbol` defaults to the connection's only one."""

    symbol: str | None = None
    horizon: Annotated[int, Meta(ge=1, le=MAX_HORIZON)] = 1


class AlertConfig(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`rules` of the user, and which alerts this socket wants.

    `dry_run`: change nothing, and say how often `rules` would have fired.
    """

    rules: list[dict[str, Any]] | None = None
    min_severity: Literal["low", "medium", "high", "critical"] | None = None
    symbols: Annotated[list[str], Meta(max_length=1000)] | None = None
    dry_run: bool | None = None


class ConfigureAlerts(ClientMessage, tag="configure_alerts", kw_only=True):
    config: AlertConfig


class Ack(ClientMessage, tag="ack", kw_only=True):
    ids: Annotated[list[str | int], Meta(min_length=1, max_length=1000)]


class Auth(ClientMessage, tag="auth", kw_only=True):
    token: Annotated[str, Meta(min_length=1, max_length=8192)]


class StatusRequest(ClientMessage, tag="status", kw_only=True):
    pass


AnyClientMessage = (
    Pong
    | Subscribe
    | Unsubscribe
    | RequestPrediction
    | ConfigureAlerts
    | Ack
    | Auth
    | StatusRequest
)
CLIENT_TYPES: Final = tuple(
    str(kind.__struct_config__.tag)
    for kind in (
        Pong,
        Subscribe,
        Unsubscribe,
        RequestPrediction,
        ConfigureAlerts,
        Ack,
        Auth,
        StatusRequest,
    )
)

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


# Server to client -----------------------------------------------------------------------------


class ServerMessage(Struct, tag_field="type", kw_only=True, omit_defaults=True):
    """What the server sends. Fields that are UNSET are left out."""

    timestamp: str = msgspec.field(default_factory=timestamp)


class StreamInfo(Struct, omit_defaults=True):
    """A stream's position when a subscription began, and how `since` was answered."""

    epoch: str
    offset: int
    recovered: bool | UnsetType = UNSET
    replayed: int | UnsetType = UNSET


class Connected(ServerMessage, tag="connected", kw_only=True):
    channel: str
    symbol: str | UnsetType = UNSET
    symbols: Sequence[str]
    connection_id: str
    message: str
    protocol: int
    heartbeat_interval: float
    authenticated: bool
    streams: dict[str, StreamInfo]


class Ping(ServerMessage, tag="ping", kw_only=True):
    """`heads`: the newest offset of each stream of this socket."""

    heads: dict[str, int]


class Subscribed(ServerMessage, tag="subscribed", kw_only=True):
    channel: str
    symbol: str | UnsetType = UNSET
    symbols: Sequence[str]
    streams: dict[str, StreamInfo]
    id: str | int | UnsetType = UNSET


class Unsubscribed(Subscribed, tag="unsubscribed", kw_only=True):
    pass


class PredictionRequested(ServerMessage, tag="prediction_requested", kw_only=True):
    symbol: str
    request_id: str
    status: str
    message: str
    id: str | int | UnsetType = UNSET


class PredictionAnswer(ServerMessage, tag="prediction_update", kw_only=True):
    """The prediction that this socket asked for.

    It belongs to no stream, so it has `request_id` and no `offset`.
    """

    symbol: str
    data: dict[str, Any]
    request_id: str


class PredictionOutcome(ServerMessage, tag="prediction_outcome", kw_only=True):
    """A prediction's horizon has passed: what became of it.

    It tells the subscribers of the symbol, and is no update of the stream: it has no `offset`, and
    whoever was away asks for it over HTTP. `error` is actual less predicted price. A prediction
    without bounds is not `within_bounds`.
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
    audience: str
    data: Mapping[str, Any]
    replayed: Literal[True] = True


class AlertsConfigured(ServerMessage, tag="alerts_configured", kw_only=True):
    config: AlertConfig
    message: str
    id: str | int | UnsetType = UNSET


class Acked(ServerMessage, tag="acked", kw_only=True):
    ids: Sequence[str | int]
    id: str | int | UnsetType = UNSET


class Authenticated(ServerMessage, tag="authenticated", kw_only=True):
    expires_at: str | None
    id: str | int | UnsetType = UNSET


class TokenExpiring(ServerMessage, tag="token_expiring", kw_only=True):
    expires_at: str


class Status(ServerMessage, tag="status", kw_only=True):
    """What a user needs to see why something does not arrive."""

    channel: str
    connection_id: str
    symbols: Sequence[str]
    streams: dict[str, StreamInfo]
    limits: dict[str, Any]
    counters: dict[str, int]
    rtt_ms: float | None
    credential: dict[str, Any]
    server: dict[str, Any]
    id: str | int | UnsetType = UNSET


class StreamStatus(ServerMessage, tag="stream_status", kw_only=True):
    """`state` is `stale` or `fresh`; times in RFC 3339, `expected_every` in seconds."""

    symbol: str
    state: str
    last_update: str | None
    expected_every: float | None
    reason: str | UnsetType = UNSET


_stream_status_decoder: Final = msgspec.json.Decoder(StreamStatus)


def parse_stream_status(text: bytes) -> StreamStatus:
    """What readers inside the server are told in the words of the wire."""
    return _stream_status_decoder.decode(text)


class Gap(ServerMessage, tag="gap", kw_only=True):
    """Updates that are lost for good. `epoch` is the one in force from now on."""

    symbol: str
    from_offset: int
    to_offset: int
    epoch: str


class ServerShutdown(ServerMessage, tag="server_shutdown", kw_only=True):
    reconnect_in_ms: int


class Error(ServerMessage, tag="error", omit_defaults=False, kw_only=True):
    code: str
    message: str
    retry: bool
    retry_after_ms: int | UnsetType = UNSET
    details: dict[str, Any] | UnsetType = UNSET
    id: str | int | UnsetType = UNSET


Answered = TypeVar("Answered", bound=ServerMessage)


def answering(message: Answered, id: str | int | None) -> Answered:
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


def encode_json(value: Mapping[str, Any] | Struct) -> bytes:
    """Any other JSON object, with numbers and times as messages have them."""
    return _encoder.encode(value)


# Updates --------------------------------------------------------------------------------------
# A publisher encodes an update once, up to its offset; the number and what only some readers get
# (`snapshot`, `folded`, `replayed`) are joined to the end. No process that delivers parses JSON.


class _UpdateHead(Struct, tag_field="type", kw_only=True):
    timestamp: str = msgspec.field(default_factory=timestamp)


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


def prediction_body(symbol: str, data: Mapping[str, Any]) -> bytes:
    return _body(_PredictionHead(symbol=symbol, data=data))


def market_data_body(symbol: str, data: Mapping[str, Any]) -> bytes:
    return _body(_MarketDataHead(symbol=symbol, data=data))


def alert_body(id: str, audience: str, data: Mapping[str, Any]) -> bytes:
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


class _UpdateData(Struct):
    data: dict[str, Any]


_data_decoder: Final = msgspec.json.Decoder(_UpdateData)


def update_data(body: bytes) -> dict[str, Any]:
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
