"""Kinds of settings: how each is read, in Python and as text, and what it may be.

An error names the setting and the way out and, unless it may hold a secret, the value. One text
serves `manage.py check`, the start of a server and a variable of the environment.
"""

import ipaddress
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Generic, NoReturn, TypeVar
from urllib.parse import SplitResult, parse_qsl, urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

T = TypeVar("T")

# Seconds, bytes, anything: what Redis and calendars still count with, 68 years of seconds.
MOST: Final = 2**31 - 1
MOST_DAYS: Final = 36_500
ESCAPE: Final = "in a password write %23 for #, %3F for ?, %2F for / and %40 for @"

_HOST: Final = re.compile(r"[\w.%-]+|[\da-f:.]+(%\w+)?", re.I)
_TRUE: Final = ("true", "1", "yes", "on")
_FALSE: Final = ("false", "0", "no", "off", "")
# What Django has looked up; it forgets when an override begins or ends. An absent name costs
# microseconds each time, so its default is noted there, too.
_known: Final[dict[str, Any]] = vars(settings)


class Setting(Generic[T]):
    """A setting with this default; as an attribute, its value at the moment of reading.

    `unit` is for the documentation. `environment`: may a variable of its name set it?
    """

    name = ""
    # Whether an error may repeat the value.
    public = True

    def __init__(self, default: T, *, unit: str = "", environment: bool = True) -> None:
        self.fixed = default
        self.unit = unit
        self.environment = environment

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: object, owner: type) -> T:
        try:
            value: T = _known[self.name]
        except KeyError:
            value = getattr(settings, self.name, self.default)
            if self.name.startswith("REALTIME_"):
                _known[self.name] = value
        return value

    @property
    def default(self) -> T:
        return self.fixed

    @property
    def variables(self) -> Mapping[str, "Setting[Any]"]:
        """The variables of the environment that set it, each with what may be in it."""
        return {self.name: self} if self.environment else {}

    def read(self, variables: Mapping[str, str]) -> object:
        """Its value from an environment; None where that says nothing."""
        text = variables.get(self.name) if self.environment else None
        return None if text is None else self.parse(self.name, text)

    def parse(self, name: str, text: str) -> T:
        """The value of a variable; blank is as good as absent."""
        text = text.strip()
        return self.check(name, self.convert(text)) if text else self.default

    def convert(self, text: str) -> object:
        """What the text says; the text itself where that is nothing of this kind."""
        return text

    def check(self, name: str, value: object) -> T:
        """The value; raises ImproperlyConfigured if it is not one of this kind."""
        raise NotImplementedError

    def refuse(self, name: str, value: object, rule: str) -> NoReturn:
        shown = f"={_short(repr(value))}" if self.public else ""
        raise ImproperlyConfigured(f"{name}{shown}: {rule}")


class Flag(Setting[bool]):
    """True or false, spelled so that no typing error turns a protection off."""

    def parse(self, name: str, text: str) -> bool:
        return self.check(name, self.convert(text.strip()))

    def convert(self, text: str) -> object:
        word = text.lower()
        return True if word in _TRUE else False if word in _FALSE else text

    def check(self, name: str, value: object) -> bool:
        if not isinstance(value, bool):
            self.refuse(name, value, "must be true or false")
        return value


class Number(Setting[float]):
    """A number from `least` to MOST."""

    def __init__(self, default: float, *, least: float = 0, unit: str = "") -> None:
        super().__init__(default, unit=unit)
        self.least = least

    def convert(self, text: str) -> object:
        try:
            return float(text)
        except ValueError:
            return text

    def check(self, name: str, value: object) -> float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not isinstance(value, int | float) or not number or not self.least <= value <= MOST:
            self.refuse(
                name, value, f"must be a number, {self.least:g} or more{_limit(value, MOST)}"
            )
        return value


class Count(Setting[int]):
    """A whole number from `least` to `most`."""

    def __init__(self, default: int, *, least: int = 1, most: int = MOST, unit: str = "") -> None:
        super().__init__(default, unit=unit)
        self.least = least
        self.most = most

    def convert(self, text: str) -> object:
        try:
            return int(text)
        except ValueError:
            return text

    def check(self, name: str, value: object) -> int:
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not isinstance(value, int) or not whole or not self.least <= value <= self.most:
            rule = f"must be a whole number, {self.least} or more{_limit(value, self.most)}"
            self.refuse(name, value, rule)
        return value


class Days(Count):
    """An age that lies within all calendars."""

    def __init__(self, default: int, *, least: int = 1) -> None:
        super().__init__(default, least=least, most=MOST_DAYS, unit="days")


class Text(Setting[str]):
    """Any text. `blank`: is an empty variable an empty text, and not the default?"""

    def __init__(
        self, default: str = "", *, blank: bool = False, unit: str = "", environment: bool = True
    ) -> None:
        super().__init__(default, unit=unit, environment=environment)
        self.blank = blank

    def parse(self, name: str, text: str) -> str:
        return text.strip() if self.blank else super().parse(name, text)

    def check(self, name: str, value: object) -> str:
        if not isinstance(value, str):
            self.refuse(name, value, "must be text")
        return value


class Secret(Text):
    public = False


class Choice(Text):
    """One of these words; the first is the default."""

    def __init__(self, default: str, *others: str) -> None:
        super().__init__(default)
        self.others = others

    def check(self, name: str, value: object) -> str:
        if value not in (self.default, *self.others):
            words = ", ".join((self.default, *self.others[:-1]))
            self.refuse(name, value, f"must be {words} or {self.others[-1]}")
        return str(value)


class Endpoint(Text):
    """A URL of somebody's API, with TLS or, for a stand-in, without."""

    public = False

    def __init__(self, default: str, *, scheme: str) -> None:
        super().__init__(default)
        self.scheme = scheme
        self.example = default or f"{scheme}s://realtime.example.com"

    def check(self, name: str, value: object) -> str:
        url = super().check(name, value)
        if url == self.default == "":  # one that may be left out
            return url
        try:
            split_url(url, [f"{self.scheme}s", self.scheme])
        except BadAddress as exc:
            raise ImproperlyConfigured(
                f"{name} is not a valid URL; write {self.example}. It {exc}"
            ) from None
        return url


class Names(Setting[Sequence[str]]):
    """Texts, in a variable comma-separated, without blanks around them."""

    def __init__(self, *, unit: str = "", environment: bool = True) -> None:
        super().__init__((), unit=unit, environment=environment)

    def convert(self, text: str) -> object:
        return [name.strip() for name in text.split(",") if name.strip()]

    def check(self, name: str, value: object) -> Sequence[str]:
        if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
            raise ImproperlyConfigured(f"{name} must be a list of texts")
        for one in value:
            self.check_one(name, one)
        return value

    def check_one(self, name: str, one: str) -> None:
        """Raise ImproperlyConfigured if this is not one of them."""


class Words(Names):
    """Some of these words; all of them by default."""

    def __init__(self, *words: str) -> None:
        super().__init__()
        self.fixed = words

    def check_one(self, name: str, one: str) -> None:
        if one not in self.fixed:
            raise ImproperlyConfigured(
                f"{name}: {shown(one)} is not one of {', '.join(self.fixed)}"
            )


class Hosts(Names):
    """Names or addresses, each alone or with a port."""

    def check_one(self, name: str, one: str) -> None:
        if not re.fullmatch(r"[\w.-]+(:\d+)?|\[[\da-f:.]+\](:\d+)?|[\da-f:.]+", one, re.I):
            raise ImproperlyConfigured(
                f"{name}: {shown(one)} is not a host; write collector.internal, "
                "10.0.0.5:8080 or [::1]"
            )


class Networks(Names):
    """IP networks, or `unix`."""

    def check_one(self, name: str, one: str) -> None:
        try:
            if one != "unix":
                ipaddress.ip_network(one, strict=False)
        except ValueError:
            raise ImproperlyConfigured(
                f"{name}: {shown(one)} is not a network; write 10.0.0.0/8, ::1/128 or unix"
            ) from None


class Delays(Setting[Sequence[float]]):
    """Numbers of seconds, each 0 or more."""

    def convert(self, text: str) -> object:
        try:
            return [float(part) for part in text.split(",") if part.strip()] or self.default
        except ValueError:
            return text

    def check(self, name: str, value: object) -> Sequence[float]:
        valid = isinstance(value, list | tuple) and all(
            isinstance(one, int | float) and not isinstance(one, bool) and 0 <= one <= MOST
            for one in value
        )
        if not isinstance(value, list | tuple) or not valid or not value:
            self.refuse(name, value, "must be seconds, comma-separated: 5,300,1800")
        return value


class Options(Setting[Mapping[str, Any]]):
    """Arguments by name, in a variable as a JSON object. They may hold secrets."""

    def parse(self, name: str, text: str) -> Mapping[str, object]:
        try:
            value: object = json.loads(text.strip() or "{}")
            json.dumps(value, allow_nan=False)  # Python reads NaN and 1e999, too
        except (ValueError, RecursionError) as exc:
            raise ImproperlyConfigured(f"{name} is not JSON: {exc}") from None
        if not isinstance(value, dict):
            raise ImproperlyConfigured(f"{name} must be a JSON object")
        return value

    def check(self, name: str, value: object) -> Mapping[str, object]:
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise ImproperlyConfigured(f"{name} must be a dictionary whose keys are text")
        return value


class PerChannel(Setting[Mapping[str, T]]):
    """One value per channel; those that a project leaves out have their default.

    A variable of the environment is one of them: REALTIME_HISTORY_LENGTH_MARKET_DATA.
    """

    def __init__(self, kinds: Mapping[str, Setting[T]]) -> None:
        unit = next(iter(kinds.values())).unit
        super().__init__({key: kind.default for key, kind in kinds.items()}, unit=unit)
        self.kinds = kinds

    def __get__(self, instance: object, owner: type) -> Mapping[str, T]:
        given = super().__get__(instance, owner)
        return given if given is self.fixed else {**self.fixed, **given}

    def _variable(self, key: str) -> str:
        return f"{self.name}_{key.upper().replace('-', '_')}"

    @property
    def variables(self) -> Mapping[str, Setting[Any]]:
        return {self._variable(key): kind for key, kind in self.kinds.items()}

    def read(self, variables: Mapping[str, str]) -> object:
        found = {
            key: kind.parse(self._variable(key), variables[self._variable(key)])
            for key, kind in self.kinds.items()
            if self._variable(key) in variables
        }
        return found or None

    def check(self, name: str, value: object) -> Mapping[str, T]:
        if not isinstance(value, Mapping):
            self.refuse(name, value, f"must be a dictionary with the keys {', '.join(self.kinds)}")
        for key, one in value.items():
            if key not in self.kinds:
                raise ImproperlyConfigured(
                    f"{name}: {key!r} is not a key of it; write {' or '.join(self.kinds)}"
                )
            self.kinds[key].check(f"{name}[{key!r}]", one)
        return value


class Directory(Setting[Path]):
    """A path; the default is asked for when it is needed."""

    def __init__(self, find_default: Callable[[], Path]) -> None:
        super().__init__(Path(), environment=False)
        self.find_default = find_default

    @property
    def default(self) -> Path:
        return self.find_default()

    def __get__(self, instance: object, owner: type) -> Path:
        return Path(super().__get__(instance, owner))

    def check(self, name: str, value: object) -> Path:
        if not isinstance(value, str | Path):
            self.refuse(name, value, "must be the path of a directory")
        return Path(value)


class BadAddress(ValueError):
    """The text says what is wrong, without the address."""


def split_url(url: str, schemes: Sequence[str] = ()) -> SplitResult:
    """The parts of a URL that says one thing only; with `schemes`, one of these and a host."""
    if any(not sign.isprintable() or sign.isspace() for sign in url):
        raise BadAddress("has a blank or a control character")
    try:
        parts = urlsplit(url)
        valid = parts.port != 0 and (not parts.netloc or _HOST.fullmatch(parts.hostname or ""))
        parse_qsl(parts.query, strict_parsing=bool(parts.query))
    except ValueError:
        valid = False
    if not valid:
        raise BadAddress(
            f"has no valid host and port, or options that are not name=value; {ESCAPE}"
        )
    if parts.fragment or "@" in parts.path + parts.query:
        raise BadAddress(f"has a # or @ that must be escaped; {ESCAPE}")
    if schemes and (parts.scheme not in schemes or not parts.hostname):
        raise BadAddress(f"does not begin with {' or '.join(f'{name}://' for name in schemes)}")
    return parts


def shown(name: str) -> str:
    """A name that is meant to be public, unless somebody has written a login into it."""
    return "a value with @" if "@" in name else repr(name)


def _limit(value: object, most: int) -> str:
    above = isinstance(value, int | float) and value > most
    return f", and {most} at most" if above else ""


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}…"
