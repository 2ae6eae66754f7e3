"""Tasks for tests of the Celery worker; `--include tests.worker_tasks` loads them.

VISIBILITY_TIMEOUT sets a worker's lease in seconds.
"""

import os
import time

import redis
from celery import shared_task

from ara_project.celery import app

if seconds := os.environ.get("VISIBILITY_TIMEOUT"):
    app.conf.broker_transport_options = {
        **app.conf.broker_transport_options,
        "visibility_timeout": float(seconds),
        "unacked_restore_interval": 1,
    }


@shared_task
def work_for(seconds: float) -> None:
    time.sleep(seconds)


@shared_task
def count(url: str, name: str) -> None:
    with redis.Redis.from_url(url) as client:
        client.incr(name)


@shared_task(acks_late=True)
def count_slowly(url: str, name: str, seconds: float) -> None:
    count(url, name)
    time.sleep(seconds)
