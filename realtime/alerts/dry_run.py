"""How often would a rule have fired? Plays the past through it, with and without its cooldown.

The past is what the streams still hold (with the times of publication), or stored bars: each bar
as four updates, open, the extreme nearer to it, the other one, close, evenly over its time.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from heapq import merge
from typing import Any, Final, Literal

import msgspec
from channels.layers import get_channel_layer
from django.conf import settings

from realtime import protocol
from realtime.alerts.evaluator import Fired, SymbolMachine, Tick
from realtime.alerts.firing import EPOCH, alert_data
from realtime.alerts.rules import Definition
from realtime.alerts.state import Rule
from realtime.db import in_database
from realtime.delivery.layers import EXTENSION
from realtime.delivery.updates import Update
from realtime.models import Bar
from realtime.protocol import update_time
from realtime.streams import Stream

Past = Literal["history", "1m", "1d"]
PASTS: Final = ("history", "1m", "1d")
# Times that an answer names, the newest ones; and how much of the past is looked at.
MAX_TIMES: Final = 100
MAX_SYMBOLS: Final = 50
MAX_UPDATES: Final = 50_000
_BAR: Final = {"1m": timedelta(minutes=1), "1d": timedelta(days=1)}


@dataclass(frozen=True, slots=True)
class Report:
    """`times` are those of the newest MAX_TIMES firings, oldest first; `begin` and `end` those of
    the past that was looked at (RFC 3339), None where there was none."""

    past: str
    updates: int
    begin: str | None
    end: str | None
    fired: int
    fired_without_cooldown: int
    times: Sequence[Mapping[str, Any]]
    times_without_cooldown: Sequence[Mapping[str, Any]]

    def as_data(self) -> dict[str, Any]:
        return asdict(self)


async def gather(definition: Definition, past: Past) -> dict[str, list[Tick]]:
    """The past of the rule's symbols, in the order of time; raises BackendUnavailable."""
    if past == "history":
        return await _history(definition)
    return await in_database(_bars)(definition, past)


def judge(definition: Definition, ticks: Mapping[str, Sequence[Tick]], past: Past) -> Report:
    """Pure, and for long pasts slow: not for an event loop."""
    moments = [tick.at for each in ticks.values() for tick in each]
    fired = _fired(definition, ticks)
    freely = msgspec.structs.replace(definition, cooldown=0.0)
    anyway = _fired(freely, ticks) if definition.cooldown else fired
    return Report(
        past=past,
        updates=len(moments),
        begin=_time(min(moments)) if moments else None,
        end=_time(max(moments)) if moments else None,
        fired=len(fired),
        fired_without_cooldown=len(anyway),
        times=_times(fired),
        times_without_cooldown=_times(anyway),
    )


def _fired(definition: Definition, ticks: Mapping[str, Sequence[Tick]]) -> list[Fired]:
    rule = Rule(0, 0, None, definition)
    fired: list[Fired] = []
    for symbol, each in ticks.items():
        machine = SymbolMachine(symbol)
        machine.put(rule)
        for tick in each:
            fired += machine.update(tick)
    return sorted(fired, key=lambda one: one.at)


def _times(fired: Sequence[Fired]) -> list[dict[str, Any]]:
    shown = []
    for one in fired[-MAX_TIMES:]:
        data = alert_data(one)
        shown.append({name: data.get(name) for name in ("timestamp", "symbol", "price", "message")})
    return shown


def _time(moment: int) -> str:
    return protocol.timestamp(EPOCH + timedelta(milliseconds=moment))


# The past ---------------------------------------------------------------------------------------


async def _history(definition: Definition) -> dict[str, list[Tick]]:
    outer: Any = get_channel_layer()
    if outer is None or EXTENSION not in outer.extensions:
        return {}
    layer = getattr(outer, "loop_layer", outer)
    channels = sorted(definition.channels)
    symbols = definition.symbols
    if definition.every_symbol:
        found = [stream for channel in channels for stream in await layer.find_streams(channel)]
        symbols = sorted({stream.symbol for stream in found})
    ticks: dict[str, list[Tick]] = {}
    left = MAX_UPDATES
    for symbol in symbols[:MAX_SYMBOLS]:
        pages = [
            await layer.read_newest(
                Stream(channel, symbol), settings.REALTIME_HISTORY_LENGTH[channel]
            )
            for channel in channels
        ]
        updates = merge(*(page.updates for page in pages), key=lambda one: update_time(one.body))
        ticks[symbol] = [_tick(update) for update in list(updates)[-left:]] if left else []
        left -= len(ticks[symbol])
    return ticks


def _tick(update: Update) -> Tick:
    at = round(update_time(update.body).timestamp() * 1000)
    return Tick(update.stream.channel, at, update.data)


def _bars(definition: Definition, interval: Literal["1m", "1d"]) -> dict[str, list[Tick]]:
    bars = Bar.objects.filter(interval=interval)
    symbols = definition.symbols
    if definition.every_symbol:
        known = bars.values_list("symbol", flat=True).distinct().order_by("symbol")
        symbols = list(known[:MAX_SYMBOLS])
    most = MAX_UPDATES // 4 // max(1, len(symbols[:MAX_SYMBOLS]))
    ticks: dict[str, list[Tick]] = {}
    for symbol in symbols[:MAX_SYMBOLS]:
        # Prices of two sources are not one series: that which was written last.
        newest = bars.filter(symbol=symbol).order_by("-updated_at").first()
        source = "" if newest is None else newest.source
        rows = bars.filter(symbol=symbol, source=source).order_by("-start")[:most]
        ticks[symbol] = list(_of_bars(reversed(rows), _BAR[interval]))
    return ticks


def _of_bars(bars: Iterable[Bar], length: timedelta) -> Iterator[Tick]:
    for bar in bars:
        nearer, other = sorted((bar.low, bar.high), key=lambda price: abs(price - bar.open))
        for step, price in enumerate((bar.open, nearer, other, bar.close)):
            at = bar.start + length * step / 4
            data = {"price": price, "volume": bar.volume}
            yield Tick("market-data", int(at.timestamp() * 1000), data)
