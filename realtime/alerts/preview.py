"""What a rule's alert would say now: its message with the newest numbers of its streams."""

from collections.abc import Mapping, Sequence

import msgspec

from realtime import protocol
from realtime.alerts.conditions import describe
from realtime.alerts.evaluator import NUMBERS, SymbolMachine, TimedUpdate
from realtime.alerts.firing import alert_data
from realtime.alerts.messages import NUMBER_FIELDS
from realtime.alerts.rule_state import Rule
from realtime.alerts.rules import Definition, InvalidRule
from realtime.delivery.layers import reading_layer
from realtime.streams import WILDCARD, Channel, InvalidSymbol, Stream, parse_symbol


def preview(definition: Definition, for_symbol: object = None) -> dict[str, object]:
    """`name`, `symbol`, `condition`, `message` and the known `numbers`, as if the rule fired now.

    `for_symbol` chooses among the symbols of the rule; a rule on every symbol has no numbers
    without it. Raises InvalidRule and BackendUnavailable.
    """
    symbol = _chosen(definition, for_symbol)
    ticks = [] if symbol == WILDCARD else _newest(sorted(definition.channels), symbol)
    data = _alert_data(definition, symbol, ticks)
    return {
        "name": definition.name,
        "symbol": symbol,
        "condition": describe(definition.root),
        "message": data["message"],
        "numbers": {name: data[name] for name in NUMBER_FIELDS if name in data},
    }


def _chosen(definition: Definition, wanted: object) -> str:
    if wanted is None:
        return definition.symbols[0]
    try:
        symbol = parse_symbol(wanted)
    except InvalidSymbol as exc:
        raise InvalidRule("for_symbol", exc.reason) from None
    if not definition.every_symbol and symbol not in definition.symbols:
        raise InvalidRule("for_symbol", "must be one of the symbols of the rule")
    return symbol


def _newest(channels: Sequence[Channel], symbol: str) -> list[TimedUpdate]:
    layer = reading_layer()
    if layer is None:
        return []
    ticks = []
    pages = layer.read_newest_sync([Stream(channel, symbol) for channel in channels])
    for channel, page in zip(channels, pages, strict=True):
        for update in page.updates:
            data = protocol.update_data(update.body)
            at = round(protocol.update_time(update.body).timestamp() * 1000)
            ticks.append(TimedUpdate(channel, at, {name: data.get(name) for name in NUMBERS}))
    return sorted(ticks, key=lambda tick: tick.at)


def _alert_data(
    definition: Definition, symbol: str, ticks: Sequence[TimedUpdate]
) -> Mapping[str, object]:
    machine = SymbolMachine(symbol)
    # A rule that has fired once leaves the machine.
    machine.put(Rule(0, 0, None, msgspec.structs.replace(definition, once=False)))
    for tick in ticks:
        machine.update(tick)
    if machine.failed:
        raise InvalidRule("", f"cannot be evaluated: {machine.failed[0][1]}")
    return alert_data(machine.as_if_fired(0))
