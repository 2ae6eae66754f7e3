"""Makes a change of a credential known: every writer of keys calls this, after the commit."""

from realtime.access import identity
from realtime.models import ApiKey


def key_changed(key: ApiKey) -> None:
    """A key was revoked, rotated, edited or deleted: nobody goes by what was known of it."""
    identity.forget(credential_id=identity.credential_id_of_key(key))
