"""What the customer ran before, without the framework around it: a loop over the sockets.

`uvicorn tests.bench.rivals.loop_app:app`. Each update is encoded and sent for each socket.
"""

import json
from typing import Any

from tests.bench.rivals import control

sockets: dict[str, dict[Any, None]] = {}
offsets: dict[str, int] = {}


async def send_json(send: Any, message: dict[str, Any]) -> None:
    text = json.dumps(message, separators=(",", ":"), ensure_ascii=False)
    await send({"type": "websocket.send", "text": text})


async def publish(symbol: str, data: dict[str, Any]) -> None:
    offsets[symbol] = offsets.get(symbol, 0) + 1
    message = control.update(symbol, data, offsets[symbol])
    for send in list(sockets.get(symbol, ())):
        await send_json(send, message)


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await control.listen(publish)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await receive()
    await send({"type": "websocket.accept"})
    symbols = scope["path"].rpartition("/")[2].split(",")
    await send_json(send, {"type": "connected", "symbols": symbols})
    for symbol in symbols:
        sockets.setdefault(symbol, {})[send] = None
    while (await receive())["type"] != "websocket.disconnect":
        pass
    for symbol in symbols:
        del sockets[symbol][send]
