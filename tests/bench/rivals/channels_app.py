"""Plain Channels, as its tutorial has it: a JSON consumer, a group per symbol, a stock layer."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.bench.rivals.channels_settings")
django.setup()

from typing import Any  # noqa: E402

from channels.generic.websocket import AsyncJsonWebsocketConsumer  # noqa: E402
from channels.layers import get_channel_layer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.urls import re_path  # noqa: E402

from tests.bench.rivals import control  # noqa: E402

offsets: dict[str, int] = {}


async def publish(symbol: str, data: dict[str, Any]) -> None:
    offsets[symbol] = offsets.get(symbol, 0) + 1
    layer: Any = get_channel_layer()
    await layer.group_send(
        symbol,
        {"type": "market.data", "message": control.update(symbol, data, offsets[symbol])},
    )


class MarketDataConsumer(AsyncJsonWebsocketConsumer):
    async def connect(self) -> None:
        self.symbols = self.scope["url_route"]["kwargs"]["symbols"].split(",")
        for symbol in self.symbols:
            await self.channel_layer.group_add(symbol, self.channel_name)
        await self.accept()
        await self.send_json({"type": "connected", "symbols": self.symbols})
        if "CONTROL_PORT" in os.environ:  # daphne has no lifespan to start it in
            await control.listen(publish)

    async def disconnect(self, code: int) -> None:
        for symbol in self.symbols:
            await self.channel_layer.group_discard(symbol, self.channel_name)

    async def market_data(self, event: dict[str, Any]) -> None:
        await self.send_json(event["message"])


application = ProtocolTypeRouter(
    {
        "websocket": URLRouter(
            [re_path(r"^ws/market-data/(?P<symbols>.+)$", MarketDataConsumer.as_asgi())]
        )
    }
)
