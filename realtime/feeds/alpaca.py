"""Trades of US shares and of crypto from Alpaca's market-data streams, spoken over `websockets`.

The protocol: https://docs.alpaca.markets/docs/streaming-market-data. The server greets, the client
sends its keys and its subscriptions; every message is a JSON list of objects, each with its type in
`T`. Trades missed while there was no connection are fetched from the REST API, with the same ids.
"""

import asyncio
import json
import logging
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedOK, WebSocketException

from realtime.feeds.alpaca_messages import AlpacaMessage, Trades, read_moment
from realtime.feeds.connections import (
    ConnectionLost,
    Seen,
    SymbolNames,
    merged,
    reconnecting,
    slashed,
)
from realtime.feeds.csv_bars import FeedError
from realtime.feeds.doubt import Doubt
from realtime.feeds.ticks import Correction, Tick

logger = logging.getLogger(__name__)

CRYPTO: Final = "/v1beta3/crypto/us"
# Pages of 10,000 trades that are fetched after a gap between two connections.
_MAX_PAGES: Final = 10
# Largest message in bytes: when a market opens, Alpaca sends thousands of trades at once.
_MAX_FRAME: Final = 16 * 1024 * 1024
# Seconds for each answer of the server during the handshake.
_PATIENCE: Final = 10.0
# Errors that a retry would not fix: syntax, keys, symbol limit, no access, subscription.
_PERMANENT: Final = frozenset({400, 401, 402, 403, 405, 408, 409, 410})


@dataclass(frozen=True, kw_only=True)
class AlpacaFeed:
    """`feed` is the feed of shares: iex, sip, delayed_sip or test. `url` has no path.

    A symbol with a dash or a slash is a crypto pair (BTC-USD), any other symbol a share; `names`
    overrides Alpaca's names for symbols ({"BRK-B": "BRK.B"}).
    """

    key: str = field(repr=False)
    secret: str = field(repr=False)
    feed: str = "iex"
    url: str = "wss://stream.data.alpaca.markets"
    rest_url: str = "https://data.alpaca.markets"
    names: Mapping[str, str] = field(default_factory=dict)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    @property
    def source(self) -> str:
        return f"alpaca:{self.feed}"

    async def ticks(
        self, symbols: Sequence[str], after: Mapping[str, datetime] | None = None
    ) -> AsyncGenerator[Tick | Correction, None]:
        """Ticks as trades arrive, with the ids of the trades; raises FeedError."""
        if not (self.key and self.secret):
            raise FeedError(
                "--source alpaca needs ALPACA_API_KEY and ALPACA_SECRET_KEY in the environment"
            )
        names = SymbolNames.of(symbols, self.names, slashed)
        crypto = [name for name in names.theirs.values() if "/" in name]
        shares = [name for name in names.theirs.values() if "/" not in name]
        paths = {f"/v2/{self.feed}": shares, CRYPTO: crypto}
        seen = Seen(after)
        sources = [
            self._source(path, wanted, names, seen) for path, wanted in paths.items() if wanted
        ]
        async with aclosing(merged(sources)) as ticks:
            async for tick in ticks:
                if isinstance(tick, Tick):
                    seen.note(tick)
                yield tick

    def _source(
        self, path: str, wanted: list[str], names: SymbolNames, seen: Seen
    ) -> AsyncGenerator[Tick | Correction, None]:
        def connection() -> AsyncGenerator[Tick | Correction, None]:
            return self._connection(path, wanted, names, seen)

        return reconnecting(f"Alpaca ({path})", connection, sleep=self.sleep)

    async def _connection(
        self, path: str, wanted: list[str], names: SymbolNames, seen: Seen
    ) -> AsyncGenerator[Tick | Correction, None]:
        """Trades of one connection; raises ConnectionLost and FeedError."""
        try:
            opened = connect(self.url + path, open_timeout=_PATIENCE, max_size=_MAX_FRAME)
            async with opened as socket:
                await _expect(socket, "connected")
                keys = {"action": "auth", "key": self.key, "secret": self.secret}
                await socket.send(json.dumps(keys))
                await _expect(socket, "authenticated")
                await socket.send(json.dumps({"action": "subscribe", "trades": wanted}))
                # Trades of crypto are never cancelled.
                doubt = Doubt(far=math.inf) if path == CRYPTO else Doubt()
                trades = Trades(names, self.source, doubt)
                async for text in _messages(socket, doubt):
                    for due in doubt.due():
                        yield due
                    for item in _items(text):
                        _check(item)
                        if item.get("T") == "subscription":
                            # The stream has begun, so no trade is lost between the fetched trades
                            # and the stream.
                            for missed in await self._missed(path, wanted, trades, seen):
                                yield missed
                        for tick in trades.read(item):
                            yield tick
        except (OSError, TimeoutError, WebSocketException) as exc:
            raise ConnectionLost(str(exc) or type(exc).__name__) from exc
        raise ConnectionLost("the server closed it")

    async def _missed(
        self, path: str, wanted: list[str], trades: Trades, seen: Seen
    ) -> list[Tick | Correction]:
        """The trades since the last tick of each symbol, in order of time."""
        now = datetime.now(UTC)
        since = {name: seen.missed_since(trades.names.ours[name], now) for name in wanted}
        known = {name: moment for name, moment in since.items() if moment is not None}
        if not known:
            return []
        try:
            found = await self._fetch(path, known)
        except (
            httpx.HTTPError,
            LookupError,
            TypeError,
            ValueError,
            AttributeError,
            OverflowError,
            RecursionError,
        ) as exc:
            logger.warning("missed trades not fetched from Alpaca: %r", exc)
            return []
        found.sort(key=lambda pair: read_moment(pair[1]["t"]))
        ticks = [trades.missed({"S": name, **trade}) for name, trade in found]
        return [tick for tick in ticks if tick is not None]

    async def _fetch(
        self, path: str, since: Mapping[str, datetime]
    ) -> list[tuple[str, AlpacaMessage]]:
        """Trades by name, from the earliest of these times on; raises httpx.HTTPError."""
        where = f"{CRYPTO}/trades" if path == CRYPTO else "/v2/stocks/trades"
        query = {
            "symbols": ",".join(since),
            "start": min(since.values()).isoformat().replace("+00:00", "Z"),
            "limit": "10000",
            **({} if path == CRYPTO else {"feed": self.feed}),
        }
        keys = {"APCA-API-KEY-ID": self.key, "APCA-API-SECRET-KEY": self.secret}
        found: list[tuple[str, AlpacaMessage]] = []
        async with httpx.AsyncClient(timeout=_PATIENCE, headers=keys) as client:
            for _ in range(_MAX_PAGES):
                answer = await client.get(self.rest_url + where, params=query)
                page = answer.raise_for_status().json()
                for name, trades in (page["trades"] or {}).items():
                    found += [(name, trade) for trade in trades]
                if not page.get("next_page_token"):
                    break
                query["page_token"] = page["next_page_token"]
        return [(name, trade) for name, trade in found if read_moment(trade["t"]) >= since[name]]


async def _expect(socket: ClientConnection, word: str) -> None:
    """Wait for `[{"T": "success", "msg": word}]`."""
    async with asyncio.timeout(_PATIENCE):
        async for text in socket:
            for item in _items(text):
                _check(item)
                if item.get("T") == "success" and item.get("msg") == word:
                    return
    raise ConnectionLost(f"closed before it was {word}")


async def _messages(socket: ClientConnection, doubt: Doubt) -> AsyncGenerator[str | bytes, None]:
    """The messages of the server; an empty list when a held trade is due."""
    while True:
        try:
            async with asyncio.timeout(doubt.wait):
                text = await socket.recv()
        except TimeoutError:
            text = "[]"
        except ConnectionClosedOK:
            return
        yield text


def _items(text: str | bytes) -> list[AlpacaMessage]:
    """The objects of one message; an item that is not an object is logged and left out."""
    try:
        items = json.loads(text)
    except (ValueError, RecursionError):
        items = None
    if not isinstance(items, list):
        logger.warning("Alpaca sent something other than a list of messages: %.200r", text)
        return []
    return [item for item in items if isinstance(item, dict)]


def _check(item: AlpacaMessage) -> None:
    """Raise what an error message of the server means: FeedError or ConnectionLost."""
    if item.get("T") != "error":
        return
    text = f"Alpaca says: {item.get('msg')} ({item.get('code')})"
    if item.get("code") not in _PERMANENT:
        raise ConnectionLost(text)
    if item.get("code") in (401, 402):
        text += "; check ALPACA_API_KEY and ALPACA_SECRET_KEY"
    raise FeedError(text)
