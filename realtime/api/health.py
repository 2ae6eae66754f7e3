"""What a load balancer asks: is the process alive, and can it serve?"""

from typing import Any

from channels.layers import get_channel_layer
from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse
from redis.exceptions import RedisError

from realtime.delivery.server import is_draining


def alive(request: HttpRequest) -> JsonResponse:
    """200 as long as the process answers at all."""
    return JsonResponse({"status": "ok"})


def ready(request: HttpRequest) -> JsonResponse:
    """200 when the database and Redis answer, else 503 with which one does not.

    503 from the moment when the server begins to stop: newcomers go elsewhere.
    """
    if is_draining():
        return JsonResponse({"status": "draining"}, status=503)
    checks = {"database": _database(), "redis": _redis()}
    problem = any(answer != "ok" for answer in checks.values())
    return JsonResponse(
        {"status": "unavailable" if problem else "ok", **checks}, status=503 if problem else 200
    )


def _database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        # The text of the error names hosts and users: it is for the log, not for strangers.
        return "unreachable"
    return "ok"


def _redis() -> str:
    layer: Any = get_channel_layer()
    try:
        for client in getattr(layer, "sync_clients", ()):  # none where no Redis is needed
            client.ping()
    except (RedisError, OSError):
        return "unreachable"
    return "ok"
