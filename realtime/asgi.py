"""The ASGI application of a project, in one line of its asgi.py:

application = realtime.asgi.application(get_asgi_application())
"""

from collections.abc import Awaitable, Callable
from typing import Any, cast

from django.conf import settings

Application = Callable[[Any, Any, Any], Awaitable[None]]


def application(http: Application, websocket: Application | None = None) -> Application:
    """HTTP to Django, WebSockets to the consumers.

    The WebSockets are below the prefix, or the prefixes, at which the URLs of the project include
    `realtime.urls`. `websocket` is the project's own application for all other paths.
    Raises ImproperlyConfigured, with the name, for a setting that is not what it may be.
    """
    # Not above: at the top of an asgi.py there are no models yet, which these need.
    from channels.routing import ProtocolTypeRouter

    from realtime.api.direct import DirectEndpoints
    from realtime.api.health import Probes
    from realtime.conf import conf, require_valid
    from realtime.predictions.predictors import warm_up
    from realtime.routing import websocket_application_of
    from realtime.sse import events_application_of

    require_valid()
    if conf.REALTIME_PREDICTION_RUNNER == "pool":  # otherwise a worker computes
        warm_up()
    sockets = websocket_application_of(websocket)
    answers = Probes(events_application_of(DirectEndpoints(_with_static_files(http))))
    return ProtocolTypeRouter({"http": answers, "websocket": sockets})


def _with_static_files(http: Application) -> Application:
    """While developing, the files of the admin and of our page, as `runserver` has them."""
    if settings.DEBUG and "django.contrib.staticfiles" in settings.INSTALLED_APPS:
        from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler

        return ASGIStaticFilesHandler(cast(Any, http))
    return http
