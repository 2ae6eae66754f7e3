"""Changes of credentials reach open sockets, so that a revoked credential stops working at once.

A change is announced after its commit to the group `access`, which every process hears once. It
then asks the database again for the credentials concerned, one query for each kind of them, and
tells their sockets. A process that was cut off from Redis asks again for all of its sockets.
"""

import asyncio
import contextvars
import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol

import msgspec
from channels.layers import get_channel_layer
from django.contrib.auth import get_user_model
from django.db import DatabaseError
from django.utils import timezone

from realtime.access.authentication import forget
from realtime.access.identity import (
    Identity,
    identity_of_key,
    session_hashes,
    with_publish_permission,
)
from realtime.access.roster import Listed, Request, answer_request
from realtime.access.tokens import ended_sessions
from realtime.access.user_access import UserAccessFailed
from realtime.db import in_database
from realtime.delivery.layers import StreamLayer, group_send_sync
from realtime.delivery.publisher import BackendUnavailable
from realtime.models import ApiKey
from realtime.users import UserId, user_id_of

# A credential as it is now: None is refused, and a failure is a user whose rights nobody knows.
Answer = Identity | UserAccessFailed | None

logger = logging.getLogger(__name__)

GROUP: Final = "access"
CHANGED: Final = "access.changed"
EVICT: Final = "access.evict"
# An operator asks for connections; see roll_call.py.
ROLL_CALL: Final = "access.roll_call"
# Seconds between two tries while the database does not answer.
RETRY_SECONDS: Final = 1.0
# Upper bound in seconds for checking a credential, including the time for which it is cached.
CHECK_SECONDS: Final = 10.0


def announce(
    *,
    credential_id: str | None = None,
    session_id: str | None = None,
    user_id: UserId | None = None,
) -> None:
    """Tell every process that these credentials have changed. Call after the commit.

    Does not raise: the change is committed, and processes that miss the announcement check again
    once they are reconnected to Redis.
    """
    layer = get_channel_layer()
    if layer is None:
        return
    message = {
        "type": CHANGED,
        "credential_id": credential_id,
        "session_id": session_id,
        "user_id": user_id,
    }
    try:
        group_send_sync(layer, GROUP, message)
    except BackendUnavailable as exc:
        logger.error("a change of credentials could not be announced: %s", exc)


class LiveSocket(Listed, Protocol):
    """An open socket, as far as its credential is concerned."""

    async def credential_changed(self, identity: Answer) -> None:
        """The credential as it is now."""

    async def evicted(self) -> None:
        """A newer connection takes the slot of this one."""


class LiveSockets:
    """The open sockets of one event loop, on a channel layer of this project."""

    def __init__(self, layer: StreamLayer) -> None:
        self._layer = layer
        self._sockets: dict[str, LiveSocket] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        # Recent announcements: a credential may change between its check and `add`.
        self._announced: deque[tuple[float, Mapping[str, object]]] = deque()
        self.listening = self._spawn(self._listen())

    async def _listen(self) -> None:
        channel = await self._layer.new_channel()
        self._layer.attach(channel, self._on_event)
        self._layer.on_reconnect(self._on_reconnect)
        await self._layer.group_add(GROUP, channel)

    def add(self, socket: LiveSocket) -> None:
        self._sockets[socket.connection_id] = socket
        if self._announced and any(
            concerns(event, socket.identity) for event in self._lately_announced()
        ):
            self._spawn(self._check([socket]))

    def remove(self, socket: LiveSocket) -> None:
        self._sockets.pop(socket.connection_id, None)

    def _lately_announced(self) -> list[Mapping[str, object]]:
        oldest = time.monotonic() - CHECK_SECONDS
        while self._announced and self._announced[0][0] < oldest:
            self._announced.popleft()
        return [event for _, event in self._announced]

    def _on_event(self, event: Mapping[str, Any]) -> None:
        if event["type"] == EVICT:
            socket = self._sockets.get(event["connection_id"])
            if socket is not None:
                self._spawn(socket.evicted())
        elif event["type"] == ROLL_CALL:
            self._spawn(self._answer(event["request"], event["reply_channel"]))
        elif event["type"] == CHANGED:
            self._announced.append((time.monotonic(), event))
            forget_announced(event)
            sockets = [socket for socket in self._sockets.values()
                       if concerns(event, socket.identity)]  # fmt: skip
            self._spawn(self._check(sockets))

    async def _answer(self, request: object, reply_channel: str) -> None:
        try:
            asked = msgspec.convert(request, Request)
        except msgspec.ValidationError as exc:
            logger.error("a question for connections is not answered: %s", exc)
            return
        async for page in answer_request(self._sockets, asked):
            await self._layer.send(reply_channel, {**page, "process": self._layer.local.process})

    def _on_reconnect(self) -> None:
        # Announcements may have been missed meanwhile.
        forget()
        known = [socket for socket in self._sockets.values() if socket.identity.is_authenticated]
        self._spawn(self._check(known))

    async def _check(self, sockets: Sequence[LiveSocket]) -> None:
        if not sockets:
            return
        answers = await self._ask({socket.identity for socket in sockets})
        for socket in sockets:
            if socket.identity in answers:
                self._spawn(socket.credential_changed(answers[socket.identity]))

    async def _ask(self, identities: Collection[Identity]) -> Mapping[Identity, Answer]:
        while True:
            try:
                return await in_database(recheck)(identities)
            except DatabaseError as exc:
                logger.error("credentials could not be checked again: %s", exc)
                await asyncio.sleep(RETRY_SECONDS)

    def _spawn(self, coroutine: Coroutine[object, object, None]) -> "asyncio.Task[None]":
        # A context of its own: in that of the announcing request, threads end with the request.
        task = asyncio.get_running_loop().create_task(coroutine, context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("an announcement could not be handled", exc_info=task.exception())


def live_sockets(layer: StreamLayer) -> LiveSockets:
    """The open sockets of a layer, in the running event loop."""
    return layer.part(LiveSockets)


def concerns(event: Mapping[str, object], identity: Identity) -> bool:
    """Is an identity among those that an announcement names?"""
    return (
        (event["credential_id"] is not None and event["credential_id"] == identity.credential_id)
        or (event["session_id"] is not None and event["session_id"] == identity.session_id)
        or (event["user_id"] is not None and event["user_id"] == identity.user_id)
    )


def forget_announced(event: Mapping[str, Any]) -> None:
    """Drop the credentials that an announcement names from the caches of this process."""
    for name in ("credential_id", "session_id", "user_id"):
        if event[name] is not None:
            forget(**{name: event[name]})


def recheck(identities: Collection[Identity]) -> dict[Identity, Answer]:
    """Each identity as it would be if its credential were presented now."""
    now = timezone.now()
    keys = ApiKey.objects.with_owners().in_bulk(
        [identity.key_id for identity in identities if identity.key_id is not None]
    )
    logins = [identity for identity in identities if identity.kind in ("jwt", "session")]
    users: dict[UserId | None, Any] = {}
    if logins:
        owners = with_publish_permission(get_user_model()._default_manager)
        found = owners.filter(pk__in={identity.user_id for identity in logins})
        users = {user_id_of(user.pk): user for user in found}
    ended = ended_sessions(logins)
    answers: dict[Identity, Answer] = {}
    for identity in identities:
        if identity.kind == "api_key":
            key = keys.get(identity.key_id)
            answers[identity] = _answer(partial(_key_again, key, identity, now))
        elif identity.kind in ("jwt", "session"):
            user = users.get(identity.user_id)
            refused = (
                user is None
                or not user.is_active
                or identity in ended
                or _of_old_password(user, identity)
            )
            again = partial(identity.for_user, user)
            answers[identity] = None if refused else _answer(again)
    return answers


def _answer(again: Callable[[], Identity | None]) -> Answer:
    try:
        return again()
    except UserAccessFailed as exc:
        return exc


def _of_old_password(user: object, identity: Identity) -> bool:
    """Is this a session from before a change of the password? Tokens are ended separately."""
    return identity.kind == "session" and identity.secret_hash not in session_hashes(user)


def _key_again(key: ApiKey | None, identity: Identity, now: Any) -> Identity | None:
    if key is None or key.status_at(now) != ApiKey.Status.ACTIVE or not key.owner.is_active:
        return None
    if not identity.secret_hash or identity.secret_hash not in (key.hash, key.previous_hash):
        return None
    again = identity_of_key(key, identity.secret_hash)
    return None if again.is_expired(now) else again
