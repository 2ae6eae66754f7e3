"""From a rule that fires to the alert that is stored and sent. Pure."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from realtime import protocol
from realtime.alerts.conditions import MetricName, describe
from realtime.alerts.evaluator import Fired
from realtime.alerts.messages import render
from realtime.protocol import Position
from realtime.streams import Channel

# The channel that each number in an alert comes from.
CHANNEL_OF: Final[Mapping[str, Channel]] = {
    "price": "market-data",
    "volume": "market-data",
    "move": "market-data",
    "confidence": "predictions",
    "predicted_price": "predictions",
    "predicted_return": "predictions",
}
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Draft:
    """An alert that is not stored yet. Processing the same cause again gives the same `uid`."""

    uid: str
    rule_id: int
    owner_id: Any
    symbol: str
    severity: str
    data: dict[str, object]
    channels: frozenset[Channel]
    escalate_to: int | None
    escalate_after: timedelta | None
    destinations: Sequence[int] = ()


def draft(fired: Fired, channel: Channel, position: Position) -> Draft:
    """`channel` and `position`: of the update that fires it, or of the last one before."""
    rule, definition = fired.rule, fired.rule.definition
    after = definition.escalate_after
    return Draft(
        uid=_uid(fired, channel, position),
        rule_id=rule.id,
        owner_id=rule.owner_id,
        symbol=fired.symbol,
        severity=definition.severity,
        data=alert_data(fired),
        channels=fired.channels,
        escalate_to=definition.escalate_to,
        escalate_after=None if after is None else timedelta(seconds=after),
        destinations=definition.destinations,
    )


def alert_data(fired: Fired) -> dict[str, object]:
    """`data` of the alert: the fields of its message, and the rule.

    It contains only numbers of channels that the rule reads: the recipient may not read others.
    """
    rule, definition = fired.rule, fired.rule.definition
    time = protocol.timestamp(EPOCH + timedelta(milliseconds=fired.at))
    condition = describe(fired.watch.condition)
    value = getattr(fired.watch.condition, "value", None)
    reads = definition.channels
    told = {name: n for name, n in fired.numbers.items() if CHANNEL_OF[name] in reads}
    numbers = {"value": value, **told}
    texts = {
        "symbol": fired.symbol,
        "rule": definition.name,
        "severity": definition.severity,
        "condition": condition,
        "time": time,
    }
    return {
        "type": _type(fired.watch.metric.name),
        "symbol": fired.symbol,
        "message": render(definition.message, {**numbers, **texts}),
        "severity": definition.severity,
        "rule_id": rule.id,
        "rule": definition.name,
        "condition": condition,
        **{name: number for name, number in numbers.items() if number is not None},
        "timestamp": time,
    }


def _type(watched: MetricName) -> str:
    """`type` in the data of an alert, by what its condition watches."""
    match watched:
        case "price" | "move_up" | "move_down" | "move_any":
            return "price_alert"
        case "volume":
            return "volume_alert"
        case "confidence" | "predicted_return" | "direction":
            return "prediction_alert"
        case "age":
            return "stale_alert"


def _uid(fired: Fired, channel: str, position: Position) -> str:
    """A rule fires at most once per update, and at most once per moment between two updates."""
    cause = f"at {fired.at}" if fired.timed else f"{channel} {position.epoch} {position.offset}"
    text = f"{fired.rule.id} {fired.rule.revision} {fired.symbol} {cause}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]
