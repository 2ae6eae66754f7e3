"""Probes of load balancers: is the process alive, and can it serve?"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.core.handlers.asgi import get_script_prefix
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.utils.decorators import sync_and_async_middleware
from redis.exceptions import RedisError

from realtime.db import DatabaseThread
from realtime.delivery.cluster import is_cluster
from realtime.delivery.layers import shared_layer
from realtime.delivery.readiness import PROBES, is_draining
from realtime.middleware import Application

Answer = tuple[int, dict[str, str]]

# Answers 200 as long as the process answers at all.
_ALIVE: Final[Answer] = 200, {"status": "ok"}
# Answers 503 once the server begins to stop, so that new clients go elsewhere.
_DRAINING: Final[Answer] = 503, {"status": "draining"}


def _verdict(database: str, redis: str) -> Answer:
    """200 when the database and Redis answer, else 503 with the one that does not."""
    problem = not database == redis == "ok"
    status = "unavailable" if problem else "ok"
    return (503 if problem else 200), {"status": status, "database": database, "redis": redis}


class Probes:
    """Stands in front of Django's ASGI application: probes take none of its threads.

    However many probes ask for readiness, one check runs at a time, in a thread of its own.
    """

    def __init__(self, app: Application) -> None:
        self._app = app
        self._thread = DatabaseThread("readiness")
        self._looking: asyncio.Task[Answer] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"].removeprefix(str(get_script_prefix(scope) or "").rstrip("/"))
        if path not in PROBES:
            await self._app(scope, receive, send)
            return
        status, content = _ALIVE if path == "/healthz" else await self._ready()
        body = json.dumps(content).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _ready(self) -> Answer:
        if is_draining():
            return _DRAINING
        if self._looking is None or self._looking.done():
            self._looking = asyncio.ensure_future(self._look())
        return await asyncio.shield(self._looking)

    async def _look(self) -> Answer:
        run = self._thread.run
        try:
            await run(_ask_database)()
            database = "ok"
        except DatabaseError:
            database = "unreachable"
        return _verdict(database, await run(redis_state)())


@sync_and_async_middleware
def answer_probes(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """The first middleware: a probe calls a process by its address, which is not an allowed host.

    For servers that do not run `Probes`.
    """

    async def answer_async(request: HttpRequest) -> HttpResponseBase:
        if request.path_info in PROBES:
            return await sync_to_async(_answer)(request)
        response: Awaitable[HttpResponseBase] = get_response(request)
        return await response

    def answer_sync(request: HttpRequest) -> HttpResponseBase:
        if request.path_info in PROBES:
            return _answer(request)
        response: HttpResponseBase = get_response(request)
        return response

    return answer_async if iscoroutinefunction(get_response) else answer_sync


def alive(request: HttpRequest) -> JsonResponse:
    """`healthz`, for a project whose application does not run `Probes`."""
    return _response(_ALIVE)


def ready(request: HttpRequest) -> JsonResponse:
    """`readyz`."""
    return _response(_DRAINING if is_draining() else _verdict(database_state(), redis_state()))


def _answer(request: HttpRequest) -> JsonResponse:
    return alive(request) if request.path_info == "/healthz" else ready(request)


def _response(answer: Answer) -> JsonResponse:
    status, content = answer
    response: Any = JsonResponse(content, status=status)
    response._has_been_logged = True  # Django would log an error each second
    return cast(JsonResponse, response)


def _ask_database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def database_state() -> str:
    try:
        _ask_database()
    except DatabaseError:
        # The error names hosts and users: it is for the log, not for strangers.
        return "unreachable"
    return "ok"


def redis_state() -> str:
    layer = shared_layer()
    try:
        for client in () if layer is None else layer.sync_clients:
            client.ping()
            if is_cluster(client):
                return "cluster"
    except (RedisError, OSError):
        return "unreachable"
    return "ok"
