"""Trades or tickers of a crypto exchange, through ccxt (the extra `feeds`).

ccxt's trades have ids; its tickers have the current price and sums of the last 24 hours. Trades
missed between two connections are fetched only from the exchanges in `_RECENT`.
"""

import asyncio
import importlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import ModuleType
from typing import Any, Final, Literal, TypeVar

from realtime.bars.ticks import FUTURE
from realtime.extras import MissingExtra, extra
from realtime.feeds.connections import (
    ConnectionLost,
    Seen,
    SymbolNames,
    merged,
    reconnecting,
    slashed,
)
from realtime.feeds.csv_bars import FeedError
from realtime.feeds.sale_conditions import is_market_price
from realtime.feeds.ticks import Tick

logger = logging.getLogger(__name__)

T = TypeVar("T")
CcxtChannel = Literal["trades", "tickers"]
ExchangeData = Mapping[str, Any]  # a trade or a ticker, as ccxt returns it
# Seconds without any message after which a connection counts as dead. ccxt itself does not notice
# when its reader has died because of a message that it could not parse.
SILENCE: Final = 60.0
# Symbols of one subscription; Binance takes 200.
_GROUP: Final = 100
# ccxt's method that returns the last trades of a market, for exchanges that use the same ids there
# as in their streams: with other ids a trade would be published twice.
_RECENT: Final = {"binance": "public_get_trades", "binanceus": "public_get_trades"}
_RECENT_TRADES: Final = 1000
# For one symbol: `watch_tickers` for several omits bid and ask on some exchanges.
_METHODS: Final = {"trades": "watch_trades", "tickers": "watch_ticker"}


@dataclass(frozen=True, kw_only=True)
class CcxtFeed:
    """`exchange` is the id in ccxt. `config` is passed to its constructor: keys, urls, options.

    Symbols may be written BTC-USD or BTC/USD, and are published as written; `names` overrides the
    exchange's names for them ({"BTC-USD": "BTC/USDT"}).
    """

    exchange: str
    channel: CcxtChannel = "trades"
    names: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, object] = field(default_factory=dict)
    silence: float = SILENCE
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    @property
    def source(self) -> str:
        return f"ccxt:{self.exchange}"

    async def ticks(
        self, symbols: Sequence[str], after: Mapping[str, datetime] | None = None
    ) -> AsyncGenerator[Tick, None]:
        """Ticks as they arrive; raises FeedError. Tickers not newer than `after` are left out."""
        names = SymbolNames.of(symbols, self.names, slashed)
        # This takes seconds: ccxt imports a hundred exchanges.
        pro, errors = await asyncio.to_thread(_load)
        exchange = _make(pro, self.exchange, self.config)
        session = _Session(self, exchange, errors, names, dict(after or {}), Seen(after))
        try:
            items = reconnecting(self.exchange, session.connection, sleep=self.sleep)
            async with aclosing(items) as ticks:
                async for tick in ticks:
                    yield tick
        finally:
            await exchange.close()


def _load() -> tuple[ModuleType, ModuleType]:
    """ccxt.pro and ccxt's errors; raises FeedError if it is not installed."""
    try:
        with extra("feeds", needed_by="--source ccxt"):
            return importlib.import_module("ccxt.pro"), importlib.import_module("ccxt.base.errors")
    except MissingExtra as exc:
        raise FeedError(str(exc)) from exc


def _make(pro: ModuleType, name: str, config: Mapping[str, object]) -> Any:
    if name not in pro.exchanges:
        raise FeedError(
            f"{name!r} is not an exchange that ccxt can watch; choose {', '.join(pro.exchanges)}"
        )
    # Only new trades since the last call: ccxt's default, which `config` could change.
    return getattr(pro, name)({**config, "newUpdates": True})


@dataclass
class _Session:
    """One exchange object, over all its connections."""

    feed: CcxtFeed
    exchange: Any
    errors: ModuleType
    names: SymbolNames
    newest: dict[str, datetime]  # of each symbol's tickers
    seen: Seen

    async def connection(self) -> AsyncGenerator[Tick, None]:
        """Ticks of one connection; raises ConnectionLost and FeedError."""
        try:
            await self._call(self.exchange.load_markets())
            self._check_names()
            fetched = set[str]()
            watching = merged([self._watch(group) for group in self._groups()])
            async with aclosing(watching) as answers:
                async for group, found in answers:
                    ticks = self._read(found)
                    if self.feed.channel == "trades" and group[0] not in fetched:
                        # Not before the stream has begun, so that no trade is lost in between.
                        fetched.add(group[0])
                        ticks = [*await self._missed(group), *ticks]
                    for tick in ticks:
                        self.seen.note(tick)
                        yield tick
        finally:
            # The next connection opens new sockets; the loaded markets are kept.
            await self.exchange.close()

    def _check_names(self) -> None:
        unknown = [
            name if name == symbol else f"{symbol} ({name})"
            for symbol, name in self.names.theirs.items()
            if name not in self.exchange.markets
        ]
        if unknown:
            raise FeedError(
                f"{self.feed.exchange} has no {', '.join(unknown)}; "
                "name what it trades: --map BTC-USD=BTC/USDT"
            )

    def _groups(self) -> list[list[str]]:
        """Groups of names that one call watches."""
        theirs = list(self.names.theirs.values())
        size = _GROUP if self._together else 1
        return [theirs[begin : begin + size] for begin in range(0, len(theirs), size)]

    @property
    def _together(self) -> bool:
        return self.feed.channel == "trades" and self.exchange.has.get("watchTradesForSymbols")

    async def _watch(self, group: list[str]) -> AsyncGenerator[tuple[list[str], object], None]:
        """Names, each time with ccxt's answer for them.

        Call without pause: updates between two calls are returned together with later ones.
        """
        method = getattr(self.exchange, _METHODS[self.feed.channel])
        while True:
            if self._together:
                yield group, await self._call(self.exchange.watch_trades_for_symbols(group))
            else:
                yield group, await self._call(method(group[0]))

    async def _missed(self, group: list[str]) -> list[Tick]:
        """The trades since the last tick; a duplicate is recognised by its id."""
        call = _RECENT.get(self.feed.exchange)
        ticks: list[Tick] = []
        for name in group if call else []:
            since = self.seen.missed_since(self.names.ours[name], datetime.now(UTC))
            if since is None:
                continue
            market = self.exchange.market(name)
            request = {"symbol": market["id"], "limit": _RECENT_TRADES}
            try:
                answer = await self._call(getattr(self.exchange, str(call))(request))
            except ConnectionLost as exc:
                logger.warning("missed trades of %s not fetched: %s", name, exc)
                continue
            try:
                trades = self._read(self.exchange.parse_trades(answer, market))
            except Exception as exc:  # ccxt may raise anything for an unexpected answer
                logger.warning("missed trades of %s not understood: %r", name, exc)
                continue
            ticks += [tick for tick in trades if tick.timestamp >= since]
        return sorted(ticks, key=lambda tick: tick.timestamp)

    async def _call(self, call: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self.feed.silence):
                return await call
        except TimeoutError as exc:
            raise ConnectionLost(f"nothing came for {self.feed.silence:g} s") from exc
        except (self.errors.AuthenticationError, self.errors.NotSupported) as exc:
            raise FeedError(f"{self.feed.exchange}: {_short(exc)}") from exc
        except (self.errors.BaseError, OSError) as exc:
            raise ConnectionLost(_short(exc)) from exc

    def _read(self, found: Any) -> list[Tick]:
        if self.feed.channel == "trades":
            trades = found if isinstance(found, list) else []
            ticks = [self._tick(trade, self._trade) for trade in trades]
        else:
            ticks = [self._tick(found, self._ticker)]
        return [tick for tick in ticks if tick is not None]

    def _tick(self, item: ExchangeData, read: Callable[[ExchangeData], Tick | None]) -> Tick | None:
        try:
            return read(item)
        except (LookupError, TypeError, AttributeError, ValueError, OverflowError, OSError) as exc:
            logger.warning("%s sent an invalid tick (%r): %.200r", self.feed.exchange, exc, item)
            return None

    def _trade(self, trade: ExchangeData) -> Tick | None:
        symbol = self.names.ours.get(trade["symbol"])
        if symbol is None or not is_market_price(self.feed.exchange, trade.get("info")):
            return None
        id = trade.get("id")
        return Tick(
            symbol=symbol,
            price=float(trade["price"]),
            volume=float(trade["amount"]),
            timestamp=_moment(trade["timestamp"]),
            source=self.feed.source,
            id=None if id is None else str(id),
        )

    def _ticker(self, ticker: ExchangeData) -> Tick | None:
        symbol = self.names.ours.get(ticker["symbol"])
        price = ticker.get("last")
        if symbol is None or price is None:
            return None
        # Some exchanges send no time; the present is used.
        said = ticker.get("timestamp")
        moment = datetime.now(UTC) if said is None else _moment(said)
        newest = self.newest.get(symbol)
        if newest is not None and moment <= newest:
            return None  # repeated at the start of a connection
        if moment > datetime.now(UTC) + FUTURE:
            raise ValueError("its time is in the future")
        self.newest[symbol] = moment
        return Tick(
            symbol=symbol,
            price=float(price),
            volume=None,
            timestamp=moment,
            source=self.feed.source,
            previous_close=_optional(ticker.get("open")),
            bid=_optional(ticker.get("bid")),
            ask=_optional(ticker.get("ask")),
            volume_24h=_optional(ticker.get("baseVolume")),
        )


def _moment(milliseconds: float) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _optional(value: float | str | None) -> float | None:
    return None if value is None else float(value)


def _short(error: BaseException) -> str:
    """The first line, shortened for a terminal: some exchanges answer with a web page."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]
