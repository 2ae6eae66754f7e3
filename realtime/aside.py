"""Work on one row, symbol or stream among many, which must not stop that on the others."""

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from django.db import Error as DatabaseError
from django.db.models import Model, QuerySet

from realtime.broadcast import PublishFailed
from realtime.delivery.publisher import BackendUnavailable
from realtime.retry import BAD_VALUES

logger = logging.getLogger(__name__)

M = TypeVar("M", bound=Model)
_OUTAGES: Final = (DatabaseError, PublishFailed, BackendUnavailable)
# Recently logged rows: one that is looked at every second must not flood the log.
_told: Final[OrderedDict[tuple[str, str], None]] = OrderedDict()
_REMEMBERED: Final = 1000


@contextmanager
def set_aside(about: str, then: Callable[[], object] | None = None) -> Iterator[None]:
    """A failure in here is logged once and skipped; `then` ensures that it is not met again.

    An outage is raised. Not for a part of a transaction, which PostgreSQL
    ends with the first error.
    """
    try:
        yield
    except Exception as exc:
        if is_outage(exc):
            raise
        _tell(about, exc)
        if then is not None:
            with set_aside(f"{about}, also when that was to be noted"):
                then()


def is_outage(exc: Exception) -> bool:
    return isinstance(exc, _OUTAGES) and not isinstance(exc, BAD_VALUES)


def readable(
    rows: QuerySet[M],
    limit: int | None = None,
    unreadable: Callable[[Any], object] = lambda pk: None,
) -> list[M]:
    """The rows, `limit` at most, without those whose values cannot be read.

    These are told once; `unreadable` is called with the primary key of each.
    """
    try:
        return list(rows[:limit])
    except Exception as exc:
        if is_outage(exc):
            raise
    found: list[M] = []
    for pk in rows.values_list("pk", flat=True)[:limit]:
        with set_aside(f"{rows.model._meta.verbose_name} {pk}", lambda pk=pk: unreadable(pk)):  # type: ignore[misc]
            found += rows.filter(pk=pk)
    return found


def _tell(about: str, exc: Exception) -> None:
    key = about, type(exc).__name__
    if key not in _told:
        logger.error("%s is set aside: %r", about, exc)
    _told[key] = None
    _told.move_to_end(key)
    if len(_told) > _REMEMBERED:
        _told.popitem(last=False)
