"""The Celery application: `celery -A ara_project worker`."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ara_project.settings")
app = Celery("ara_project")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
