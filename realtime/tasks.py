"""The broadcast functions as Celery tasks: `broadcast_market_data.delay("AAPL", {"price": 149.5})`.

Same names and arguments, and JSON all the way (datetimes and Decimals, which Celery's serialiser
keeps, included). `.delay()` raises kombu.exceptions.OperationalError within seconds if the broker
is away.

InvalidUpdate fails the task at once: the same data would be refused again. PublishFailed runs it
again, at most MAX_RETRIES times with a growing, random delay. So an update whose confirmation was
lost arrives twice, with two offsets, unless the task has an `id`; one that was retried arrives
after newer ones; and one whose last attempt failed, or whose worker was killed, does not arrive.
Put a timestamp into data whose order matters.

A task that has waited for a worker for longer than UPDATE_SECONDS (an alert: ALERT_SECONDS) is
dropped, as it would arrive as the newest; `apply_async(…, expires=…)` says otherwise. Each one that
is given up is a line in the worker's log.
"""

import logging
from typing import Any, Final

from asgiref.sync import async_to_sync

from realtime import broadcast
from realtime.broadcast import InvalidUpdate, PublishFailed
from realtime.conf import conf
from realtime.delivery.totals import published_by
from realtime.extras import extra
from realtime.isolation import namespace
from realtime.predictions import requests
from realtime.predictions.predictors import warm_up
from realtime.predictions.records import Given
from realtime.predictions.records import record_prediction as _record_prediction
from realtime.predictions.records import record_predictions as _record_predictions
from realtime.predictions.resolve import resolve_all
from realtime.retention import prune
from realtime.webhooks.worker import deliver_due

with extra("celery", needed_by=__name__):
    from celery import Task, shared_task
    from celery.exceptions import Ignore
    from celery.signals import before_task_publish, task_revoked, worker_process_init

logger = logging.getLogger(__name__)

# For which an update is worth sending.
UPDATE_SECONDS: Final = 60
ALERT_SECONDS: Final = 3600
# With a first delay of one second that doubles, half a minute in all.
MAX_RETRIES: Final = 5
# Of a message that a test has sent: the name of its test run.
HEADER: Final = "realtime_test_namespace"


@before_task_publish.connect
def name_test_run(headers: dict[str, object], **kwargs: object) -> None:
    """A worker that serves a real project leaves what its tests send: see `OwnTask`."""
    if headers is not None and namespace():
        headers[HEADER] = namespace()


class OwnTask(Task):  # type: ignore[type-arg]  # generic for the type checker only
    """Runs nothing that the test run of somebody else has sent."""

    def __call__(self, *args: object, **kwargs: object) -> object:
        sender = self.request.get(HEADER)
        if sender and sender != namespace():
            logger.warning("%s[%s] is ignored: a test has sent it", self.name, self.request.id)
            raise Ignore
        with published_by("task"):
            return self.run(*args, **kwargs)


class PublishTask(OwnTask):
    """Retries PublishFailed; an update that was given up is one line in the worker's log."""

    autoretry_for = (PublishFailed,)
    max_retries = MAX_RETRIES
    retry_backoff = 1
    retry_jitter = True
    throws = (InvalidUpdate, PublishFailed)
    expires = UPDATE_SECONDS

    def on_failure(self, exc: Exception, task_id: str, *args: object) -> None:
        # Celery reports what is in `throws` at INFO only, and anything else with a traceback.
        if isinstance(exc, self.throws):
            logger.error("%s[%s] gave up: %s", self.name, task_id, exc)


@task_revoked.connect
def report_expired(sender: Any, request: Any, expired: bool, **kwargs: Any) -> None:
    if expired and isinstance(sender, PublishTask):
        logger.error("%s[%s] gave up: it has waited for too long", sender.name, request.id)


@shared_task(base=PublishTask)
def broadcast_prediction_update(
    symbol: str, prediction_data: dict[str, object], *, id: str | None = None
) -> int | None:
    """`realtime.broadcast.broadcast_prediction_update`; returns the offset."""
    return broadcast.broadcast_prediction_update(symbol, prediction_data, id=id).offset


@shared_task(base=PublishTask)
def broadcast_market_data(
    symbol: str, market_data: dict[str, object], *, id: str | None = None
) -> int | None:
    """`realtime.broadcast.broadcast_market_data`; returns the offset."""
    return broadcast.broadcast_market_data(symbol, market_data, id=id).offset


@shared_task(base=PublishTask, expires=ALERT_SECONDS)
def send_alert(
    alert_data: dict[str, object], user_id: object = None, *, id: str | None = None
) -> int | None:
    """`realtime.broadcast.send_alert`; returns the offset."""
    return broadcast.send_alert(alert_data, user_id, id=id).offset


@shared_task(base=OwnTask)
def deliver_webhooks() -> int:
    """Send what is due to webhooks; CELERY_BEAT_SCHEDULE has it run every few seconds."""
    return async_to_sync(deliver_due)()


@shared_task(base=PublishTask, autoretry_for=())
def record_prediction(
    symbol: str, prediction_data: dict[str, object], *, id: str | None = None
) -> str:
    """`realtime.predictions.records.record_prediction`; returns the `prediction_id`.

    Not run again when it was stored and not published: that would store it twice.
    """
    return _record_prediction(symbol, prediction_data, id=id).prediction_id


@shared_task(base=PublishTask, autoretry_for=())
def record_predictions(predictions: list[Given]) -> list[str]:
    """`realtime.predictions.records.record_predictions`; returns each `prediction_id`."""
    return [row.prediction_id for row in _record_predictions(predictions)]


@worker_process_init.connect
def prepare_predictor(**kwargs: object) -> None:
    if conf.REALTIME_PREDICTION_RUNNER == "celery":
        warm_up()


@shared_task(base=OwnTask, ignore_result=True)
def compute_prediction(symbol: str, horizon: int, channel: str) -> None:
    """Run for `request_prediction` with REALTIME_PREDICTION_RUNNER=celery."""
    async_to_sync(requests.answer)(symbol, horizon, channel)


@shared_task(base=OwnTask)
def resolve_predictions() -> int:
    """`manage.py resolve_predictions`; returns the number of outcomes.

    CELERY_BEAT_SCHEDULE has it run every few seconds.
    """
    return resolve_all()


@shared_task(base=OwnTask)
def prune_history() -> str:
    """`manage.py prune_history`; returns what was deleted, in words."""
    return str(prune())
