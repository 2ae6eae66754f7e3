"""How settings are read from the environment: each kind of value, and an error that names it.

A number, a choice or an address that is empty has its default, as one that is absent: `NAME=` is
what compose files and unit files write for nothing. A bad value raises ImproperlyConfigured with
the name of the variable and, unless it may hold a secret, the value.

Values are literal. django-environ would read `$NAME` as another variable: a password or key that
begins with a dollar sign would be lost without a word.
"""

import contextlib
import logging
import os
import re
import zoneinfo
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import environ
from django.core.exceptions import ImproperlyConfigured

from ara_project import addresses
from realtime.conf import DECLARED
from realtime.setting_kinds import BadAddress, Count, Flag, Setting, shown

T = TypeVar("T")


class Environment(environ.Env):  # type: ignore[misc]  # django-environ has no types
    """django-environ's reader; `names` are the variables that were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def get_value(
        self,
        var: str,
        cast: Any = None,
        default: Any = environ.Env.NOTSET,
        parse_default: bool = False,
    ) -> Any:
        """The value as it stands, converted by django-environ."""
        self.names.add(var)
        value = os.environ.get(var, default)
        if value is self.NOTSET:
            raise ImproperlyConfigured(f"{var} is not set in the environment")
        if value is default and not parse_default:
            return default
        if cast is None and default is not None and default is not self.NOTSET:
            cast = type(default)
        try:
            return self.parse_value(value, cast)
        except (ValueError, TypeError):
            kind = getattr(cast, "__name__", "value of its type")
            raise ImproperlyConfigured(f"{var} cannot be read as a {kind}") from None

    def text(self, var: str, *, default: str = "") -> str:
        """The value without blanks around it; the default where that leaves nothing."""
        self.names.add(var)
        return os.environ.get(var, "").strip() or default

    def read(self, var: str, kind: Setting[T]) -> T:
        """The variable as a setting of this kind; its default where the variable is absent."""
        self.names.add(var)
        text = os.environ.get(var)
        return kind.default if text is None else kind.parse(var, text)

    def flag(self, var: str, *, default: bool) -> bool:
        return self.read(var, Flag(default))

    def count(self, var: str, *, default: int, least: int = 1) -> int:
        return self.read(var, Count(default, least=least))

    def app_settings(self) -> dict[str, object]:
        """The settings of realtime/conf.py that the environment has."""
        self.names.update(name for setting in DECLARED.values() for name in setting.variables)
        values = {name: setting.read(os.environ) for name, setting in DECLARED.items()}
        return {name: value for name, value in values.items() if value is not None}

    def directory(self, var: str, *, default: Path) -> Path:
        """An absolute path."""
        return Path(self.text(var) or default).resolve()

    def time_zone(self, var: str, *, default: str) -> str:
        name = self.text(var, default=default)
        try:
            zoneinfo.ZoneInfo(name)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            raise ImproperlyConfigured(
                f"{var}={name!r} is not a time zone; write Europe/Berlin or UTC"
            ) from None
        return name

    def log_level(self, var: str, *, default: str) -> str:
        name = self.text(var, default=default).upper()
        if name not in logging.getLevelNamesMapping():
            raise ImproperlyConfigured(
                f"{var}={name!r}: must be DEBUG, INFO, WARNING, ERROR or CRITICAL"
            )
        return name

    # Addresses that may have a password are in no message ----------------------------------------

    def database(self, var: str, *, default: Path) -> dict[str, Any]:
        """Django's dictionary of a database URL; by default SQLite in this file."""
        url = self.text(var)
        if not url:
            return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(default)}
        with _refusing(
            f"{var} is not a valid database URL; write postgres://user:password@host:5432/name or "
            "sqlite:////path/to/file"
        ):
            return addresses.database(url)

    def redis_urls(self, var: str) -> list[str]:
        urls = self.names_of(var)
        with _refusing(
            f"{var} is not a valid Redis URL; write redis://host:6379/0, rediss://… for TLS, or "
            "unix:///path/to/socket"
        ):
            for url in urls:
                addresses.check_redis(url)
        return urls

    def broker_url(self, var: str, *, default: str) -> str:
        url = self.text(var, default=default)
        with _refusing(
            f"{var} is not a valid URL of a broker; write redis://host:6379/0 or amqp://host"
        ):
            addresses.check_broker(url)
        return url

    def mail(self, var: str) -> dict[str, Any]:
        """Django's settings of a mail server; by default no mail is sent."""
        with _refusing(
            f"{var} is not a valid address of a mail server; write "
            "smtp+tls://user:password@host:587"
        ):
            return addresses.mail(self.text(var, default="dummymail://"))

    # Hosts and networks -------------------------------------------------------------------------

    def names_of(self, var: str, *, default: list[str] | None = None) -> list[str]:
        """Names, comma-separated, without blanks around them."""
        names: list[str] = self.list(var, default=default or [])
        return [name.strip() for name in names if name.strip()]

    def served_hosts(self, var: str, *, default: list[str]) -> list[str]:
        """What Django compares with the header `Host`, without its port."""
        hosts = self.names_of(var, default=default)
        for host in hosts:
            if not re.fullmatch(r"\*|\.?[a-z\d][a-z\d.-]*|\[[\da-f:.]+\]", host, re.I):
                raise ImproperlyConfigured(
                    f"{var}: {shown(host)} is not a host name; write realtime.example.com, "
                    ".example.com for all its subdomains, 10.0.0.5 or [::1], without scheme, port "
                    "and path"
                )
        return hosts

    def origins(self, var: str) -> list[str]:
        """Scheme, host and port of pages; `*.` stands for subdomains."""
        origins = self.names_of(var)
        for origin in origins:
            if not re.fullmatch(
                r"https?://(\*\.)?([a-z\d][\w.-]*|\[[\da-f:.]+\])(:\d{1,5})?", origin, re.I
            ):
                raise ImproperlyConfigured(
                    f"{var}: {shown(origin)} is not an origin; write https://app.example.com or "
                    "https://*.example.com, without a path"
                )
        return origins


@contextlib.contextmanager
def _refusing(message: str) -> Iterator[None]:
    try:
        yield
    except BadAddress as exc:
        raise ImproperlyConfigured(f"{message}. It {exc}") from None
