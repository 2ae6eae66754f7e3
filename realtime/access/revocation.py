"""Makes a change of a credential known. Whoever writes keys, sessions or users calls this."""

from functools import partial
from typing import Any

from django.db import transaction

from realtime.access.identity import credential_id_of_key, forget
from realtime.access.live import announce
from realtime.access.tokens import end_session, end_sessions
from realtime.models import ApiKey


def key_changed(key: ApiKey) -> None:
    """A key is revoked, rotated, edited or deleted: from the commit on nobody trusts the old one.

    Before a delete, while the key has its number.
    """
    transaction.on_commit(partial(_changed, credential_id=credential_id_of_key(key)))


def log_out(session_id: str) -> None:
    """End one login: no token of it is good from the commit on."""
    end_session(session_id)
    transaction.on_commit(partial(_changed, session_id=session_id))


def log_out_everywhere(user_id: int) -> None:
    """End every login of a user. API keys stay."""
    end_sessions(user_id)
    user_changed(user_id)


def user_changed(user_id: int) -> None:
    """A user is deactivated, or may do something else than before."""
    transaction.on_commit(partial(_changed, user_id=user_id))


def _changed(**which: Any) -> None:
    forget(**which)
    announce(**which)
