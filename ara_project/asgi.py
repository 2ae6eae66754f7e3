"""The ASGI application: HTTP to Django, WebSockets to the consumers."""

import os

from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application
from django.core.exceptions import ImproperlyConfigured

from realtime.conf import conf, require_valid

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ara_project.settings")
# Before the imports below: it fills the app registry that models need.
try:
    http_application = get_asgi_application()
    require_valid()
except ImproperlyConfigured as exc:
    raise SystemExit(f"Bad configuration: {exc}") from None

from realtime.api.health import Probes
from realtime.predictions.predictors import warm_up
from realtime.routing import websocket_application

if conf.REALTIME_PREDICTION_RUNNER == "pool":  # otherwise a worker computes
    warm_up()

application = ProtocolTypeRouter(
    {"http": Probes(http_application), "websocket": websocket_application}
)
