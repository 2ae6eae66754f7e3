"""The Celery application: `celery -A ara_project worker`."""

import os
from typing import Any

from celery import Celery
from celery.loaders.app import AppLoader
from django.core.exceptions import ImproperlyConfigured


class Loader(AppLoader):
    """Celery's own; a bad setting is one line in a terminal, as it is for manage.py."""

    def config_from_object(self, obj: Any, silent: bool = False) -> None:
        try:
            super().config_from_object(obj, silent=silent)
        except ImproperlyConfigured as exc:
            raise SystemExit(f"Bad configuration: {exc}") from None


os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ara_project.settings")
app = Celery("ara_project", loader="ara_project.celery:Loader")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
