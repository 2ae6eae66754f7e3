"""Links in mails, which work without a login: they are signed, and each says one thing only."""

from datetime import timedelta
from typing import Final
from urllib.parse import urlencode, urlsplit

from django.core import signing
from django.urls import NoReverseMatch, reverse

from realtime.conf import conf

_CONFIRM: Final = "realtime.destinations.confirm"
_STOP: Final = "realtime.destinations.stop"
CONFIRM_WITHIN: Final = timedelta(days=3)


def confirm_link(destination_id: int) -> tuple[str, str]:
    """The link, and the name of this site; both empty where there is none."""
    return _link("confirm-destination", signing.dumps(destination_id, salt=_CONFIRM))


def stop_link(destination_id: int) -> tuple[str, str]:
    return _link("stop-destination", signing.dumps(destination_id, salt=_STOP))


def read_confirm(token: str) -> int | None:
    """The destination that a link confirms; None for one that is forged or too old."""
    return _read(token, _CONFIRM, CONFIRM_WITHIN)


def read_stop(token: str) -> int | None:
    """It never expires: an old mail must be enough to stop new ones."""
    return _read(token, _STOP, None)


def _link(name: str, token: str) -> tuple[str, str]:
    site = conf.REALTIME_PUBLIC_URL.rstrip("/")
    try:
        path = reverse(f"realtime:{name}")
    except NoReverseMatch:  # a project whose URLs leave ours out
        site = ""
    if not site:
        return "", ""
    # A parameter, which logs of servers leave out: see access/redact.py.
    query = urlencode({"token": token})
    return f"{site}{path}?{query}", str(urlsplit(site).netloc)


def _read(token: str, salt: str, max_age: timedelta | None) -> int | None:
    try:
        found = signing.loads(token, salt=salt, max_age=max_age)
    except (signing.BadSignature, ValueError):
        return None
    return found if isinstance(found, int) else None
