"""Which consumer serves which path. Nothing else imports the consumers."""

from channels.routing import URLRouter
from django.urls import re_path

from realtime.consumers import (
    AlertsConsumer,
    MarketDataConsumer,
    NotFoundConsumer,
    PredictionsConsumer,
)
from realtime.middleware import TokenAuthMiddleware

# A symbol may hold `/`, which arrives decoded; what is no symbol is told so by the consumer.
websocket_urlpatterns = [
    re_path(r"^ws/predictions(?:/(?P<symbol>.*?))?/?$", PredictionsConsumer.as_asgi()),
    re_path(r"^ws/market-data(?:/(?P<symbol>.*?))?/?$", MarketDataConsumer.as_asgi()),
    re_path(r"^ws/alerts/?$", AlertsConsumer.as_asgi()),
    re_path(r"", NotFoundConsumer.as_asgi()),
]

websocket_application = TokenAuthMiddleware(URLRouter(websocket_urlpatterns))
