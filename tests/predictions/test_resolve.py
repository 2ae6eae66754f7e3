"""Outcomes in the database: once each, with the score, the webhook and the word to the sockets."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from channels.db import database_sync_to_async as sync_to_async
from django.db import connection
from django.utils import timezone

from realtime.broadcast import PublishFailed
from realtime.models import (
    Bar,
    PredictionScore,
    StoredPrediction,
    WebhookDelivery,
    WebhookEndpoint,
)
from realtime.predictions.resolve import Pass, resolve_all, resolve_due, run_outcomes
from realtime.predictions.storage import store_prediction
from tests import personas
from tests.clients import wait_for
from tests.conftest import REDIS
from tests.patience import PATIENCE, scaled
from tests.processes import process_environment

pytestmark = pytest.mark.django_db(transaction=True)

AS_OF = datetime(2008, 1, 2, 16, 40, tzinfo=UTC)


def predict(price: float = 150.0, *, symbol: str = "AAPL", **data: Any) -> StoredPrediction:
    fields = {"predicted_price": price, "timestamp": AS_OF.isoformat(), "model": "m", **data}
    return store_prediction(symbol, fields).row


def write_days(*closes: float, symbol: str = "AAPL", source: str = "", first: int = 1) -> None:
    """Daily bars from the day after AS_OF on."""
    for number, close in enumerate(closes, start=first):
        Bar.objects.update_or_create(
            symbol=symbol, interval="1d", source=source,
            start=AS_OF.replace(hour=0, minute=0) + timedelta(days=number),
            defaults={"open": close, "high": close, "low": close, "close": close},
        )  # fmt: skip


def look_again(hours: int = 1) -> Pass:
    """A pass as it would be some time later."""
    return resolve_due(timezone.now() + timedelta(hours=hours))


def test_an_outcome_is_stored_with_its_error_and_bounds() -> None:
    row = predict(150.0, lower_bound=149, upper_bound=152)
    write_days(151.0, 152.0)
    assert resolve_due() == Pass(1, 1)
    row.refresh_from_db()
    assert (row.actual_price, row.error, row.within_bounds) == (151.0, 1.0, True)
    assert row.announced_at is not None


def test_a_price_that_is_not_known_yet_is_looked_for_later() -> None:
    row = predict(horizon=2)
    write_days(151.0, 152.0)
    assert resolve_due() == Pass(1, 0)
    assert resolve_due() == Pass(0, 0)
    write_days(153.0, first=3)
    assert look_again() == Pass(1, 1)
    row.refresh_from_db()
    assert row.actual_price == 152.0


def test_bars_from_before_the_prediction_tell_nothing() -> None:
    write_days(151.0, 152.0, 153.0)
    predict()
    assert look_again() == Pass(1, 0)
    write_days(160.0, 161.0)  # the next lap
    assert look_again(hours=2) == Pass(1, 1)
    assert StoredPrediction.objects.get().actual_price == 160.0


def test_bars_of_another_source_are_not_looked_at() -> None:
    predict(source="replay")
    write_days(1.0, 1.0, source="ccxt:binance")
    assert resolve_due() == Pass(1, 0)


def test_a_prediction_without_source_is_measured_by_the_source_written_last() -> None:
    predict()
    write_days(1.0, 1.0, source="old")
    write_days(151.0, 152.0, source="replay")
    assert resolve_due() == Pass(1, 1)
    assert StoredPrediction.objects.get().actual_price == 151.0


def test_a_prediction_of_single_updates_has_no_outcome() -> None:
    predict(step="update")
    write_days(1.0, 1.0)
    assert look_again() == Pass(0, 0)


def test_the_score_looks_back_on_the_last_outcomes(settings: Any) -> None:
    settings.REALTIME_SCORE_WINDOW = 2
    for price in (100.0, 150.0, 153.0):
        predict(price, last_price=149.0, lower_bound=price - 1, upper_bound=price + 1,
                confidence=0.9)  # fmt: skip
    write_days(151.0, 152.0)
    assert resolve_all() == 3
    score = PredictionScore.objects.get()
    assert (score.symbol, score.model, score.outcomes) == ("AAPL", "m", 2)
    assert (score.mean_absolute_error, score.within_bounds, score.nominal) == (1.5, 0.5, 0.9)
    assert (score.directional_accuracy, score.skill) == (1.0, 0.25)


def test_each_symbol_and_model_has_its_own_score() -> None:
    for symbol, model in (("AAPL", "m"), ("AAPL", "n"), ("FB", "m")):
        predict(symbol=symbol, model=model)
    for symbol in ("AAPL", "FB"):
        write_days(151.0, 152.0, symbol=symbol)
    resolve_all()
    assert list(PredictionScore.objects.values_list("symbol", "model", "outcomes")) == [
        ("AAPL", "m", 1), ("AAPL", "n", 1), ("FB", "m", 1)
    ]  # fmt: skip


def test_a_webhook_gets_the_outcome() -> None:
    row = predict()
    WebhookEndpoint.objects.create_endpoint(personas.alice(), "https://example.com/hook")
    write_days(151.0, 152.0)
    resolve_due()
    delivery = WebhookDelivery.objects.get(event="prediction_outcome")
    data = json.loads(delivery.body)["data"]
    assert (data["prediction_id"], data["error"]) == (row.prediction_id, 1.0)


def test_no_webhook_gets_the_outcome_of_what_a_client_requested() -> None:
    row = predict()
    StoredPrediction.objects.filter(pk=row.pk).update(requested=True)
    WebhookEndpoint.objects.create_endpoint(personas.alice(), "https://example.com/hook")
    write_days(151.0, 152.0)
    assert resolve_due().resolved == 1
    assert not WebhookDelivery.objects.exists()


def test_resolvers_side_by_side_resolve_each_prediction_once(redis_layer: None) -> None:
    for _ in range(40):
        predict()
    write_days(151.0, 152.0)
    counts: list[int] = []
    start = threading.Barrier(3)

    def work() -> None:
        start.wait()
        counts.append(resolve_all())
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 40
    assert PredictionScore.objects.get().outcomes == 40


def test_what_redis_did_not_take_is_announced_later(redis_layer: None, settings: Any) -> None:
    row = predict()
    write_days(151.0, 152.0)
    layers = settings.CHANNEL_LAYERS
    nobody = {"hosts": ["redis://127.0.0.1:1"]}
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": REDIS, "CONFIG": nobody}}
    with pytest.raises(PublishFailed):
        resolve_due()
    row.refresh_from_db()
    assert (row.error, row.announced_at) == (1.0, None)
    settings.CHANNEL_LAYERS = layers
    look_again()
    row.refresh_from_db()
    assert row.announced_at is not None


async def test_the_coroutine_resolves_until_it_is_stopped() -> None:
    await sync_to_async(predict)()
    stop = asyncio.Event()
    running = asyncio.create_task(run_outcomes(stop, every=0.01))
    await sync_to_async(write_days)(151.0, 152.0)
    await wait_for(StoredPrediction.objects.filter(announced_at__isnull=False).aexists)
    stop.set()
    await asyncio.wait_for(running, PATIENCE)


async def test_the_coroutine_waits_out_a_database_that_refuses(
    caplog: pytest.LogCaptureFixture,
) -> None:
    await sync_to_async(predict)()
    await sync_to_async(write_days)(151.0, 152.0)
    await sync_to_async(rename)("realtime_storedprediction", "hidden")
    stop = asyncio.Event()
    running = asyncio.create_task(run_outcomes(stop, every=0.01))

    async def told() -> bool:
        return "trying again until it is back" in caplog.text

    await wait_for(told)
    await sync_to_async(rename)("hidden", "realtime_storedprediction")
    resolved = StoredPrediction.objects.filter(resolved_at__isnull=False)
    await wait_for(resolved.aexists)
    stop.set()
    await asyncio.wait_for(running, PATIENCE)


def rename(table: str, name: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO {name}")


# Real processes -------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_resolver_that_is_killed_leaves_nothing_half_done(
    start_server: Callable[..., Any], tmp_path: Path
) -> None:
    """Two resolvers, one of them killed amid its work: each outcome counts once in the score."""
    server = start_server()
    server.shell(_MANY)
    command = [sys.executable, "manage.py", "resolve_predictions", "--follow"]
    environment = _environment(server)
    resolvers = [subprocess.Popen(command, env=environment) for _ in range(2)]
    try:
        database = server.directory / "db.sqlite3"
        _wait(lambda: _resolved(database) > 0)
        os.kill(resolvers[0].pid, signal.SIGKILL)
        _wait(lambda: _resolved(database) == 400)
    finally:
        for resolver in resolvers:
            resolver.terminate()
        codes = [resolver.wait(scaled(20)) for resolver in resolvers]
    assert codes == [-signal.SIGKILL, 0]
    assert server.shell(_SCORE).split() == ["400", "400", "1.0"]


_MANY = """
from django.db import transaction
from tests.predictions.test_resolve import predict, write_days
with transaction.atomic():
    for number in range(400):
        predict()
write_days(151.0, 152.0)
"""
_SCORE = """
from realtime.models import PredictionScore, StoredPrediction
from realtime.predictions.resolve import outcomes
from realtime.predictions.scores import score_of
score = score_of(outcomes(StoredPrediction.objects.resolved()))
print(StoredPrediction.objects.resolved().count(), score.outcomes, score.mean_absolute_error)
"""


def _environment(server: Any) -> dict[str, str]:
    return process_environment(server.directory, server.environment)


def _resolved(database: Path) -> int:
    with sqlite3.connect(database, timeout=20) as connection:
        query = "SELECT count(*) FROM realtime_storedprediction WHERE resolved_at IS NOT NULL"
        count: int = connection.execute(query).fetchone()[0]
    return count


def _wait(condition: Callable[[], bool]) -> None:
    asyncio.run(wait_for(sync_to_async(condition), seconds=60))
