"""Tells the consumers who is connecting: the ASGI middleware over every WebSocket route."""

from collections.abc import Awaitable, Callable
from typing import Any

from realtime.access.credentials import find_credential
from realtime.access.identity import ANONYMOUS, InvalidCredential, aauthenticate

Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]


class TokenAuthMiddleware:
    """Sets `scope["user"]`, `scope["auth"]` (an Identity) and `scope["auth_error"]`.

    A bad credential is not refused here: before the accept a browser sees nothing but 1006.
    `auth_error` is then the text for the client, and the consumer accepts, sends `error`
    `invalid_token` and closes 4401. Without a credential the client is ANONYMOUS, without error.
    """

    def __init__(self, app: Application) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        credential = find_credential(
            scope["headers"], scope["query_string"], scope.get("subprotocols", ())
        )
        error = None
        try:
            identity = await aauthenticate(credential)
        except InvalidCredential as exc:
            identity, error = ANONYMOUS, str(exc)
        # A copy: the outer applications keep theirs.
        scope = {**scope, "user": identity.user, "auth": identity, "auth_error": error}
        await self.app(scope, receive, send)
