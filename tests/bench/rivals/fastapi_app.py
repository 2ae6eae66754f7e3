"""What the customer ran before: FastAPI, a connection manager, `send_json` in a loop.

`uvicorn tests.bench.rivals.fastapi_app:app`.
"""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, WebSocket, WebSocketDisconnect  # type: ignore[import-not-found]

from tests.bench.rivals import control

sockets: dict[str, dict[WebSocket, None]] = {}
offsets: dict[str, int] = {}


async def publish(symbol: str, data: dict[str, Any]) -> None:
    offsets[symbol] = offsets.get(symbol, 0) + 1
    message = control.update(symbol, data, offsets[symbol])
    for websocket in list(sockets.get(symbol, ())):
        await websocket.send_json(message)


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    await control.listen(publish)
    yield


app = FastAPI(lifespan=lifespan)


@app.websocket("/ws/market-data/{names}")
async def market_data(websocket: WebSocket, names: str) -> None:
    await websocket.accept()
    symbols = names.split(",")
    await websocket.send_json({"type": "connected", "symbols": symbols})
    for symbol in symbols:
        sockets.setdefault(symbol, {})[websocket] = None
    try:
        while True:
            await websocket.receive_text()
    except WebSocketDisconnect:
        for symbol in symbols:
            sockets[symbol].pop(websocket, None)
