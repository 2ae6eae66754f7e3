"""The ASGI application: HTTP to Django, WebSockets to the consumers."""

import os

from channels.routing import ProtocolTypeRouter
from django.conf import settings
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ara_project.settings")
# Before the imports below: it fills the app registry that models need.
http_application = get_asgi_application()

from realtime.predictions.predictors import warm_up  # noqa: E402
from realtime.routing import websocket_application  # noqa: E402

if settings.REALTIME_PREDICTION_RUNNER == "pool":  # otherwise a worker computes
    warm_up()

application = ProtocolTypeRouter({"http": http_application, "websocket": websocket_application})
