"""The event of a stream that goes quiet: once for each silence, even if processes are killed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from channels.db import database_sync_to_async
from channels.layers import get_channel_layer
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from realtime.broadcast import abroadcast_market_data, abroadcast_prediction_update
from realtime.delivery import staleness as delivery
from realtime.delivery.follow import FreshnessChange
from realtime.models import Silence, WebhookDelivery, WebhookEndpoint
from realtime.streams import Stream
from realtime.webhooks.stale_streams import run_freshness, tell
from tests import personas
from tests.clients import wait_for
from tests.delivery.updates import AAPL
from tests.patience import PATIENCE

pytestmark = pytest.mark.django_db(transaction=True)
EXPECTED = 0.2
LAST = datetime(2024, 1, 2, 12, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _quick(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.REALTIME_EXPECTED_INTERVAL = {"market-data": EXPECTED, "predictions": EXPECTED}
    monkeypatch.setattr(delivery, "TICK", 0.02)


@pytest.fixture
def _endpoint() -> None:
    WebhookEndpoint.objects.create(
        owner=personas.alice(), url="https://example.com/hook", events=["stream_stale"]
    )


@pytest.fixture
async def layer(each_layer: str) -> AsyncIterator[None]:
    yield
    await get_channel_layer().flush()  # type: ignore[union-attr]


@contextlib.asynccontextmanager
async def watching() -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(run_freshness(stop))
    yield
    stop.set()
    await asyncio.wait_for(task, PATIENCE)


@database_sync_to_async
def silences() -> list[str]:
    return [f"{row.channel} {row.symbol}" for row in Silence.objects.order_by("channel", "symbol")]


async def until_silences(*expected: str) -> None:
    async def found() -> bool:
        return await silences() == list(expected)

    await wait_for(found)


@pytest.mark.usefixtures("layer", "_endpoint")
async def test_a_stream_that_goes_quiet_is_an_event() -> None:
    await abroadcast_market_data("AAPL", {"price": 1})
    await abroadcast_prediction_update("AAPL", {"predicted_price": 1})
    async with watching():
        await until_silences("market-data AAPL", "predictions AAPL")
    delivery = await WebhookDelivery.objects.filter(body__contains="market-data").aget()
    assert (delivery.event, delivery.symbol) == ("stream_stale", "AAPL")
    assert f'"expected_every":{EXPECTED}' in delivery.body


@pytest.mark.usefixtures("layer", "_endpoint")
async def test_each_silence_is_one_event() -> None:
    async with watching():
        for number in (1, 2):
            await abroadcast_market_data("AAPL", {"price": number})

            async def told(number: int = number) -> bool:
                return await WebhookDelivery.objects.acount() == number

            await wait_for(told)
        await asyncio.sleep(2 * EXPECTED)
    assert await WebhookDelivery.objects.acount() == 2


@pytest.mark.usefixtures("layer", "_endpoint")
async def test_one_that_starts_again_does_not_repeat_the_event() -> None:
    await abroadcast_market_data("AAPL", {"price": 1})
    for _ in range(2):
        async with watching():
            await until_silences("market-data AAPL")
            await asyncio.sleep(2 * EXPECTED)
    assert await WebhookDelivery.objects.acount() == 1


@pytest.mark.usefixtures("layer")
async def test_a_stream_that_goes_on_is_none() -> None:
    async with watching():
        for number in range(1, 20):
            await abroadcast_market_data("AAPL", {"price": number})
            await asyncio.sleep(EXPECTED / 5)
        assert await silences() == []


def status(last: datetime, stream: Stream = AAPL) -> FreshnessChange:
    return FreshnessChange(stream, stale=True, last_update=last, expected_every=5.0)


@pytest.mark.usefixtures("_endpoint")
@pytest.mark.parametrize(("seconds", "events"), [(0, 1), (1, 1), (10, 2)])
def test_a_silence_is_known_by_its_last_update(seconds: int, events: int) -> None:
    assert tell(status(LAST))
    assert tell(status(LAST + timedelta(seconds=seconds))) is (events == 2)
    assert WebhookDelivery.objects.count() == events


async def test_a_layer_without_streams_is_refused(settings: Settings) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    with pytest.raises(ImproperlyConfigured, match="this project's channel layers"):
        await run_freshness(asyncio.Event())
