"""The Celery application: `celery -A ara_project worker`."""

import contextlib
import os
import time
from typing import Any

import django
from celery import Celery, bootsteps
from celery.loaders.app import AppLoader
from django.core.exceptions import ImproperlyConfigured

from realtime.access.redact import redact


class Loader(AppLoader):
    """Celery's own; a bad setting is one line in a terminal, as it is for manage.py."""

    def config_from_object(self, obj: Any, silent: bool = False) -> None:
        try:
            super().config_from_object(obj, silent=silent)
        except ImproperlyConfigured as exc:
            raise SystemExit(f"Bad configuration: {exc}") from None

    def import_default_modules(self) -> Any:
        try:
            django.setup()  # Celery would do it here, and go on without what it cannot load
        except ImproperlyConfigured as exc:
            raise SystemExit(f"Bad configuration: {exc}") from None
        return super().import_default_modules()


class App(Celery):
    def bugreport(self) -> str:
        """`celery report`, which is there to be shown to others: without passwords in URLs."""
        return redact(super().bugreport())


class RenewLeases(bootsteps.StartStopStep):
    """Says, while a worker lives, that what it has taken from Redis is in good hands.

    Celery counts the visibility timeout from the moment when a task was taken, however well its
    worker is: a task whose countdown is longer would run once more each time that it passes.
    Renewed, it is a lease, which ends with the worker.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)
    timer: Any = None

    def start(self, parent: Any) -> None:
        options = parent.app.conf.broker_transport_options
        if parent.connection.transport.driver_type == "redis" and "visibility_timeout" in options:
            every = options["visibility_timeout"] / 4
            self.timer = parent.timer.call_repeatedly(every, self.renew, (parent,))

    def stop(self, parent: Any) -> None:
        if self.timer is not None:
            self.timer.cancel()

    def renew(self, parent: Any) -> None:
        channel = parent.task_consumer.channel
        taken = {tag: time.time() for tag in channel.qos._delivered}
        # When Redis is away, Celery reconnects, and says so.
        with contextlib.suppress(*channel.connection_errors):
            if taken:
                with channel.conn_or_acquire() as client:
                    # Only those that are there still: not what is acknowledged meanwhile.
                    client.zadd(channel.unacked_index_key, taken, xx=True)


os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ara_project.settings")
app = App("ara_project", loader="ara_project.celery:Loader")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.steps["consumer"].add(RenewLeases)
