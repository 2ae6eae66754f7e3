"""The ASGI application of a project, in one line of its asgi.py:

application = realtime.asgi.application(get_asgi_application())
"""

from channels.routing import ProtocolTypeRouter

from realtime.api.health import Application, Probes
from realtime.conf import conf, require_valid
from realtime.predictions.predictors import warm_up
from realtime.routing import websocket_application_of


def application(http: Application, websocket: Application | None = None) -> ProtocolTypeRouter:
    """HTTP to Django, WebSockets to the consumers.

    The WebSockets are below the prefix, or the prefixes, at which the URLs of the project include
    `realtime.urls`. `websocket` is the project's own application for all other paths.
    Raises ImproperlyConfigured, with the name, for a setting that is not what it may be.
    """
    require_valid()
    if conf.REALTIME_PREDICTION_RUNNER == "pool":  # otherwise a worker computes
        warm_up()
    sockets = websocket_application_of(websocket)
    return ProtocolTypeRouter({"http": Probes(http), "websocket": sockets})
