"""Rebuilds the minute of a cancelled or corrected trade from the updates of a stream. Pure."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import reduce

from realtime.bars.candles import Candle, bar_start, tick_candle
from realtime.bars.ticks import InvalidTick, Price, corrected_id, corrected_price, read_price

Said = tuple[Mapping[str, object], datetime]  # the data of an update, and when it was published
_Right = tuple[float | None, float | None]  # price and volume as they should have been


def minute_of(
    id: str, source: str, updates: Sequence[Said], now: datetime, *, whole: bool
) -> tuple[datetime, Candle | None] | None:
    """The first moment of the minute of a trade, and its candle after all corrections.

    `updates`: the stream up to the correction, oldest first; `whole`: there were none before them.
    The candle is None if no trade is left; the result is None if `updates` do not cover the minute.
    """
    trades = list(_trades(source, updates, now))
    moment = next((trade.moment for trade in trades if trade.identity == ("id", id)), None)
    if moment is None:
        return None
    start = bar_start("1m", moment)
    if not whole and trades[0].moment >= start:
        return None
    corrections = dict(_corrections(updates))
    inside = {
        trade.identity: trade for trade in trades if bar_start("1m", trade.moment) == start
    }.values()
    right = [found for trade in inside if (found := _corrected(trade, corrections)) is not None]
    return start, reduce(Candle.joined, map(tick_candle, right)) if right else None


def _trades(source: str, updates: Iterable[Said], now: datetime) -> Iterable[Price]:
    for data, published in updates:
        if corrected_id(data) is not None:
            continue
        try:
            price = read_price(data, published, now)
        except InvalidTick:
            continue
        if price is not None and price.source == source and price.bar_date is None:
            yield price


def _corrections(updates: Iterable[Said]) -> Iterator[tuple[str, _Right]]:
    for data, _ in updates:
        id = corrected_id(data)
        if id is not None:
            with contextlib.suppress(InvalidTick):  # reported when it arrived
                yield id, corrected_price(data["corrects"])


def _corrected(trade: Price, corrections: Mapping[str, _Right]) -> Price | None:
    about = trade.identity[1] if trade.identity and trade.identity[0] == "id" else None
    if not isinstance(about, str) or about not in corrections:
        return trade
    price, volume = corrections[about]
    if price is None:
        return None
    return replace(trade, price=price, volume=trade.volume if volume is None else volume)
