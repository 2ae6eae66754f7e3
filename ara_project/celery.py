"""The Celery application: `celery -A ara_project worker`."""

import os
from typing import Any

from celery import Celery
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


class App(Celery):
    def bugreport(self) -> str:
        """`celery report`, which is there to be shown to others: without passwords in URLs."""
        return redact(super().bugreport())


os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ara_project.settings")
app = App("ara_project", loader="ara_project.celery:Loader")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
