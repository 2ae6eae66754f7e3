"""Consumers and workers of somebody else, on the layers of this project."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from channels.consumer import AsyncConsumer
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
)
from channels.layers import get_channel_layer
from channels.routing import ChannelNameRouter
from channels.testing import WebsocketCommunicator
from channels.worker import Worker

from realtime.broadcast import abroadcast_market_data
from tests.patience import PATIENCE

# Consumers of Channels look after database connections when they end.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("each_layer")]
Connect = Callable[[Any], Any]


class Chat(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        await self.channel_layer.group_add("room", self.channel_name)
        await self.accept()

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard("room", self.channel_name)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if text_data == "make":
            work = {"type": "make", "reply": self.channel_name}
            await self.channel_layer.send("thumbnails", work)
        else:
            await self.channel_layer.group_send("room", {"type": "chat.message", "text": text_data})

    async def chat_message(self, event: dict[str, Any]) -> None:
        await self.send(text_data=event["text"])


class Note(JsonWebsocketConsumer):
    groups = ["notes"]

    def receive_json(self, content: Any, **kwargs: Any) -> None:
        async_to_sync(self.channel_layer.group_send)("notes", {"type": "note", "content": content})

    def note(self, event: dict[str, Any]) -> None:
        self.send_json(event["content"])


class Ticker(AsyncJsonWebsocketConsumer):
    groups = ["market-data.AAPL"]

    async def stream_update(self, event: dict[str, Any]) -> None:
        await self.send(text_data=event["text"])

    async def halted(self, event: dict[str, Any]) -> None:
        await self.send_json({"halted": event["reason"]})


class Thumbnails(AsyncConsumer):
    async def make(self, message: dict[str, Any]) -> None:
        await self.channel_layer.send(message["reply"], {"type": "chat.message", "text": "made"})


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """A function that connects to a consumer."""
    opened: list[WebsocketCommunicator] = []

    async def connect(consumer: Any) -> WebsocketCommunicator:
        communicator = WebsocketCommunicator(consumer.as_asgi(), "/")
        opened.append(communicator)
        connected, _ = await communicator.connect(timeout=PATIENCE)
        assert connected
        return communicator

    yield connect
    for communicator in opened:
        await communicator.disconnect(timeout=PATIENCE)


async def text(client: WebsocketCommunicator) -> str:
    received: str = await client.receive_from(timeout=PATIENCE)
    return received


async def test_a_group_reaches_all_of_its_consumers(connect: Connect) -> None:
    one, other = await connect(Chat), await connect(Chat)
    await one.send_to("hello")
    assert await text(one) == await text(other) == "hello"


async def test_a_consumer_that_left_is_in_no_group(connect: Connect) -> None:
    one, other = await connect(Chat), await connect(Chat)
    await other.disconnect(timeout=PATIENCE)
    await one.send_to("hello")
    assert await text(one) == "hello"
    assert await other.receive_nothing()


async def test_a_synchronous_consumer_sends_to_its_groups(connect: Connect) -> None:
    one, other = await connect(Note), await connect(Note)
    await one.send_to('{"note": [1, null]}')
    assert json.loads(await text(one)) == json.loads(await text(other)) == {"note": [1, None]}


async def test_the_group_of_a_stream_takes_messages_of_any_type(connect: Connect) -> None:
    client = await connect(Ticker)
    await abroadcast_market_data("AAPL", {"price": 1})
    assert json.loads(await text(client))["data"] == {"price": 1}
    layer: Any = get_channel_layer()
    await layer.group_send("market-data.AAPL", {"type": "halted", "reason": "news"})
    assert json.loads(await text(client)) == {"halted": "news"}


async def test_a_worker_answers_a_consumer(connect: Connect) -> None:
    client = await connect(Chat)
    await client.send_to("make")
    worker: Any = Worker(
        ChannelNameRouter({"thumbnails": Thumbnails.as_asgi()}), ["thumbnails"], get_channel_layer()
    )
    working = asyncio.create_task(worker.handle())
    assert await text(client) == "made"
    working.cancel()
    await asyncio.wait([working])
