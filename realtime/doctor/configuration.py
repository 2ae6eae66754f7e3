"""Settings: what Django's and this app's system checks say, and what a stranger would get."""

from collections.abc import Iterator, Sequence
from typing import Final

from django.conf import settings
from django.core.checks import ERROR, INFO, CheckMessage, run_checks

from realtime.doctor.findings import Finding, error, ok, warning

# Of the system checks, those about SECRET_KEY, DEBUG and ALLOWED_HOSTS.
_KEY: Final = {"realtime.E001", "realtime.E002", "realtime.E010", "realtime.W005", "security.W009"}
_SHOWN: Final = {*_KEY, "security.W018", "security.W020", "realtime.E003"}


def examine_settings() -> Iterator[Finding]:
    yield _debug()
    yield _hosts()
    messages = [
        message
        for message in run_checks(include_deployment_checks=True)
        if message.level > INFO and not message.is_silenced()
    ]
    yield _secret_key([message for message in messages if message.id in _KEY])
    yield _checks([message for message in messages if message.id not in _SHOWN])


def _debug() -> Finding:
    if settings.DEBUG:
        return error(
            "DEBUG", "is on: error pages show code and settings, and memory grows with each query",
            "Set DEBUG=false.",
        )  # fmt: skip
    return ok("DEBUG", "is off")


def _hosts() -> Finding:
    hosts = ", ".join(settings.ALLOWED_HOSTS)
    if not hosts:
        return error(
            "ALLOWED_HOSTS", "is empty: every request is answered with 400",
            "Set it to the names that clients use: realtime.example.com",
        )  # fmt: skip
    if "*" in settings.ALLOWED_HOSTS:
        return warning(
            "ALLOWED_HOSTS", f"{hosts}: any Host header is believed",
            "Set it to the names that clients use: realtime.example.com",
        )  # fmt: skip
    return ok("ALLOWED_HOSTS", hosts)


def _secret_key(messages: Sequence[CheckMessage]) -> Finding:
    if not messages:
        return ok("SECRET_KEY", "is long and not an example")
    first = max(messages, key=lambda message: message.level)
    make = error if first.level >= ERROR else warning
    way_out = "Set 50 random characters, the same ones on every machine."
    return make("SECRET_KEY", f"{first.msg} ({first.id})", way_out)


def _checks(messages: Sequence[CheckMessage]) -> Finding:
    """By their ids: the command that is named says the rest."""
    if not messages:
        return ok("check --deploy", "finds nothing else")
    ids = ", ".join(sorted({str(message.id) for message in messages}))
    serious = any(message.level >= ERROR for message in messages)
    make = error if serious else warning
    return make("check --deploy", f"finds {ids}", "Run python manage.py check --deploy.")
