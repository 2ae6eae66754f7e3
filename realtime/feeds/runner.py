"""Publishes the ticks of a feed and, at intervals, a prediction for each symbol.

A reader task puts ticks into a short queue; one `abroadcast_many` publishes everything in it. While
the backend is away the queue is full and the reader waits, so a replay pauses.
"""

import asyncio
import logging
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Final

from realtime import broadcast, workers
from realtime.aside import set_aside
from realtime.bars.candles import REMEMBERED
from realtime.bars.ticks import FUTURE, InvalidTick, corrected_price, read_price
from realtime.broadcast import Broadcast, InvalidUpdate, PublishFailed
from realtime.cancelling import cancel, run_until
from realtime.delivery.totals import published_by
from realtime.feeds.csv_bars import FeedError
from realtime.feeds.progress import Progress
from realtime.feeds.ticks import Correction, Feed, Tick
from realtime.predictions.predictors import PredictionFailed
from realtime.predictions.prices import HISTORY, RecentPrices, gathered, market_data
from realtime.predictions.records import stored_data
from realtime.predictions.requests import predict_from
from realtime.retry import Retry, Stopped

logger = logging.getLogger(__name__)

_Arrived = tuple[Tick | Correction, float]


@dataclass(frozen=True, slots=True)
class _Outgoing:
    """A tick that can be published."""

    tick: Tick | Correction
    arrival: float
    data: dict[str, object]
    update: Broadcast

    @property
    def identity(self) -> tuple[object, ...]:
        return _identity(self.tick.symbol, self.data)


# Ticks that the queue holds, and that one publication contains at most.
BATCH: Final = 200


@dataclass(kw_only=True)
class FeedRunner:
    """Runs a feed until it ends or `stop` is set.

    `resume`: continue after the ticks of this feed in the streams. `predict_every`: seconds
    between two predictions of a symbol, None for none. `horizon`: of these predictions, in steps.
    `history` (symbol, limit) returns the newest market data, oldest first. `store` stores a
    prediction and returns the data to publish.
    """

    feed: Feed
    symbols: Sequence[str]
    resume: bool = True
    predict_every: float | None = 5.0
    horizon: int = 5
    report: Callable[[str], None] = logger.info
    report_every: float = 10.0
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    publish: Callable[[Sequence[Broadcast]], Awaitable[object]] = broadcast.abroadcast_many
    history: Callable[[str, int], Awaitable[Sequence[Mapping[str, object]]]] = market_data
    store: Callable[[str, Mapping[str, object]], Awaitable[Mapping[str, object]]] = stored_data
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    def __post_init__(self) -> None:
        self.progress = Progress(self.clock())
        self._prices = {symbol: RecentPrices() for symbol in self.symbols}
        self._queue: asyncio.Queue[tuple[Tick | Correction, float] | None] = asyncio.Queue()
        self._room = asyncio.Semaphore(BATCH)
        self._retry = Retry(self.stop, self.sleep)
        self._predicted: dict[str, str | None] = {}
        self._unpredictable: dict[str, str] = {}
        self._failure: FeedError | None = None
        self._told: set[tuple[str, str]] = set()  # problems already logged: symbol and field
        # Ids of the newest trades of each symbol: a new connection may repeat trades.
        self._ids: dict[str, deque[object]] = defaultdict(partial(deque, maxlen=REMEMBERED))

    async def run(self) -> None:
        """Publish to the end of the feed or until `stop`; raises FeedError."""
        try:
            with published_by("feed"):
                await run_until(self.stop, self._run())
        except* Stopped:
            logger.info("stopped while the backend was away")
        if self._failure:
            raise self._failure

    async def _run(self) -> None:
        after = await self._take_up() if self.resume else {}
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(self._read(after))
            tasks = [reading, group.create_task(self._stop(reading))]
            tasks.append(group.create_task(self._report()))
            if self.predict_every:
                tasks.append(group.create_task(self._predict_all(self.predict_every)))
            try:
                await self._publish_all()
            finally:
                await cancel(*tasks)  # the group itself would do so once

    async def _take_up(self) -> dict[str, datetime]:
        """The last timestamp of each symbol in this feed; also loads the past prices."""
        after: dict[str, datetime] = {}
        for symbol in self.symbols:
            held = await self._retry.until_done(partial(self.history, symbol, HISTORY))
            ours = [data for data in held if data.get("source") == self.feed.source]
            self._ids[symbol].extend(data["trade_id"] for data in ours if "trade_id" in data)
            prices = gathered(ours)
            # A time in the future is ignored: all later ticks would be older.
            if prices.closes and prices.as_of <= datetime.now(UTC) + FUTURE:
                self._prices[symbol] = prices
                after[symbol] = prices.as_of
        return after

    async def _read(self, after: Mapping[str, datetime]) -> None:
        try:
            async with aclosing(self.feed.ticks(self.symbols, after)) as ticks:
                async for tick in ticks:
                    if not self._repeats(tick):
                        await self._room.acquire()
                        self._queue.put_nowait((tick, self.clock()))
        except FeedError as exc:
            self._failure = exc
        finally:
            self._queue.put_nowait(None)  # never waits, or a second cancellation would lose it

    def _repeats(self, tick: Tick | Correction) -> bool:
        if tick.id is None or isinstance(tick, Correction):
            return False
        ids = self._ids[tick.symbol]
        if tick.id in ids:
            return True
        ids.append(tick.id)
        return False

    async def _stop(self, reading: "asyncio.Task[None]") -> None:
        await self.stop.wait()
        await cancel(reading)

    async def _report(self) -> None:
        while True:
            await self.sleep(self.report_every)
            self.report(self.progress.line(self.clock()))

    async def _publish_all(self) -> None:
        """Publish the ticks of the reader, all that are waiting at a time."""
        more = True
        while more:
            workers.step(lag=self.progress.lag, rest=None)  # a market may be closed
            arrived = [await self._queue.get()]
            workers.step()
            while not self._queue.empty():
                arrived.append(self._queue.get_nowait())
            more = arrived[-1] is not None
            items = [item for item in arrived if item]
            for _ in items:
                self._room.release()
            for batch in _batches(items):
                sent = await self._publish(batch)
                now = self.clock()
                workers.did(len(sent))
                for item in sent:
                    if isinstance(item.tick, Tick):
                        self.progress.published(item.tick, now - item.arrival)

    async def _publish(self, arrived: Sequence[_Arrived]) -> list[_Outgoing]:
        """Publish ticks in order, each once, retrying until done; returns the published ones."""
        found = [item for each in arrived if (item := self._outgoing(*each))]
        pending = found
        unsure = False

        async def publish() -> None:
            nonlocal pending, unsure
            if unsure:
                pending = await self._unpublished(pending)
            unsure = True
            await self.publish([item.update for item in pending])

        if found:
            await self._retry.until_done(publish)
        for item in found:
            self._prices[item.tick.symbol].add(item.data)
        return found

    def _outgoing(self, tick: Tick | Correction, arrival: float) -> _Outgoing | None:
        """The tick as an update; None for one that cannot be published, which is logged once."""
        try:
            if tick.symbol not in self._prices:
                raise InvalidTick("symbol", "was not asked for")
            if isinstance(tick, Tick):
                data = _checked(tick)
            elif self._prices[tick.symbol].holds(tick.id):
                corrects = tick.as_data()
                corrected_price(corrects)
                data = self._prices[tick.symbol].corrected_data(corrects)
            else:
                return None  # that trade was never published
            update = broadcast.market_data_update(tick.symbol, data)
            return _Outgoing(tick, arrival, data, update)
        except (InvalidTick, InvalidUpdate) as exc:
            kind, error = exc.field, str(exc)
        except Exception as exc:  # a user's feed may yield anything, such as a text as a price
            kind, error = type(exc).__name__, repr(exc)
        if (tick.symbol, kind) not in self._told:
            self._told.add((tick.symbol, kind))
            logger.warning("a tick of %s is left out: %s", tick.symbol, error)
        return None

    async def _unpublished(self, pending: Sequence[_Outgoing]) -> list[_Outgoing]:
        """The ticks still to publish: a connection may break after the backend accepted all."""
        published: set[tuple[object, ...]] = set()
        for symbol in {item.tick.symbol for item in pending}:
            held = await self.history(symbol, len(pending))
            published.update(_identity(symbol, data) for data in held)
        return [item for item in pending if item.identity not in published]

    async def _predict_all(self, every: float) -> None:
        """Predict one symbol after the other, evenly spread over `every` seconds."""
        while True:
            for symbol in self.symbols:
                await self.sleep(every / len(self.symbols))
                await self._predict(symbol)

    async def _predict(self, symbol: str) -> None:
        prices = self._prices[symbol]
        if not prices.closes or self._predicted.get(symbol) == prices.timestamp:
            return  # no new price since the last prediction
        self._predicted[symbol] = prices.timestamp
        with set_aside(f"the prediction of {symbol}"):
            await self._publish_prediction(symbol, prices)

    async def _publish_prediction(self, symbol: str, prices: RecentPrices) -> None:
        try:
            prediction = await predict_from(symbol, prices, self.horizon)
            # In a thread, and in a task of its own, so that the publication of ticks does not wait.
            data = await self.store(symbol, prediction.as_data())
            await self.publish([broadcast.prediction_update(symbol, data)])
        except PredictionFailed as exc:
            if self._unpredictable.get(symbol) != exc.kind:
                logger.warning("no prediction for %s: %s", symbol, exc)
            self._unpredictable[symbol] = exc.kind
        except PublishFailed:
            pass  # the ticks report the outage; a late prediction is worth nothing
        else:
            self._unpredictable.pop(symbol, None)
            self.progress.predictions += 1


def _batches(arrived: Sequence[_Arrived]) -> Iterator[Sequence[_Arrived]]:
    """Splits before each correction: the trade that it corrects must be published by then."""
    begin = 0
    for place, (tick, _) in enumerate(arrived):
        if isinstance(tick, Correction) and place > begin:
            yield arrived[begin:place]
            begin = place
    if arrived:
        yield arrived[begin:]


def _checked(tick: Tick) -> dict[str, object]:
    now = datetime.now(UTC)
    data = tick.as_data()
    if read_price(data, now, now) is None:
        raise InvalidTick("price", "is missing")
    return data


def _identity(symbol: str, data: Mapping[str, object]) -> tuple[object, ...]:
    # As text: the history may contain data of any shape from other publishers.
    return symbol, str(data.get("timestamp")), str(data.get("trade_id")), str(data.get("corrects"))
