"""What the database keeps: a module for each area."""

from realtime.models.bars import Bar
from realtime.models.keys import (
    KEY_LIMITS,
    ONE_LIVE_KEY,
    ApiKey,
    ApiKeyQuerySet,
    hash_secret,
    validate_origins,
    validate_scopes,
    validate_symbols,
)

__all__ = [
    "KEY_LIMITS",
    "ONE_LIVE_KEY",
    "ApiKey",
    "ApiKeyQuerySet",
    "Bar",
    "hash_secret",
    "validate_origins",
    "validate_scopes",
    "validate_symbols",
]
