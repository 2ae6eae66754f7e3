"""What a load balancer asks: is the process alive, and can it serve?"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from asgiref.sync import iscoroutinefunction, sync_to_async
from channels.layers import get_channel_layer
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.utils.decorators import sync_and_async_middleware
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


_ANSWERS: Final = {"/healthz": alive, "/readyz": ready}


@sync_and_async_middleware
def answer_probes(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """The first middleware: a probe calls a process by its address, which is no allowed host."""

    async def answer_async(request: HttpRequest) -> HttpResponseBase:
        answer = _ANSWERS.get(request.path_info)
        if answer is not None:
            return await sync_to_async(answer)(request)
        response: Awaitable[HttpResponseBase] = get_response(request)
        return await response

    def answer_sync(request: HttpRequest) -> HttpResponseBase:
        response: HttpResponseBase = _ANSWERS.get(request.path_info, get_response)(request)
        return response

    return answer_async if iscoroutinefunction(get_response) else answer_sync


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
