"""The files that are made in VAR_DIR: for their owner only, and one line if one cannot be used.

When Django starts: reading the settings makes none of them.
"""

import contextlib
import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from realtime.standalone.valkey import EmbeddedServerError, private_opener, socket_path

# They write source code, which is for everybody who may read the project.
_WRITES_SOURCE: Final = (
    "startapp", "startproject", "makemigrations", "squashmigrations", "optimizemigration",
    "makemessages", "compilemessages",
)  # fmt: skip


def prepare() -> None:
    """Make what the settings promise, before the first app asks for it."""
    directory: Path = settings.REALTIME_VAR_DIR
    if not settings.UNDER_TEST:
        make_private()
    make_directory(directory)
    try:
        _ = settings.SECRET_KEY
    except ImproperlyConfigured:  # Django's word for an empty one
        settings.SECRET_KEY = secret_key(directory / "secret_key")
    if settings.DATABASES["default"]["NAME"] == str(directory / "db.sqlite3"):
        private_sqlite(directory / "db.sqlite3")
    make_directory(Path(settings.STATIC_ROOT))
    if settings.REALTIME_EMBEDDED_VALKEY:
        private_socket(directory / "valkey")


def make_private() -> None:
    """What this process makes from now on is for its owner only, in any directory."""
    if not set(sys.argv[1:2]) & set(_WRITES_SOURCE):
        os.umask(0o077)


@contextlib.contextmanager
def usable(path: Path, way_out: str) -> Iterator[None]:
    """Raise ImproperlyConfigured with the path and the way out where the block cannot use it."""
    try:
        yield
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not text"
        raise ImproperlyConfigured(f"{path} cannot be used: {reason}; {way_out}") from None


def secret_key(path: Path) -> str:
    """A key that is made once and kept in this file."""
    with usable(path, f"let {_us()} read and write it, or set SECRET_KEY or VAR_DIR"):
        with contextlib.suppress(FileExistsError), open(path, "x", opener=private_opener) as file:
            file.write(secrets.token_urlsafe(50))
        key = path.read_text()
    if not key:
        raise ImproperlyConfigured(f"{path} is empty; remove it, or set SECRET_KEY")
    return key


def make_directory(path: Path) -> None:
    with usable(path, f"let {_us()} write in {path.parent}, or set VAR_DIR"):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)


def private_sqlite(path: Path) -> None:
    """Make this database where it is missing; nobody outside its group may read it."""
    with usable(path, f"let {_us()} read and write it, or set DATABASE_URL or VAR_DIR"):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    for name in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        with contextlib.suppress(OSError):  # there is none, or it is somebody else's
            name.chmod(name.stat().st_mode & ~0o007)


def _us() -> str:
    return f"user {os.geteuid()}"


def private_socket(directory: Path) -> None:
    """Where a long path leads elsewhere, nobody else may have been there first."""
    try:
        socket_path(directory)
    except (EmbeddedServerError, OSError) as exc:
        raise ImproperlyConfigured(f"{exc} Or set REDIS_URL.") from None
