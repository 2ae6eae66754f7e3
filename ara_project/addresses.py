"""Addresses of servers, as the environment spells them: is each what the client libraries will use?

They would refuse some only at the first connection, with a password in the error, and take others
for another server. No error here repeats the address or the words of a library.
"""

import re
import warnings
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

import environ
import redis
from django.core.exceptions import ImproperlyConfigured
from django.db.utils import load_backend
from kombu import Connection
from kombu.transport import TRANSPORT_ALIASES

from realtime.setting_kinds import ESCAPE, BadAddress, split_url

_MAIL_SCHEMES: Final = ("smtp", "smtps", "smtp+tls", "smtp+ssl")
_TRUTH: Final = {"true": True, "1": True, "false": False, "0": False}
# Django's own; libpq knows the others.
_POSTGRES_OPTIONS: Final = {"assume_role", "isolation_level", "pool", "server_side_binding"}
_POSTGRES_NUMBERS: Final = {
    "connect_timeout", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count",
    "tcp_user_timeout",
}  # fmt: skip
# What says where the server is; a service is in a file that may be written later.
_POSTGRES_PLACES: Final = {"service", "host", "hostaddr", "port"}
# A directory without a socket: the error of a connection to it names it.
_NOWHERE: Final = "/proc/self/none"


def check_redis(url: str) -> None:
    parts = split_url(url)
    if parts.scheme == "unix":
        valid = bool(parts.path) and not parts.hostname
    else:
        valid = bool(parts.hostname) and re.fullmatch(r"(/\d*)?", parts.path) is not None
    if not valid or parts.scheme not in ("unix", "redis", "rediss"):
        raise BadAddress("is not of this form")
    try:
        redis.ConnectionPool.from_url(url).make_connection()  # connects at its first command
    except Exception:
        raise BadAddress("has an option that redis-py does not know, or a bad value") from None


def check_broker(urls: str) -> None:
    """Of Celery; several, separated by `;`, stand in for each other."""
    for url in urls.split(";"):
        parts = split_url(url)
        transport = parts.scheme.partition("+")[0]
        if "://" not in url or transport not in TRANSPORT_ALIASES:
            raise BadAddress("does not begin with a transport that Celery knows")
        if parts.scheme in ("redis", "rediss") and not re.fullmatch(r"/{0,2}\d*", parts.path):
            raise BadAddress("names a database that is not a number")
        _check_celery(url)


def _check_celery(url: str) -> None:
    try:
        Connection(url)  # connects when it is used
    except ImportError:
        raise BadAddress("needs a package that cannot be imported: install it") from None
    except Exception:
        raise BadAddress("has an option that Celery does not know, or a bad value") from None


def database(url: str) -> dict[str, Any]:
    """Django's dictionary."""
    # django-environ lets a `#` stand for itself, and takes a `+` in a path for a blank.
    place, mark, options = url.replace("#", "%23").partition("?")
    url = place.replace("+", "%2B") + mark + options
    try:
        parts = urlsplit(url)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the errors below say it better
            config: dict[str, Any] = environ.Env.db_url_config(url)
    except ValueError:
        raise BadAddress(f"has no valid host and port; {ESCAPE}") from None
    engine = config.get("ENGINE", "")
    if "." not in engine:
        raise BadAddress("does not begin with a kind of database that Django knows")
    if engine.endswith(".sqlite3"):
        if parts.netloc not in ("", ":memory:"):
            raise BadAddress("names a host: a path has three slashes before it, or four")
    else:
        _check_database_server(config, parts)
    config = _typed(config)
    try:
        load_backend(engine)
    except (ImproperlyConfigured, ImportError, OSError):
        raise BadAddress("needs a driver that cannot be imported: install it") from None
    return config


def _check_database_server(config: dict[str, Any], parts: SplitResult) -> None:
    if "@" in parts.path + parts.query or "," not in parts.netloc:
        split_url(parts.geturl())
    options: dict[str, Any] = config.get("OPTIONS", {})
    if not config["NAME"] and "service" not in options:
        raise BadAddress(f"names no database; {ESCAPE}")
    if config["ENGINE"].endswith(".postgresql"):
        _check_postgres(
            {name: value for name, value in options.items() if name not in _POSTGRES_OPTIONS}
        )


def _check_postgres(options: dict[str, Any]) -> None:
    """libpq looks at the values of all options before it looks for its server."""
    import psycopg  # a tenth of the start of a process that needs no PostgreSQL

    for name in _POSTGRES_NUMBERS & options.keys():
        if not re.fullmatch(r"-?\d{1,9}", str(options[name])):
            raise BadAddress(f"has an option {name} that is not a whole number")
    local = {name: value for name, value in options.items() if name not in _POSTGRES_PLACES}
    try:
        psycopg.conninfo.make_conninfo(**options)
        text = psycopg.conninfo.make_conninfo(**local, host=_NOWHERE)
    except psycopg.Error:
        raise BadAddress("has an option that PostgreSQL does not know") from None
    connection = psycopg.pq.PGconn.connect_start(text.encode())
    found = connection.error_message
    connection.finish()
    if _NOWHERE.encode() not in found:
        raise BadAddress("has an option with a value that PostgreSQL does not know")


def _typed(config: dict[str, Any]) -> dict[str, Any]:
    """Django's options whose values are not text: `false` would count as true."""
    for name in (
        "ATOMIC_REQUESTS",
        "AUTOCOMMIT",
        "CONN_HEALTH_CHECKS",
        "DISABLE_SERVER_SIDE_CURSORS",
    ):
        if name in config:
            text = str(config[name]).lower()
            if text not in _TRUTH:
                raise BadAddress(f"has an option {name.lower()} that is not true or false")
            config[name] = _TRUTH[text]
    if not isinstance(config.get("CONN_MAX_AGE", 0), int | None):
        raise BadAddress("has an option conn_max_age that is not a number of seconds")
    return config


def mail(url: str) -> dict[str, Any]:
    """Django's settings of a mail server."""
    parts = split_url(url)
    if parts.scheme not in environ.Env.EMAIL_SCHEMES:
        raise BadAddress("does not begin with smtp://, smtp+tls:// or smtp+ssl://")
    if parts.query:
        raise BadAddress("takes no options; smtp+tls:// and smtp+ssl:// encrypt")
    if parts.scheme in _MAIL_SCHEMES and (not parts.hostname or parts.path.strip("/")):
        raise BadAddress(f"names no host, or a path; {ESCAPE}")
    config: dict[str, Any] = environ.Env.email_url_config(url)
    return config
