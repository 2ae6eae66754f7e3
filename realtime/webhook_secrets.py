"""Signatures and secrets of webhooks, as https://www.standardwebhooks.com has them.

A receiver must be able to check a signature, and we to make it: unlike an API key, of which a hash
is kept, a secret has to be readable again. It is kept encrypted, with a key made from SECRET_KEY,
so that a copy of the database alone signs nothing.
"""

import base64
import hashlib
import hmac
import secrets
from functools import lru_cache
from typing import Final

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

PREFIX: Final = "whsec_"
_SECRET_BYTES: Final = 32  # the specification asks for 24 to 64


class SecretUnreadable(Exception):
    """Raised for a kept secret that the present SECRET_KEY does not open."""

    def __str__(self) -> str:
        return (
            "The secret was encrypted with another SECRET_KEY. Name it in SECRET_KEY_FALLBACKS, "
            "or rotate the secret."
        )


def new_secret() -> str:
    """`whsec_` and 256 random bits, in base64."""
    return PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def sign(secret: str, webhook_id: str, timestamp: int, body: bytes) -> str:
    """`v1,…` for a body that is sent at `timestamp` (Unix time, in seconds)."""
    key = base64.b64decode(secret.removeprefix(PREFIX))
    signed = b"%b.%d.%b" % (webhook_id.encode(), timestamp, body)
    return f"v1,{base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()}"


def seal(secret: str) -> str:
    """The secret as the database may keep it."""
    return _cipher().encrypt(secret.encode()).decode()


def unseal(sealed: str) -> str:
    """The secret itself; raises SecretUnreadable."""
    try:
        return _cipher().decrypt(sealed).decode()
    except (InvalidToken, ValueError) as exc:  # ValueError: what was kept is not ASCII, or no text
        raise SecretUnreadable from exc


def _cipher() -> MultiFernet:
    # The first one encrypts; each of them is tried to decrypt.
    return MultiFernet(
        [_fernet(key) for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)]
    )


@lru_cache(maxsize=8)
def _fernet(secret_key: str) -> Fernet:
    derived = HKDF(SHA256(), 32, salt=None, info=b"realtime.webhooks.secret")
    return Fernet(base64.urlsafe_b64encode(derived.derive(secret_key.encode())))
