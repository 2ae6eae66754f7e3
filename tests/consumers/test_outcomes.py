"""Outcomes of predictions, as subscribers hear of them."""

from typing import Any

import pytest
from channels.db import database_sync_to_async as sync_to_async

from realtime.predictions.records import arecord_prediction
from realtime.predictions.resolve import resolve_due
from tests.clients import Open
from tests.predictions.test_resolve import AS_OF, predict, write_days

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("path", ["AAPL", "", "AAPL?wildcard"])
async def test_subscribers_hear_of_an_outcome_once(
    each_layer: str, connect: Open, path: str
) -> None:
    client = await connect(f"/ws/predictions/{path.partition('?')[0]}".rstrip("/"))
    if path != "AAPL":
        await client.ask("subscribe", symbols=["*"])
    row = await sync_to_async(predict)(lower_bound=149, upper_bound=152)
    await sync_to_async(write_days)(151.0, 152.0)
    await sync_to_async(resolve_due)()
    message = await client.until("prediction_outcome")
    del message["timestamp"]
    assert message == {
        "type": "prediction_outcome", "symbol": "AAPL", "prediction_id": str(row.pk),
        "predicted_price": 150.0, "actual_price": 151.0, "error": 1.0, "within_bounds": True,
    }  # fmt: skip
    await client.assert_quiet()


async def test_an_outcome_reaches_sockets_on_a_stock_channel_layer(
    settings: Any, connect: Open
) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    client = await connect("/ws/predictions/AAPL", numbered=False)
    await sync_to_async(predict)()
    await sync_to_async(write_days)(151.0, 152.0)
    await sync_to_async(resolve_due)()
    message = await client.until("prediction_outcome")
    assert (message["actual_price"], message["within_bounds"]) == (151.0, False)


async def test_the_newest_prediction_stays_the_snapshot(connect: Open) -> None:
    await arecord_prediction("AAPL", {"predicted_price": 150, "timestamp": AS_OF.isoformat()})
    await sync_to_async(write_days)(151.0, 152.0)
    await sync_to_async(resolve_due)()
    client = await connect("/ws/predictions/AAPL")
    assert (await client.next())["type"] == "prediction_update"
    await client.assert_quiet()


async def test_the_snapshot_has_the_score_of_the_model(connect: Open) -> None:
    for _ in range(2):
        row = await arecord_prediction("AAPL", {"predicted_price": 150.0, "timestamp": str(AS_OF)})
        await sync_to_async(write_days)(151.0, 152.0)
        await sync_to_async(resolve_due)()
    client = await connect("/ws/predictions/AAPL")
    snapshot = await client.next()
    assert snapshot["snapshot"] is True
    assert snapshot["data"]["prediction_id"] == row.prediction_id
    assert snapshot["data"]["score"].items() >= {"outcomes": 1, "mean_absolute_error": 1}.items()
