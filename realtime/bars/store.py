"""Bars and positions in the database: both in one transaction, so that nothing counts twice."""

import logging
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Final

from django.db import IntegrityError, transaction

from realtime.bars.candles import INTERVALS, VOID, BarKey, Candle
from realtime.models import Bar, RecordedPosition
from realtime.protocol import Position
from realtime.values import LARGEST, batches

logger = logging.getLogger(__name__)

# Symbols for which the problem was logged already.
_too_large: Final[set[str]] = set()
# Rows that one statement reads or writes.
_BATCH: Final = 300
_KEY: Final = ("symbol", "interval", "source", "start")
_VALUES: Final = (
    "open", "high", "low", "close", "volume", "first_tick_at", "last_tick_at", "updated_at",
)  # fmt: skip


class StaleCheckpoint(Exception):
    """Raised when the stored positions are not those that the bars were gathered from.

    Another recorder is running, or the answer to a committed transaction was lost.
    """

    def __init__(self, symbol: str) -> None:
        super().__init__(symbol)
        self.symbol = symbol

    def __str__(self) -> str:
        return f"the position of {self.symbol} was moved by another process"


def load_positions() -> dict[str, Position]:
    """The position up to which the updates of each symbol are recorded."""
    return {row.symbol: Position(row.epoch, row.offset) for row in RecordedPosition.objects.all()}


def store(
    candles: Mapping[BarKey, Candle],
    before: Mapping[str, Position],
    after: Mapping[str, Position],
) -> None:
    """Join parts of bars to the stored ones, and move the positions of their symbols.

    `before` has the positions that the caller expects to be stored, `after` the new ones. Raises
    StaleCheckpoint without changing anything.
    """
    with transaction.atomic():
        _move(before, after)
        days = {key for key, candle in candles.items() if candle.of_minutes}
        for keys in batches(sorted(candles.keys() - days), _BATCH):
            held = _held(keys)
            _write({key: _joined(held.get(key), candles[key]) for key in keys})
        for key in days:  # after their minutes
            _write({key: _of_minutes(key)})


def _write(candles: Mapping[BarKey, Candle]) -> None:
    for key in [key for key, candle in candles.items() if candle.void]:
        Bar.objects.filter(**key._asdict()).delete()
    Bar.objects.bulk_create(
        [_bar(key, candle) for key, candle in candles.items() if not candle.void],
        update_conflicts=True, unique_fields=_KEY, update_fields=_VALUES,
    )  # fmt: skip


def _of_minutes(key: BarKey) -> Candle:
    """The bar of a day, built from the bars of its minutes."""
    minutes = Bar.objects.filter(symbol=key.symbol, interval="1m", source=key.source)
    day = minutes.filter(start__gte=key.start, start__lt=key.start + INTERVALS["1d"])
    parts = [_candle(bar) for bar in day.order_by("start")]
    return reduce(Candle.joined, parts) if parts else VOID


def _move(before: Mapping[str, Position], after: Mapping[str, Position]) -> None:
    for symbols in batches(sorted(after), _BATCH):
        rows = RecordedPosition.objects.select_for_update().filter(symbol__in=symbols)
        stored = {row.symbol: Position(row.epoch, row.offset) for row in rows.order_by("symbol")}
        for symbol in symbols:
            if stored.get(symbol) != before.get(symbol):
                raise StaleCheckpoint(symbol)
        moved = [
            RecordedPosition(symbol=symbol, epoch=after[symbol].epoch, offset=after[symbol].offset)
            for symbol in symbols
        ]
        try:
            RecordedPosition.objects.bulk_create([row for row in moved if row.symbol not in stored])
        except IntegrityError as exc:  # another process wrote the first row a moment ago
            raise StaleCheckpoint(symbols[0]) from exc
        RecordedPosition.objects.bulk_update(
            [row for row in moved if row.symbol in stored], ["epoch", "offset"]
        )


def _held(keys: Sequence[BarKey]) -> dict[BarKey, Bar]:
    """Those of these bars that are stored."""
    bars = Bar.objects.filter(
        symbol__in={key.symbol for key in keys}, start__in={key.start for key in keys}
    )
    wanted = set(keys)
    found = {BarKey(bar.symbol, bar.interval, bar.source, bar.start): bar for bar in bars}
    return {key: bar for key, bar in found.items() if key in wanted}


def _joined(bar: Bar | None, candle: Candle) -> Candle:
    if bar is None:
        return candle
    stored = _candle(bar)
    if not stored.sound:
        logger.warning("the bar %s holds an invalid number; it starts over", bar)
        return candle
    return stored.joined(candle)


def _candle(bar: Bar) -> Candle:
    return Candle(
        open=bar.open,
        high=bar.high,
        low=bar.low,
        close=bar.close,
        volume=bar.volume,
        first=bar.first_tick_at,
        last=bar.last_tick_at,
    )


def _bar(key: BarKey, candle: Candle) -> Bar:
    if candle.volume >= LARGEST and key.symbol not in _too_large:
        _too_large.add(key.symbol)
        logger.warning("a volume of %s is beyond what a number holds, and stays there", key.symbol)
    return Bar(
        **key._asdict(),
        open=candle.open,
        high=candle.high,
        low=candle.low,
        close=candle.close,
        volume=candle.volume,
        first_tick_at=candle.first,
        last_tick_at=candle.last,
    )
