"""Servers that speak to a client as an exchange does: on loopback, with messages as recorded.

Binance: `GET /api/v3/exchangeInfo` and the WebSocket streams `<symbol>@trade` and `<symbol>@ticker`
(https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams). Alpaca: the
market-data streams (https://docs.alpaca.markets/docs/streaming-market-data).
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from tests.patience import PATIENCE


class StandIn:
    """What both have in common: sockets that tests send to, and cut."""

    def __init__(self) -> None:
        self.sockets: list[ServerConnection] = []
        self.connections = 0
        self._subscribed = asyncio.Condition()
        self._server: Server | None = None

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = next(iter(self._server.sockets)).getsockname()[1]
        return port

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        options: Any = {"process_request": self.answer}
        async with serve(self._serve, "127.0.0.1", 0, **options) as self._server:
            yield

    async def _serve(self, socket: ServerConnection) -> None:
        try:
            await self.talk(socket)
        finally:
            if socket in self.sockets:
                self.sockets.remove(socket)

    async def answer(self, socket: ServerConnection, request: Request) -> Response | None:
        """An answer to a plain HTTP request; None for a WebSocket."""

    async def talk(self, socket: ServerConnection) -> None:
        raise NotImplementedError

    async def joined(self, socket: ServerConnection) -> None:
        """A client has subscribed."""
        self.sockets.append(socket)
        self.connections += 1
        async with self._subscribed:
            self._subscribed.notify_all()

    async def until_connections(self, count: int) -> None:
        """Until a client has subscribed for the `count`th time."""
        async with asyncio.timeout(PATIENCE), self._subscribed:
            await self._subscribed.wait_for(lambda: self.connections >= count)

    async def send(self, message: Any) -> None:
        text = message if isinstance(message, str) else json.dumps(message)
        for socket in self.sockets:
            await socket.send(text)

    async def cut(self) -> None:
        """Drop the connections as a network does: without a close frame."""
        sockets, self.sockets = self.sockets, []
        for socket in sockets:
            socket.transport.abort()


class Binance(StandIn):
    """Knows BTC/USDT and ETH/USDT."""

    bases = ("BTC", "ETH")

    @property
    def config(self) -> dict[str, Any]:
        """What ccxt's exchange is made with to find this server."""
        http, ws = f"http://127.0.0.1:{self.port}/api/v3", f"ws://127.0.0.1:{self.port}/ws"
        return {
            "urls": {"api": {"public": http, "private": http, "ws": {"spot": ws}}},
            "options": {"fetchMarkets": {"types": ["spot"]}},
            "enableRateLimit": False,
        }

    def __init__(self) -> None:
        super().__init__()
        self.recent: list[dict[str, Any]] = []  # what was traded, as the streams told it

    async def answer(self, socket: ServerConnection, request: Request) -> Response | None:
        if request.path.startswith("/api/v3/exchangeInfo"):
            return _json(_exchange_info(self.bases))
        if request.path.startswith("/api/v3/trades?"):
            symbol = parse_qs(urlsplit(request.path).query)["symbol"][0]
            return _json([_recent(trade) for trade in self.recent if trade["s"] == symbol])
        return None

    async def talk(self, socket: ServerConnection) -> None:
        async for text in socket:
            request = json.loads(text)
            assert request["method"] == "SUBSCRIBE", request
            self.streams = request["params"]
            await socket.send(json.dumps({"result": None, "id": request["id"]}))
            await self.joined(socket)


def _json(body: Any) -> Response:
    text = json.dumps(body).encode()
    headers = Headers({"Content-Type": "application/json", "Content-Length": str(len(text))})
    return Response(HTTPStatus.OK, "OK", headers, text)


def _recent(trade: dict[str, Any]) -> dict[str, Any]:
    """A trade as `GET /api/v3/trades` tells it."""
    return {
        "id": trade["t"], "price": trade["p"], "qty": trade["q"], "quoteQty": "401.80007000",
        "time": trade["T"], "isBuyerMaker": trade["m"], "isBestMatch": True,
    }  # fmt: skip


def binance_trade(id: int, price: str, *, symbol: str = "BTCUSDT", time: int) -> dict[str, Any]:
    """`time`: milliseconds since 1970."""
    return {
        "e": "trade", "E": time + 2, "s": symbol, "t": id, "p": price, "q": "0.00700000",
        "T": time, "m": False, "M": True,
    }  # fmt: skip


def binance_ticker(price: str, *, symbol: str = "BTCUSDT", time: int) -> dict[str, Any]:
    return {
        "e": "24hrTicker", "E": time + 571, "s": symbol, "p": "-120.00000000", "P": "-0.209",
        "w": "57420.11000000", "x": "57520.00000000", "c": price, "Q": "0.10400000",
        "b": "57399.99000000", "B": "4.10400000", "a": "57400.01000000", "A": "0.00100000",
        "o": "57520.00000000", "h": "58000.00000000", "l": "57000.00000000",
        "v": "17351.11900000", "q": "996142012.00000000", "O": time - 86_400_000, "C": time,
        "F": 158251292, "L": 158414513, "n": 163222,
    }  # fmt: skip


def _exchange_info(bases: tuple[str, ...]) -> dict[str, Any]:
    return {
        "timezone": "UTC",
        "serverTime": 1575416692969,
        "rateLimits": [
            {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1,
             "limit": 1200},
        ],
        "exchangeFilters": [],
        "symbols": [_market(base) for base in bases],
    }  # fmt: skip


def _market(base: str) -> dict[str, Any]:
    return {
        "symbol": f"{base}USDT", "status": "TRADING", "baseAsset": base,
        "baseAssetPrecision": 8, "quoteAsset": "USDT", "quotePrecision": 8,
        "baseCommissionPrecision": 8, "quoteCommissionPrecision": 8,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"], "icebergAllowed": True,
        "ocoAllowed": True, "quoteOrderQtyMarketAllowed": True, "allowTrailingStop": False,
        "isSpotTradingAllowed": True, "isMarginTradingAllowed": True,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "0.01000000",
             "maxPrice": "1000000.00000000", "tickSize": "0.01000000"},
            {"filterType": "LOT_SIZE", "minQty": "0.00001000", "maxQty": "9000.00000000",
             "stepSize": "0.00001000"},
        ],
        "permissions": ["SPOT", "MARGIN"],
    }  # fmt: skip


class Alpaca(StandIn):
    """Greets, checks the keys, confirms what is subscribed to."""

    key, secret = "PKTEST0123456789", "secret-of-the-test"

    def __init__(self) -> None:
        super().__init__()
        self.refusals: list[dict[str, Any]] = []  # sent instead of `authenticated`, one by one
        self.paths: list[str] = []
        self.recent: list[dict[str, Any]] = []  # what was traded, as the streams told it
        self.queries: list[dict[str, list[str]]] = []

    async def answer(self, socket: ServerConnection, request: Request) -> Response | None:
        """`GET /v2/stocks/trades`, one trade a page."""
        path = urlsplit(request.path)
        if path.path != "/v2/stocks/trades":
            return None
        assert request.headers["APCA-API-KEY-ID"] == self.key
        assert request.headers["APCA-API-SECRET-KEY"] == self.secret
        query = parse_qs(path.query)
        self.queries.append(query)
        place = int(query.get("page_token", ["0"])[0])
        start = query["start"][0].rstrip("Z")
        trades = [trade for trade in self.recent if trade["t"].rstrip("Z") >= start]
        page = {trade["S"]: [_without_symbol(trade)] for trade in trades[place : place + 1]}
        more = place + 1 < len(trades)
        return _json({"trades": page, "next_page_token": str(place + 1) if more else None})

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    async def talk(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        self.paths.append(socket.request.path)
        await socket.send('[{"T":"success","msg":"connected"}]')
        async for text in socket:
            request = json.loads(text)
            if request["action"] == "auth":
                await socket.send(json.dumps([self._authenticate(request)]))
            else:
                assert request["action"] == "subscribe", request
                answer = {
                    "T": "subscription", "trades": request["trades"], "quotes": [], "bars": [],
                    "updatedBars": [], "dailyBars": [], "statuses": [], "lulds": [],
                    "corrections": request["trades"], "cancelErrors": request["trades"],
                }  # fmt: skip
                await socket.send(json.dumps([answer]))
                await self.joined(socket)

    def _authenticate(self, request: dict[str, Any]) -> dict[str, Any]:
        if self.refusals:
            return self.refusals.pop(0)
        if (request["key"], request["secret"]) != (self.key, self.secret):
            return {"T": "error", "code": 402, "msg": "auth failed"}
        return {"T": "success", "msg": "authenticated"}


def _without_symbol(trade: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in trade.items() if name not in ("T", "S")}


def alpaca_cancel(id: int, price: float, *, time: str) -> dict[str, Any]:
    return {
        "T": "x", "S": "AAPL", "i": id, "x": "D", "p": price, "s": 1, "a": "C", "z": "C", "t": time,
    }  # fmt: skip


def alpaca_correction(
    id: int, before: float, after: float, *, time: str, conditions: str = "@"
) -> dict[str, Any]:
    return {
        "T": "c", "S": "AAPL", "x": "D", "oi": id, "op": before, "os": 1, "oc": ["@"],
        "ci": id + 1000, "cp": after, "cs": 2, "cc": list(conditions), "z": "C", "t": time,
    }  # fmt: skip


def alpaca_trade(
    id: int, price: float, *, symbol: str = "AAPL", time: str, conditions: str = "@I"
) -> dict[str, Any]:
    """`time`: RFC 3339, with nanoseconds."""
    if "/" in symbol:
        return {"T": "t", "S": symbol, "p": price, "s": 0.0143, "t": time, "i": id, "tks": "B"}
    return {
        "T": "t", "i": id, "S": symbol, "x": "D", "p": price, "s": 1, "t": time,
        "c": list(conditions), "z": "C",
    }  # fmt: skip
