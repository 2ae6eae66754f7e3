"""The wire as an AsyncAPI 3.0 document, made from `realtime.protocol`: messages, fields, codes."""

import enum
import inspect
from collections.abc import Iterable, Sequence
from typing import Any, Final, get_args

import msgspec
from msgspec import Struct

from realtime import protocol
from realtime.asyncapi_fields import describe_fields, sample_message
from realtime.protocol import CloseCode, ErrorCode
from realtime.streams import CHANNELS, Channel
from realtime.update_data import DATA_SCHEMAS
from realtime.version import VERSION

Document = dict[str, object]

CLIENT_MESSAGES: Final[tuple[type[Struct], ...]] = get_args(protocol.AnyClientMessage)
# Those of every channel, then what only one of them has.
_REQUESTS: Final[Sequence[type[Struct]]] = (
    protocol.Pong, protocol.PingRequest, protocol.Auth, protocol.StatusRequest, protocol.Subscribe,
)  # fmt: skip
_ANSWERS: Final[Sequence[type[Struct]]] = (
    protocol.Connected, protocol.Ping, protocol.PongAnswer, protocol.Subscribed,
    protocol.Authenticated, protocol.TokenExpiring, protocol.Status, protocol.Gap,
    protocol.ServerShutdown, protocol.Error,
)  # fmt: skip
_OF_SYMBOLS: Final = (protocol.Unsubscribed, protocol.StreamStatus)
_OWN_REQUESTS: Final[dict[Channel, Sequence[type[Struct]]]] = {
    "predictions": (protocol.Unsubscribe, protocol.RequestPrediction),
    "market-data": (protocol.Unsubscribe,),
    "alerts": (protocol.ConfigureAlerts, protocol.Ack),
}
_OWN_ANSWERS: Final[dict[Channel, Sequence[type[Struct]]]] = {
    "predictions": (
        protocol.PredictionUpdate, protocol.PredictionAnswer, protocol.PredictionRequested,
        protocol.PredictionOutcome, *_OF_SYMBOLS,
    ),
    "market-data": (protocol.MarketDataUpdate, *_OF_SYMBOLS),
    "alerts": (
        protocol.LiveAlert, protocol.ReplayedAlert, protocol.AlertsConfigured, protocol.Acked,
    ),
}  # fmt: skip
_SUMMARIES: Final[dict[Channel, str]] = {
    "predictions": "New predictions of a symbol, and predictions on request.",
    "market-data": "Live prices and volumes of a symbol.",
    "alerts": "Alerts for everybody, and for the user of the credential.",
}

# Which schema describes `data` of a message.
_DATA: Final[dict[type[Struct], str]] = {
    protocol.MarketDataUpdate: "MarketData",
    protocol.PredictionUpdate: "Prediction",
    protocol.PredictionAnswer: "Prediction",
    protocol.LiveAlert: "Alert",
    protocol.ReplayedAlert: "Alert",
}

_DESCRIPTION: Final = f"""\
JSON text frames, one object each, with `type`. A client may put `id` on a request; the answer
carries it back. Updates of a stream are numbered by `offset`; `epoch` names one life of the
numbering. To resume after a loss, name both in `since`, or in the URL.

A credential is optional unless the server says otherwise. It may also come as
`Authorization: Api-Key`, as the subprotocols `{protocol.SUBPROTOCOL}, ara.token.YOUR_TOKEN`, or
in the message `auth`.

After a close with 44xx change something first; after any other one reconnect, with a random delay
that grows. The schemas `CloseCode` and `ErrorCode` say what each code means.
"""
_SYMBOL: Final = (
    "Case-insensitive: 1 to 32 characters of `A-Z 0-9 . - _ = ^ : /`, the first one a letter, "
    "digit or `^`. `/` is percent-encoded."
)
_QUERY: Final = {
    "token": "A JWT or an API key.",
    "ticket": "A one-use ticket.",
    "epoch": "With `offset`: resume here. On `/ws/alerts` it is that of the stream `all`.",
    "offset": "The last offset that the client has.",
}


_SECURITY: Final = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A JWT, an API key or a ticket."},
    "apiKey": {"type": "httpApiKey", "in": "header", "name": "X-API-Key"},
    "ticket": {"type": "httpApiKey", "in": "query", "name": "ticket"},
    "token": {"type": "httpApiKey", "in": "query", "name": "token"},
}


def document(host: str = "localhost:8000", prefix: str = "", *, secure: bool = False) -> Document:
    """The AsyncAPI document of a server at this host and below this path, as JSON has it."""
    schemas = _schemas()
    messages = {_name(kind): _message(kind, schemas) for kind in _every_message()}
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "ARA Realtime", "version": VERSION, "description": _DESCRIPTION},
        "defaultContentType": "application/json",
        "servers": {
            "this": {
                "host": host,
                "protocol": "wss" if secure else "ws",
                **({"pathname": prefix} if prefix else {}),
                "security": [_ref("securitySchemes", name) for name in _SECURITY],
            }
        },
        "channels": {name: _channel(channel, name) for name, channel in _channel_names().items()},
        "operations": _operations(),
        "components": {
            "messages": messages,
            "schemas": schemas,
            "securitySchemes": _SECURITY,
        },
    }


def messages_of(channel: Channel) -> tuple[list[type[Struct]], list[type[Struct]]]:
    """What a client may send on a channel, and what the server sends there."""
    return (
        [*_REQUESTS, *_OWN_REQUESTS[channel]],
        [*_ANSWERS, *_OWN_ANSWERS[channel]],
    )


def _every_message() -> dict[type[Struct], None]:
    both = [kind for channel in CHANNELS for part in messages_of(channel) for kind in part]
    return dict.fromkeys(both)


def _channel_names() -> dict[str, Channel]:
    """Addresses with a symbol and without one, by the name of the channel in the document."""
    return {
        name: channel
        for channel in CHANNELS
        for name in ([channel] if channel == "alerts" else [channel, f"{channel}-of-symbol"])
    }


def _channel(channel: Channel, name: str) -> Document:
    of_symbol = name != channel
    received, sent = messages_of(channel)
    described: Document = {
        "address": f"/ws/{channel}" + ("/{symbol}" if of_symbol else ""),
        "summary": _SUMMARIES[channel],
        "messages": {_name(kind): _ref("messages", _name(kind)) for kind in (*received, *sent)},
        "bindings": {"ws": {"method": "GET", "query": _query(), "bindingVersion": "0.1.0"}},
    }
    if of_symbol:
        described["parameters"] = {"symbol": {"description": _SYMBOL, "examples": ["AAPL"]}}
    elif channel != "alerts":
        described["description"] = "No subscription yet: send `subscribe`."
    return described


def _query() -> Document:
    properties = {name: {"type": "string", "description": text} for name, text in _QUERY.items()}
    properties["offset"]["type"] = "integer"
    return {"type": "object", "properties": properties}


def _operations() -> Document:
    """What the server does with each channel: it receives, and it sends."""
    operations: Document = {}
    for name, channel in _channel_names().items():
        for action, kinds in zip(("receive", "send"), messages_of(channel), strict=True):
            operations[f"{action}-{name}"] = {
                "action": action,
                "channel": {"$ref": f"#/channels/{name}"},
                "messages": [
                    {"$ref": f"#/channels/{name}/messages/{_name(kind)}"} for kind in kinds
                ],
            }
    return operations


def _name(kind: type[Struct]) -> str:
    """`subscribe`; the second shape of a type has its own: `alert.ReplayedAlert`."""
    tag = str(kind.__struct_config__.tag)
    if kind in (protocol.PredictionAnswer, protocol.ReplayedAlert, protocol.PongAnswer):
        return f"{tag}.{kind.__name__}"
    return f"{tag}.request" if kind in (protocol.StatusRequest, protocol.PingRequest) else tag


def _message(kind: type[Struct], schemas: dict[str, Any]) -> Document:
    tag = str(kind.__struct_config__.tag)
    summary, _, rest = (kind.__doc__ or "").partition("\n\n")
    message: Document = {
        "name": tag,
        "summary": " ".join(summary.split()),
        "payload": _ref("schemas", kind.__name__),
        "examples": [{"payload": sample_message(kind.__name__, schemas)}],
    }
    if rest.strip():
        message["description"] = " ".join(rest.split())
    # An alert's `id` is its own.
    if "id" in kind.__struct_fields__ and tag != "alert":
        message["correlationId"] = {"location": "$message.payload#/id"}
    return message


def _schemas() -> dict[str, Any]:
    kinds = list(_every_message())
    _, components = msgspec.json.schema_components(
        kinds, ref_template="#/components/schemas/{name}"
    )
    for schema in components.values():
        if "description" in schema:
            schema["description"] = inspect.cleandoc(schema["description"])
        describe_fields(schema)
    for kind in kinds:
        if kind not in CLIENT_MESSAGES:
            # A default of a message of ours is not what its reader may leave out.
            components[kind.__name__]["required"] = ["type", *_always_there(kind)]
    for kind, name in _DATA.items():
        components[kind.__name__]["properties"]["data"] = _ref("schemas", name)
    return {
        **components,
        **DATA_SCHEMAS,
        "CloseCode": _codes(CloseCode),
        "ErrorCode": _codes(ErrorCode),
    }


def _always_there(kind: type[Struct]) -> list[str]:
    fields = msgspec.structs.fields(kind)
    return [field.encode_name for field in fields if field.default is not msgspec.UNSET]


def _codes(kind: type[CloseCode] | type[ErrorCode]) -> Document:
    codes: Iterable[Any] = kind
    return {
        "description": (kind.__doc__ or "").partition("\n\n")[0],
        "type": "integer" if issubclass(kind, enum.IntEnum) else "string",
        "oneOf": [
            {"const": code.value, "title": code.name.lower(), "description": code.meaning}
            for code in codes
        ],
    }


def _ref(section: str, name: str) -> Document:
    return {"$ref": f"#/components/{section}/{name}"}
