"""Makes a change of a credential known. Whoever writes keys, sessions or users calls this."""

from functools import partial

from django.db import transaction

from realtime.access.identity import credential_id_of_key, forget
from realtime.models import ApiKey


def key_changed(key: ApiKey) -> None:
    """A key is revoked, rotated, edited or deleted: from the commit on nobody trusts the old one.

    Before a delete, while the key has its number.
    """
    transaction.on_commit(partial(forget, credential_id=credential_id_of_key(key)))
