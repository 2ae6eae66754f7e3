"""Tells the consumers who is connecting: the ASGI middleware over every WebSocket route."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from django.db import DatabaseError

from realtime.access.authentication import InvalidCredential, aauthenticate
from realtime.access.credentials import find_credential
from realtime.access.identity import ANONYMOUS
from realtime.access.tickets import TicketsUnavailable
from realtime.access.user_access import UserAccessFailed

logger = logging.getLogger(__name__)

Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]


class TokenAuthMiddleware:
    """Sets `scope["user"]`, `scope["auth"]` (an Identity), `auth_error` and `auth_unavailable`.

    A bad credential is not refused here: before the accept a browser sees nothing but 1006.
    `auth_error` is then the text for the client, and the consumer accepts, sends `error`
    `invalid_token` and closes 4401. `auth_unavailable` says that it could not be checked:
    the database or Redis does not answer, or REALTIME_USER_ACCESS fails. Without a credential the
    client is ANONYMOUS, without error.
    """

    def __init__(self, app: Application) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        credential = find_credential(
            scope["headers"], scope["query_string"], scope.get("subprotocols", ())
        )
        error, unavailable = None, False
        try:
            identity = await aauthenticate(credential)
        except InvalidCredential as exc:
            identity, error = ANONYMOUS, str(exc)
        except (TicketsUnavailable, DatabaseError) as exc:
            logger.error("a credential could not be checked: %s", exc)
            identity, unavailable = ANONYMOUS, True
        except UserAccessFailed:  # which has been logged
            identity, unavailable = ANONYMOUS, True
        # A copy: the outer applications keep theirs.
        scope = {
            **scope,
            "user": identity.user,
            "auth": identity,
            "auth_error": error,
            "auth_unavailable": unavailable,
        }
        await self.app(scope, receive, send)
