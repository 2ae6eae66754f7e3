"""What the fields of messages mean, and an example of each message. Pure."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

Schema = Mapping[str, Any]


class _Known(NamedTuple):
    """What a field of this name means, whatever message it is in, and an example of it."""

    meaning: str
    example: object = None


_ID: Final = "Of the request, chosen by the client: the answer carries it back."
_FIELDS: Final[Mapping[str, _Known]] = {
    "timestamp": _Known(
        "When it was sent or, of an update, published.", "2024-01-01T12:00:00.000Z"
    ),
    "symbol": _Known("What it is about.", "AAPL"),
    "symbols": _Known("All of them, or those that are asked for.", ["AAPL"]),
    "streams": _Known("Where each stream stands, by its symbol."),
    "epoch": _Known("The name of the numbering that `offset` belongs to.", "k3Jx9a"),
    "offset": _Known("The number of the update in its stream.", 42),
    "snapshot": _Known("The newest update, repeated for a reader that begins."),
    "folded": _Known("How many older updates it replaced on the way to a slow reader."),
    "filtered": _Known("How many alerts before it the reader did not want."),
    "replayed": _Known("It was missed, and comes later."),
    "heads": _Known("The newest offset of each stream.", {"AAPL": 42}),
    "from_offset": _Known("The first one that is lost.", 43),
    "to_offset": _Known("The last one that is lost.", 45),
    "channel": _Known("The channel of the socket.", "market-data"),
    "connection_id": _Known("Names the connection in logs.", "0b7d6c1e2f3a4b5c8d9e0f1a2b3c4d5e"),
    "message": _Known("For people.", "In words, for people."),
    "protocol": _Known("The version of this protocol.", 1),
    "heartbeat_interval": _Known("Seconds from one `ping` to the next.", 30.0),
    "authenticated": _Known("Whether the server knows who is connected."),
    "request_id": _Known("Which request it answers.", "9f1c2d3e4b5a69788796a5b4c3d2e1f0"),
    "horizon": _Known("How many steps ahead.", 5),
    "prediction_id": _Known("Which prediction.", "17"),
    "predicted_price": _Known("What was expected.", 150.25),
    "actual_price": _Known("What it became.", 151.0),
    "error": _Known("Actual less predicted price.", 0.75),
    "within_bounds": _Known("Whether the interval held it."),
    "audience": _Known("For everybody, or for the user of the credential."),
    "ids": _Known("Of alerts.", ["5e8a1c"]),
    "id": _Known(_ID, "5e8a1c"),
    "LiveAlert.id": _Known("Of the alert: what `ack` names."),
    "ReplayedAlert.id": _Known("Of the alert: what `ack` names."),
    "config": _Known("Which alerts, and rules.", {"min_severity": "high", "symbols": ["AAPL"]}),
    "rules": _Known("Alert rules, as `/api/v1/alert-rules` has them."),
    "min_severity": _Known("Only alerts of this severity and above."),
    "dry_run": _Known("Change nothing, and say how often `rules` would have fired."),
    "token": _Known("A JWT, an API key or a ticket.", "YOUR_TOKEN"),
    "expires_at": _Known("When the credential expires.", "2024-01-01T12:05:00.000Z"),
    "since": _Known("By symbol: replay what came after this position."),
    "max_rate": _Known("Updates per second and symbol."),
    "limits": _Known("What is left of each.", {"subscriptions": {"limit": 100, "left": 99}}),
    "counters": _Known("Since it connected.", {"sent": 120, "folded": 0, "replayed": 2}),
    "rtt_ms": _Known("Round trip of the last `ping`, in milliseconds.", 12.5),
    "credential": _Known("What the client came with.", {"kind": "jwt", "expires_at": None}),
    "server": _Known("Which process answers.", {"id": "a1b2c3", "version": "1.0.0"}),
    "state": _Known("Quiet for longer than expected, or not any more."),
    "last_update": _Known("When the stream had its last one.", "2024-01-01T11:59:00.000Z"),
    "expected_every": _Known("Seconds.", 1.0),
    "reason": _Known("Why."),
    "reconnect_in_ms": _Known("When to come back, in milliseconds.", 1500),
    "code": _Known("What is wrong, for programs."),
    "retry": _Known("Whether the same may succeed later."),
    "retry_after_ms": _Known("When, in milliseconds."),
    "details": _Known("Such as `field`, which names the field that is wrong."),
    "recovered": _Known("Whether everything since the position that was asked for follows."),
    "StreamInfo.replayed": _Known("How many missed updates follow."),
    "status": _Known("It is being made."),
}
# Optional fields that an example shows.
_ALSO: Final[Mapping[str, tuple[str, ...]]] = {
    "Subscribe": ("symbols",),
    "RequestPrediction": ("symbol", "horizon"),
    "MarketDataUpdate": ("offset",),
    "PredictionUpdate": ("offset",),
    "LiveAlert": ("offset",),
}
_OF_TYPE: Final[Mapping[str, object]] = {
    "string": "…",
    "integer": 1,
    "number": 1.0,
    "boolean": True,
}


def describe_fields(schema: dict[str, Any]) -> None:
    """Say of each field what it means, unless the schema does; one that is a reference cannot."""
    for name, field in schema.get("properties", {}).items():
        known = _FIELDS.get(f"{schema['title']}.{name}") or _FIELDS.get(name)
        if known is not None and "$ref" not in field:
            field.setdefault("description", known.meaning)


def sample_message(name: str, schemas: Mapping[str, Schema]) -> dict[str, object]:
    """A message with what must be in it, and what makes it worth reading."""
    properties = schemas[name]["properties"]
    wanted = [*schemas[name]["required"], *_ALSO.get(name, ())]
    return {field: sample(properties[field], schemas, field) for field in wanted}


def sample(schema: Schema, schemas: Mapping[str, Schema], name: str = "") -> object:
    """A value that the schema allows."""
    if "$ref" in schema:
        return sample(schemas[schema["$ref"].rpartition("/")[2]], schemas, name)
    if "examples" in schema:
        return schema["examples"][0]
    if name in _FIELDS and _FIELDS[name].example is not None:
        return _FIELDS[name].example
    for choices in ("enum", "anyOf", "oneOf"):
        if choices in schema:
            return _chosen(schema[choices][0], schemas, name)
    if schema["type"] == "object":
        return _object(schema, schemas)
    if schema["type"] == "array":
        return [sample(schema["items"], schemas)]
    return _OF_TYPE[schema["type"]]


def _chosen(choice: object, schemas: Mapping[str, Schema], name: str) -> object:
    if not isinstance(choice, dict):
        return choice
    return choice["const"] if "const" in choice else sample(choice, schemas, name)


def _object(schema: Schema, schemas: Mapping[str, Schema]) -> dict[str, object]:
    if "properties" in schema:
        wanted = {name: schema["properties"][name] for name in schema["required"]}
        return {name: sample(inner, schemas, name) for name, inner in wanted.items()}
    values = schema.get("additionalProperties")
    return {"AAPL": sample(values, schemas)} if isinstance(values, dict) else {}
