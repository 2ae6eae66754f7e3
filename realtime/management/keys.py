"""The common part of the commands for API keys: arguments, look-up, and output."""

import argparse
import re
from datetime import UTC, datetime, timedelta
from typing import Final

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from realtime.models import KEY_LIMITS, ApiKey

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def utf8(text: str) -> str:
    """A text that databases accept, as an argparse type: a terminal may pass any bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(f"{text!r} is not UTF-8") from None
    return text


def duration(text: str) -> timedelta:
    """`90s`, `45m`, `12h`, `30d` or `8w`, as an argparse type; `0` means no time at all."""
    match = re.fullmatch(r"(\d{1,6})([smhdw])", text, re.ASCII)
    if match:
        return timedelta(**{_UNITS[match[2]]: int(match[1])})
    if text == "0":
        return timedelta(0)
    raise argparse.ArgumentTypeError(f"{text!r} is not a duration; write 90s, 45m, 12h, 30d or 8w")


def moment(text: str) -> datetime:
    """A date, a date and time, or a duration from now, as an argparse type."""
    try:
        found = parse_datetime(text) or _midnight(text)
    except ValueError as exc:  # the right format, but not an existing day
        raise argparse.ArgumentTypeError(f"{text!r}: {exc}") from exc
    try:
        if found is None:
            return timezone.now() + duration(text)
        aware = found if timezone.is_aware(found) else timezone.make_aware(found)
        return aware.astimezone(UTC)
    except (argparse.ArgumentTypeError, OverflowError) as exc:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time; write 2030-01-31, 2030-01-31T12:00Z or a duration as 30d"
        ) from exc


def _midnight(text: str) -> datetime | None:
    day = parse_date(text)
    return None if day is None else datetime(day.year, day.month, day.day)


def symbols(text: str) -> tuple[str, list[str]]:
    """`market-data=BTC*,ETH-USD`, as an argparse type."""
    scope, equals, patterns = text.partition("=")
    if not equals or not patterns:
        raise argparse.ArgumentTypeError(f"{text!r}: write SCOPE=PATTERN,PATTERN")
    return scope, patterns.split(",")


def find_key(text: str) -> ApiKey:
    """The key with this prefix (`ara_k3f9a2bc`, `k3f9a2bc`) or whole key; raises CommandError."""
    # Only the visible prefix of a whole key is used: the user may have pasted a leaked key.
    prefix = text.removeprefix("ara_").partition("_")[0]
    key = ApiKey.objects.select_related("owner").filter(prefix=prefix).first()
    if key is None:
        raise CommandError(f"There is no key ara_{prefix}. See list_api_keys.")
    return key


def explain(error: ValidationError) -> str:
    """A validation error as one line for each field."""
    lines = [f"{field}: {' '.join(texts)}" for field, texts in error.message_dict.items()]
    return "\n".join(line.removeprefix("__all__: ") for line in lines)


def as_json(key: ApiKey) -> dict[str, object]:
    return {
        "key": key.visible,
        "name": key.name,
        "owner": key.owner.get_username(),
        "status": key.status.value,
        "scopes": key.scopes,
        "symbols": key.symbols,
        "allowed_origins": key.allowed_origins,
        **{name: getattr(key, name) for name in KEY_LIMITS},
        "created_at": key.created_at.isoformat(),
        "expires_at": key.expires_at and key.expires_at.isoformat(),
        "last_used_at": key.last_used_at and key.last_used_at.isoformat(),
        "revoked_at": key.revoked_at and key.revoked_at.isoformat(),
    }
