"""Shared parts of tests with running servers: credentials in their database, and publishing."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.conftest import REDIS
from tests.processes import LiveServer

_PEOPLE = """
import json
from tests import personas
alice = personas.alice()
_, key = personas.bob_key(name="sockets")
_, alerts_only = personas.bob_key(name="sockets, alerts", scopes=["alerts"])
_, revoked = personas.mallory_key()
print(json.dumps({
    "alice_id": alice.pk, "token": personas.token(alice), "key": key,
    "alerts_only": alerts_only, "revoked": revoked,
    "expired": personas.expired_token(alice),
    "forged": personas.forged_token(alice, key="x" * 50),
}))
"""


# Messages that other modules sent through the same server must not wait here.
_EMPTY_INBOX = "from realtime.models import Alert; Alert.objects.all().delete()"
_TOKEN = "from tests import personas; print(personas.token(User.objects.get(pk={pk})))"
# By directory: servers of one directory share a database, and ports are reused.
_created: dict[Path, SimpleNamespace] = {}


def create_people(server: LiveServer) -> SimpleNamespace:
    """Alice, Bob and Mallory in the database of a server, with their credentials."""
    server.shell(_EMPTY_INBOX)
    if server.directory not in _created:
        _created[server.directory] = SimpleNamespace(**json.loads(server.shell(_PEOPLE)))
    people = _created[server.directory]
    # The server of a long run outlives a token.
    people.token = server.shell(_TOKEN.format(pk=people.alice_id)).strip()
    return people


def publish_to(server: LiveServer, settings: Any) -> None:
    """Let `realtime.broadcast` in this process publish to the clients of a server."""
    hosts = [server.environment["REDIS_URL"]]
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": REDIS, "CONFIG": {"hosts": hosts}}}
