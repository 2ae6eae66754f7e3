"""The engine while Redis is away, and when it comes back with nothing."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from channels.db import database_sync_to_async

from realtime.broadcast import PublishFailed, abroadcast_market_data
from realtime.models import Alert, AlertRule, AlertRuleState
from tests.alerts.test_engine import add_rule, engine, until_followed, until_messages
from tests.clients import wait_for
from tests.conftest import REDIS
from tests.processes import Valkey

__all__ = ["add_rule"]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def redis(tmp_path: Path, settings: Any) -> Iterator[Valkey]:
    """One of this test's own, to be killed."""
    with Valkey(tmp_path / "valkey") as valkey:
        hosts = [valkey.url]
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": REDIS, "CONFIG": {"hosts": hosts}}}
        yield valkey


async def publish_when_possible(price: float) -> None:
    async def published() -> bool:
        try:
            await abroadcast_market_data("AAPL", {"price": price})
        except PublishFailed:
            return False
        return True

    await wait_for(published)


async def test_the_engine_goes_on_when_redis_is_back(
    redis: Valkey, add_rule: Callable[..., AlertRule]
) -> None:
    await database_sync_to_async(add_rule)(message="{price}")
    async with engine():
        await until_followed("AAPL")
        await abroadcast_market_data("AAPL", {"price": 151})
        await until_messages("151")
        redis.kill()
        redis.start()
        for price in (149, 152):
            await publish_when_possible(price)
        await until_messages("151", "152")


async def test_an_alert_that_fires_while_redis_is_away_is_sent_when_it_is_back(
    redis: Valkey, add_rule: Callable[..., AlertRule]
) -> None:
    await database_sync_to_async(add_rule)(**{"for": 2}, message="held")
    async with engine():
        await until_followed("AAPL")
        await abroadcast_market_data("AAPL", {"price": 151})

        async def sent() -> bool:
            return await Alert.objects.exclude(sent_at=None).aexists()

        # Redis itself may forget what it was told in the last second.
        await wait_for(AlertRuleState.objects.aexists)
        redis.kill()
        redis.start()
        await wait_for(sent)
    await until_messages("held")
