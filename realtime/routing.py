"""Which consumer serves which path. Nothing else imports the consumers."""

from collections.abc import Iterator
from typing import Any, Final, cast

from channels.routing import URLRouter
from django.core.handlers.asgi import get_script_prefix
from django.urls import URLResolver, get_resolver, re_path

from realtime.consumers import (
    AlertsConsumer,
    MarketDataConsumer,
    NotFoundConsumer,
    PredictionsConsumer,
)
from realtime.consumers.one_way import (
    PEER as PEER,
)
from realtime.consumers.one_way import (
    OneWayAlerts,
    OneWayMarketData,
    OneWayPredictions,
)
from realtime.middleware import Application, TokenAuthMiddleware

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

_one_way: Final[dict[str, Application]] = {
    "predictions": TokenAuthMiddleware(cast(Any, OneWayPredictions.as_asgi())),
    "market-data": TokenAuthMiddleware(cast(Any, OneWayMarketData.as_asgi())),
    "alerts": TokenAuthMiddleware(cast(Any, OneWayAlerts.as_asgi())),
}


def one_way_application(channel: str) -> Application:
    """What serves a connection that only listens; its scope is that of a WebSocket, with PEER."""
    return _one_way[channel]


_OURS = r"(?=ws/(?:predictions|market-data|alerts)(?:/|$))"


def websocket_application_of(others: Application | None = None) -> Application:
    """Our paths at every prefix at which the project includes `realtime.urls`.

    All other paths go to `others`, or are told which paths there are.
    """
    routes = [_path(f"^{prefix}{_OURS}", websocket_application) for prefix in prefixes()]
    routes.append(_path(r"", others or websocket_application))
    return _BelowScriptName(cast(Any, URLRouter(routes)))


def prefixes() -> list[str]:
    """Regular expressions of the paths at which the project includes `realtime.urls`."""
    return list(_prefixes(get_resolver())) or [""]


def _prefixes(resolver: URLResolver, before: str = "") -> Iterator[str]:
    for each in resolver.url_patterns:
        if isinstance(each, URLResolver):
            prefix = before + each.pattern.regex.pattern.removeprefix("^")
            if each.app_name == "realtime":
                yield prefix
            else:
                yield from _prefixes(each, prefix)


class _BelowScriptName:
    """Takes the path at which a proxy serves the whole project (FORCE_SCRIPT_NAME) off.

    A proxy may have taken it off itself.
    """

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        script_name = str(get_script_prefix(scope) or "").rstrip("/")
        if script_name:
            path = scope["path"]
            if path.startswith(f"{script_name}/"):
                path = path.removeprefix(script_name)
            scope = {**scope, "path_remaining": path}
        await self._app(scope, receive, send)
