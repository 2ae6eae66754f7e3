"""Which consumer serves which path. Nothing else imports the consumers."""

from typing import Any, cast

from channels.routing import URLRouter
from django.urls import re_path

from realtime.consumers import (
    AlertsConsumer,
    MarketDataConsumer,
    NotFoundConsumer,
    PredictionsConsumer,
)
from realtime.middleware import TokenAuthMiddleware

# Django's types know views only in a URL pattern, Channels' router takes ASGI applications.
_path: Any = re_path

# A symbol may hold `/`, which arrives decoded, and may end with it: which slash is whose, and what
# is not a symbol, the consumer says.
websocket_urlpatterns: Any = [
    _path(r"^ws/predictions(?:/(?P<symbol>(?s:.*)))?$", PredictionsConsumer.as_asgi()),
    _path(r"^ws/market-data(?:/(?P<symbol>(?s:.*)))?$", MarketDataConsumer.as_asgi()),
    _path(r"^ws/alerts/?$", AlertsConsumer.as_asgi()),
    _path(r"", NotFoundConsumer.as_asgi()),
]

websocket_application = TokenAuthMiddleware(cast(Any, URLRouter(websocket_urlpatterns)))
