"""The ASGI application: HTTP to Django, WebSockets to the consumers."""

import os

from django.core.asgi import get_asgi_application
from django.core.exceptions import ImproperlyConfigured

from realtime.conf import require_valid

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ara_project.settings")
# Before the imports below: it fills the app registry that models need.
try:
    http_application = get_asgi_application()
    require_valid()
except ImproperlyConfigured as exc:
    raise SystemExit(f"Bad configuration: {exc}") from None

import realtime.asgi

application = realtime.asgi.application(http_application)
