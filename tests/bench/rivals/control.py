"""How the benchmark's publisher reaches a server that publishes from inside its own process."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

Publish = Callable[[str, dict[str, Any]], Awaitable[None]]

_server: asyncio.Server | None = None


def update(symbol: str, data: dict[str, Any], offset: int) -> dict[str, Any]:
    """The message that all rivals send: what this project sends, field by field."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
    return {
        "type": "market_data_update", "symbol": symbol, "data": data,
        "timestamp": now, "offset": offset,
    }  # fmt: skip


async def listen(publish: Publish) -> None:
    """Take lines of `[[symbol, data], …]` on CONTROL_PORT; the first call starts it."""
    global _server
    if _server is not None:
        return

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            for symbol, data in json.loads(line):
                await publish(symbol, data)
        writer.close()

    starting = asyncio.start_server(
        serve, "127.0.0.1", int(os.environ["CONTROL_PORT"]), limit=2**20
    )
    _server = await starting
