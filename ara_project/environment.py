"""How settings are read from the environment: each kind of value, and an error that names it.

A number, a choice or an address that is empty has its default, as one that is absent: `NAME=` is
what compose files and unit files write for nothing. A bad value raises ImproperlyConfigured with
the name of the variable and, unless it may hold a secret, the value.

Values are literal. django-environ would read `$NAME` as another variable: a password or key that
begins with a dollar sign would be lost without a word.
"""

import contextlib
import ipaddress
import json
import logging
import os
import re
import zoneinfo
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import environ
from django.core.exceptions import ImproperlyConfigured

from ara_project import addresses

# Seconds, bytes, anything: what Redis and calendars still count with, 68 years of seconds.
MOST: Final = 2**31 - 1
MOST_DAYS: Final = 36_500


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

    def flag(self, var: str, *, default: bool) -> bool:
        """True or false, spelled so that no typing error turns a protection off."""
        self.names.add(var)
        text = os.environ.get(var, str(default)).strip().lower()
        if text in ("true", "1", "yes", "on"):
            return True
        if text in ("false", "0", "no", "off", ""):
            return False
        raise ImproperlyConfigured(f"{var}={text!r}: must be true or false")

    def choice(self, var: str, default: str, *others: str) -> str:
        """One of these words."""
        text = self.text(var, default=default)
        if text not in (default, *others):
            raise ImproperlyConfigured(
                f"{var}={text!r}: must be {', '.join((default, *others[:-1]))} or {others[-1]}"
            )
        return text

    def number(self, var: str, *, default: float, least: float = 0) -> float:
        """A number from `least` to MOST."""
        text = self.text(var)
        try:
            value = float(text) if text else default
        except ValueError:
            value = float("nan")
        if not least <= value <= MOST:
            raise ImproperlyConfigured(
                f"{var}={_short(text)!r}: must be a number, {least:g} or more{_limit(value, MOST)}"
            )
        return value

    def count(self, var: str, *, default: int, least: int = 1, most: int = MOST) -> int:
        """An integer from `least` to `most`."""
        text = self.text(var)
        try:
            value = int(text) if text else default
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            raise ImproperlyConfigured(
                f"{var}={_short(text)!r}: must be a whole number, {least} or more"
                f"{_limit(value, most)}"
            )
        return value

    def days(self, var: str, *, default: int, least: int = 1) -> int:
        """An age that lies within all calendars."""
        return self.count(var, default=default, least=least, most=MOST_DAYS)

    def seconds(self, var: str, *, default: list[float]) -> list[float]:
        """Numbers of seconds, comma-separated, each 0 or more."""
        try:
            values = [float(text) for text in self.names_of(var)]
        except ValueError:
            values = [-1.0]
        if not all(0 <= value <= MOST for value in values):
            raise ImproperlyConfigured(
                f"{var}={os.environ.get(var)!r}: must be seconds, comma-separated: 5,300,1800"
            )
        return values or default

    def json_object(self, var: str) -> dict[str, Any]:
        """A JSON object, empty by default. Its value is in no message: it may hold secrets."""
        try:
            value = json.loads(self.text(var) or "{}")
            json.dumps(value, allow_nan=False)  # Python reads NaN and 1e999, too
        except (ValueError, RecursionError) as exc:
            raise ImproperlyConfigured(f"{var} is not JSON: {exc}") from None
        if not isinstance(value, dict):
            raise ImproperlyConfigured(f"{var} must be a JSON object")
        return value

    def directory(self, var: str, *, default: Path) -> Path:
        """An absolute path, made where it is missing, for its owner only."""
        path = Path(self.text(var) or default).resolve()
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as exc:
            raise ImproperlyConfigured(
                f"{var}={str(path)!r} cannot be made: {exc.strerror}; name a directory that can"
            ) from None
        return path

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

    def endpoint(self, var: str, *, default: str, scheme: str) -> str:
        """A URL of somebody's API, with TLS or, for a stand-in, without."""
        url = self.text(var, default=default)
        with _refusing(f"{var} is not a valid URL; write {default}"):
            addresses.split(url, [f"{scheme}s", scheme])
        return url

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
                    f"{var}: {_shown(host)} is not a host name; write realtime.example.com, "
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
                    f"{var}: {_shown(origin)} is not an origin; write https://app.example.com or "
                    "https://*.example.com, without a path"
                )
        return origins

    def hosts(self, var: str) -> list[str]:
        """Names or addresses, each alone or with a port."""
        names = self.names_of(var)
        for name in names:
            if not re.fullmatch(r"[\w.-]+(:\d+)?|\[[\da-f:.]+\](:\d+)?|[\da-f:.]+", name, re.I):
                raise ImproperlyConfigured(
                    f"{var}: {_shown(name)} is not a host; write collector.internal, "
                    "10.0.0.5:8080 or [::1]"
                )
        return names

    def networks(self, var: str) -> list[str]:
        """IP networks, or `unix`."""
        names = self.names_of(var)
        for name in names:
            try:
                if name != "unix":
                    ipaddress.ip_network(name, strict=False)
            except ValueError:
                raise ImproperlyConfigured(
                    f"{var}: {_shown(name)} is not a network; write 10.0.0.0/8, ::1/128 or unix"
                ) from None
        return names


@contextlib.contextmanager
def _refusing(message: str) -> Iterator[None]:
    try:
        yield
    except addresses.BadAddress as exc:
        raise ImproperlyConfigured(f"{message}. It {exc}") from None


def _shown(name: str) -> str:
    """A name that is meant to be public, unless somebody has written a login into it."""
    return "a value with @" if "@" in name else repr(name)


def _limit(value: float, most: int) -> str:
    return f", and {most} at most" if value > most else ""


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}…"
