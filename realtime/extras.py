"""The extras of the package: what one part of the app needs, and others do not have to install."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, distribution
from typing import Final

_PACKAGE: Final = "ara-realtime"
# What has them in a checkout of this project, where the package is not installed.
_FILES: Final = {
    "feeds": "requirements-ccxt.txt",
    "forecast": "requirements-forecast.txt",
    "notify": "requirements-notify.txt",
    "plot": "requirements-plot.txt",
}


class MissingExtra(ImportError):
    """Raised where a package is missing; says which extra brings it."""


@contextmanager
def extra(name: str, *, needed_by: str) -> Iterator[None]:
    """Import what this extra brings inside the block; raises MissingExtra."""
    try:
        yield
    except ModuleNotFoundError as exc:
        raise missing(name, needed_by=needed_by, package=exc.name or name) from exc


def missing(name: str, *, needed_by: str, package: str) -> MissingExtra:
    package = package.partition(".")[0]
    return MissingExtra(f"{needed_by} needs {package}: {_install(name)}")


def _install(name: str) -> str:
    try:
        distribution(_PACKAGE)
    except PackageNotFoundError:
        return f"pip install -r {_FILES.get(name, 'requirements.txt')}"
    return f"pip install '{_PACKAGE}[{name}]'"
