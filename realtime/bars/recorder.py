"""The recorder: reads all market data and writes bars.

It reads from the stored positions, and writes bars and positions in one transaction, about once a
second. While the database is away it continues to gather; while Redis is away it waits.
"""

import asyncio
import contextlib
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Final, TypeVar

from django.db import Error as DatabaseError

from realtime import workers
from realtime.bars.candles import BarKey, BarSeries, Candle, Candles
from realtime.bars.store import StaleCheckpoint, load_positions, store
from realtime.bars.ticks import InvalidTick, Price, corrected_id, corrected_price, read_price
from realtime.cancelling import cancel, run_until
from realtime.conf import conf
from realtime.db import in_database
from realtime.delivery.follow import Lost, subscribe
from realtime.delivery.layers import StreamLayer, required_layer
from realtime.delivery.publisher import BackendUnavailable
from realtime.delivery.updates import Update, age_of
from realtime.feeds.rebuilding import minute_of
from realtime.protocol import Position, update_time
from realtime.retry import Retry, Stopped, set_within
from realtime.streams import WILDCARD, Channel, Stream

logger = logging.getLogger(__name__)

T = TypeVar("T")
CHANNEL: Final[Channel] = "market-data"
FLUSH_SECONDS: Final = 1.0
# Symbols in one transaction: SQLite has one writer, and others wait for it.
SLICE: Final = 30
# Seconds between two of them, at most.
SLICE_SECONDS: Final = 0.05
# Seconds until the positions are read again after another process has moved them.
_OVERTAKEN_SECONDS: Final = 1.0


async def run_recorder(
    stop: asyncio.Event,
    *,
    flush_every: float = FLUSH_SECONDS,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> None:
    """Record until `stop` is set. Raises ImproperlyConfigured with a layer without streams."""
    begin = partial(_Session, stop, required_layer(), flush_every, now, set())
    await run_until(stop, _record(stop, begin))


async def _record(stop: asyncio.Event, begin: "Callable[[], _Session]") -> None:
    while not stop.is_set():
        try:
            await begin().run()
        except Stopped:
            return
        except StaleCheckpoint as exc:
            logger.warning("%s; going on from there", exc)
            await set_within(stop, _OVERTAKEN_SECONDS)


@dataclass
class _Session:
    """One run of reading the streams, starting at the stored positions."""

    stop: asyncio.Event
    layer: StreamLayer
    flush_every: float
    now: Callable[[], datetime]
    told: set[tuple[str, str]]  # problems already logged: symbol and field, or kind of error
    candles: Candles = field(default_factory=Candles)
    stored: dict[str, Position] = field(default_factory=dict)
    positions: dict[str, Position] = field(default_factory=dict)
    newest: Update | None = None  # of those read since the last write

    async def run(self) -> None:
        """Read and write until `stop`; raises StaleCheckpoint and Stopped."""
        self.stored = await self._wait_out(in_database(load_positions))
        self.positions = dict(self.stored)
        reading = asyncio.create_task(self._read())
        try:
            while not (self.stop.is_set() or reading.done()):
                await self._flush()
                workers.step(lag=self._lag())
                await set_within(self.stop, self.flush_every)
        finally:
            await cancel(reading)
        if not reading.cancelled():
            reading.result()
        await self._flush()

    def _lag(self) -> float | None:
        """Seconds by which the newest update that was written had been published before."""
        newest, self.newest = self.newest, None
        return 0.0 if newest is None else age_of(newest)

    # Reading ----------------------------------------------------------------------------------

    async def _read(self) -> None:
        for stream in await self._wait_out(partial(self.layer.find_streams, CHANNEL)):
            await self._catch_up(stream)
        since = {Stream(CHANNEL, symbol): place for symbol, place in self.positions.items()}
        async with aclosing(subscribe([Stream(CHANNEL, WILDCARD)], since)) as items:
            async for item in items:
                if isinstance(item, Lost):
                    self._lost(item)
                else:
                    await self._count(item)

    async def _catch_up(self, stream: Stream) -> None:
        """Read everything that the history still holds, which is far more than one resume gives."""
        length = conf.REALTIME_HISTORY_LENGTH[CHANNEL]
        page = await self._wait_out(partial(self.layer.read_newest, stream, length))
        before = self.positions.get(stream.symbol)
        known = page.known(before)
        updates = page.after(before)
        for update in page.updates[: -len(updates) or None]:
            self._remember(update)
        if before is not None and page.offset - known > len(updates):
            first = updates[0].offset if updates else page.offset + 1
            self._lost(Lost(stream, known + 1, first - 1, page.epoch))
        for update in updates:
            await self._count(update)

    def _lost(self, lost: Lost) -> None:
        logger.warning(
            "updates %d to %d of %s are no longer held: they are missing from its bars",
            lost.first, lost.last, lost.stream.symbol,
        )  # fmt: skip
        self.positions[lost.stream.symbol] = Position(lost.epoch, lost.last)

    async def _count(self, update: Update) -> None:
        self.newest = update
        try:
            id = corrected_id(update.data)
            if id is not None:
                await self._correct(update, id)
            else:
                self._take(update, self.candles.add)
        except Stopped:
            raise
        except InvalidTick as exc:
            self._tell(
                update.stream.symbol,
                exc.field,
                "an update of %s does not count towards a bar: %s",
                exc,
            )
        except Exception as exc:  # publishers may send anything; the other updates still count
            kind = type(exc).__name__
            self._tell(
                update.stream.symbol, kind, "an update of %s does not count towards a bar: %r", exc
            )
        self.positions[update.stream.symbol] = Position(update.epoch, update.offset)
        workers.did(1)

    async def _correct(self, update: Update, id: str) -> None:
        """Rebuild the bars that contain a cancelled or corrected trade.

        Raises InvalidTick.
        """
        corrected_price(update.data["corrects"])
        length = conf.REALTIME_HISTORY_LENGTH[CHANNEL]
        page = await self._wait_out(partial(self.layer.read_newest, update.stream, length))
        held = [each for each in page.updates if each.offset <= update.offset]
        said = [(each.data, update_time(each.body)) for each in held]
        source = str(update.data.get("source") or "")
        whole = bool(held) and held[0].offset == 1
        found = minute_of(id, source, said, self.now(), whole=whole)
        if found is None:
            raise InvalidTick("corrects", f"its history does not hold the minute of trade {id}")
        self.candles.rebuild(BarSeries(update.stream.symbol, source), *found)

    def _remember(self, update: Update) -> None:
        """Remember an update that the bars already contain, to recognise its repetition."""
        with contextlib.suppress(Exception):  # it is in no bar, which was logged when it arrived
            self._take(update, self.candles.see)

    def _take(self, update: Update, use: Callable[[str, Price], object]) -> None:
        price = read_price(update.data, update_time(update.body), self.now())
        if price is not None and corrected_id(update.data) is None:
            use(update.stream.symbol, price)

    def _tell(self, symbol: str, kind: str, text: str, error: Exception) -> None:
        if (symbol, kind) not in self.told:
            self.told.add((symbol, kind))
            logger.warning(text, symbol, error)

    # Writing ----------------------------------------------------------------------------------

    async def _flush(self) -> None:
        """Write what was gathered; raises StaleCheckpoint and Stopped."""
        after = _changed(self.stored, self.positions)
        if not after:
            return
        candles: defaultdict[str, dict[BarKey, Candle]] = defaultdict(dict)
        for key, candle in self.candles.take().items():
            candles[key.symbol][key] = candle
        places = list(after.items())
        for begin in range(0, len(places), SLICE):
            part = dict(places[begin : begin + SLICE])
            began = time.monotonic()
            own = {key: candle for symbol in part for key, candle in candles[symbol].items()}
            await self._store_slice(own, part)
            workers.step()
            if len(part) == SLICE:  # as much time for other writers
                await asyncio.sleep(min(time.monotonic() - began, SLICE_SECONDS))

    async def _store_slice(
        self, candles: Mapping[BarKey, Candle], after: Mapping[str, Position]
    ) -> None:
        try:
            await self._store(candles, after)
        except (StaleCheckpoint, Stopped):
            raise
        except Exception:  # perhaps only one symbol is affected
            for symbol, place in after.items():
                await self._store_alone(symbol, place, candles)

    async def _store_alone(
        self, symbol: str, place: Position, candles: Mapping[BarKey, Candle]
    ) -> None:
        """Write the bars of one symbol, or skip it and log the error."""
        own = {key: candle for key, candle in candles.items() if key.symbol == symbol}
        try:
            await self._store(own, {symbol: place})
        except (StaleCheckpoint, Stopped):
            raise
        except Exception as exc:
            self._tell(symbol, type(exc).__name__, "bars of %s cannot be stored: %r", exc)
            await self._store({}, {symbol: place})

    async def _store(self, candles: Mapping[BarKey, Candle], after: Mapping[str, Position]) -> None:
        before = {symbol: self.stored[symbol] for symbol in after if symbol in self.stored}
        await self._wait_out(in_database(partial(store, candles, before, after)))
        self.stored.update(after)

    async def _wait_out(self, operation: Callable[[], Awaitable[T]]) -> T:
        retry = Retry(self.stop, outages=(DatabaseError, BackendUnavailable))
        return await retry.until_done(operation)


def _changed(before: Mapping[str, Position], after: Mapping[str, Position]) -> dict[str, Position]:
    return {name: place for name, place in after.items() if before.get(name) != place}
