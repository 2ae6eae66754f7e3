"""Bars of longer intervals, rolled up in the database from stored bars of a minute and a day."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypedDict

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BigIntegerField, Func, Max, Min, QuerySet, Sum
from django.db.models.sql.compiler import SQLCompiler
from django.utils import timezone

from realtime.models import Bar
from realtime.values import batches

# The length of each interval, and the stored bars that it is made of.
MINUTES: Final = {"1m": 1, "5m": 5, "15m": 15, "1h": 60, "4h": 240}
DAYS: Final = {"1d": 1, "1w": 7}
INTERVALS: Final = (*MINUTES, *DAYS)

_DAY: Final = timedelta(days=1)
# A Monday: counted from here, days begin at midnight and weeks with their Monday, in UTC.
_ORIGIN: Final = datetime(1, 1, 1, tzinfo=UTC)
_ORIGIN_SECONDS: Final = 62_135_596_800  # before 1970
# Bars written within this time of each other were written together: a late tick changes an old one.
_TOGETHER: Final = timedelta(minutes=1)
# Bars that one statement asks for.
_BATCH: Final = 1000


class RolledBar(TypedDict):
    start: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float
    updated_at: datetime
    closed: bool


@dataclass(frozen=True, slots=True)
class Window:
    """Which bars are asked for: those that begin between two times, `limit` of them."""

    after: datetime | None = None
    before: datetime | None = None
    limit: int = 500


def stored_interval(interval: str) -> str:
    """The interval of the stored bars that bars of this interval are made of."""
    return Bar.Interval.MINUTE if interval in MINUTES else Bar.Interval.DAY


def read_bars(symbol: str, interval: str, source: str, window: Window) -> list[RolledBar]:
    """Bars of one source, oldest first: the newest ones, or with `after` those that follow it."""
    unit, parts = (timedelta(minutes=1), MINUTES) if interval in MINUTES else (_DAY, DAYS)
    step = parts[interval] * unit
    stored = Bar.objects.filter(symbol=symbol, interval=stored_interval(interval), source=source)
    wanted = _first(_between(stored, window, step), window, parts[interval] * window.limit, step)
    rows = _grouped(wanted, step)
    order = "-bucket" if window.after is None else "bucket"
    groups = sorted(rows.order_by(order)[: window.limit], key=lambda group: group["bucket"])
    ends = _prices(stored, groups)
    forming = _forming(stored, step)
    return [
        _bar(group, step, ends, forming)
        for group in groups
        if group["first"] in ends and group["last"] in ends  # not deleted meanwhile
    ]


class _Bucket(Func):
    """How many whole steps of so many seconds lie between _ORIGIN and a time."""

    output_field = BigIntegerField()
    arity = 1

    def as_sqlite(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any
    ) -> Any:
        template = "((CAST(strftime('%%%%s', %(expressions)s) AS INTEGER) + %(origin)s) / %(step)s)"
        return self.as_sql(compiler, connection, template=template, **context)

    def as_postgresql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any
    ) -> Any:
        seconds = "EXTRACT(EPOCH FROM %(expressions)s) + %(origin)s"
        template = f"CAST(FLOOR(({seconds}) / %(step)s) AS bigint)"
        return self.as_sql(compiler, connection, template=template, **context)

    def as_mysql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any
    ) -> Any:
        template = (
            "((TIMESTAMPDIFF(SECOND, '1970-01-01', %(expressions)s) + %(origin)s) DIV %(step)s)"
        )
        return self.as_sql(compiler, connection, template=template, **context)


def _grouped(stored: QuerySet[Bar], step: timedelta) -> Any:  # a type made of all annotations
    bucket = _Bucket("start", step=int(step.total_seconds()), origin=_ORIGIN_SECONDS)
    return (
        stored.order_by()
        .annotate(bucket=bucket)
        .values("bucket")
        .annotate(
            first=Min("start"),
            last=Max("start"),
            highest=Max("high"),
            lowest=Min("low"),
            total=Sum("volume"),
            written=Max("updated_at"),
        )
    )


def _between(stored: QuerySet[Bar], window: Window, step: timedelta) -> QuerySet[Bar]:
    """The stored bars that belong to bars which begin between these times."""
    if window.after is not None:
        following = _next_start(window.after, step)
        stored = stored.none() if following is None else stored.filter(start__gte=following)
    if window.before is not None:
        begun = window.before - (window.before - _ORIGIN) % step
        end = begun if begun == window.before else _next_start(begun, step)
        stored = stored if end is None else stored.filter(start__lt=end)
    return stored


def _first(stored: QuerySet[Bar], window: Window, most: int, step: timedelta) -> QuerySet[Bar]:
    """Without the stored bars beyond those that the bars of a window can have at most."""
    forward = window.after is not None
    starts = stored.order_by("start" if forward else "-start").values_list("start", flat=True)
    last = starts[most - 1 : most].first()
    if last is None:
        return stored
    if not forward:
        return stored.filter(start__gte=last - (last - _ORIGIN) % step)
    end = _next_start(last, step)
    return stored if end is None else stored.filter(start__lt=end)


def _next_start(moment: datetime, step: timedelta) -> datetime | None:
    """When the next bar begins; None beyond the calendar."""
    try:
        return moment - (moment - _ORIGIN) % step + step
    except OverflowError:
        return None


def _prices(
    stored: QuerySet[Bar], groups: Sequence[dict[str, Any]]
) -> dict[datetime, tuple[float, float]]:
    """Open and close of the stored bars with which each group begins and ends, by their starts."""
    starts = sorted({group[name] for group in groups for name in ("first", "last")})
    found: dict[datetime, tuple[float, float]] = {}
    for part in batches(starts, _BATCH):
        rows = stored.filter(start__in=part).values_list("start", "open", "close")
        found |= {start: (open, close) for start, open, close in rows}
    return found


def _forming(stored: QuerySet[Bar], step: timedelta) -> int | None:
    """The bucket that the market's clock is in; None if the newest bar is over.

    In a replay that clock is in the past: it was at the last tick when that was written.
    """
    written = stored.order_by("-updated_at").values_list("updated_at", flat=True).first()
    if written is None:
        return None
    together = stored.filter(updated_at__gte=written - _TOGETHER)
    newest = together.order_by("-start").first()
    if newest is None:
        return None
    now = timezone.now()
    clock = now if newest.last_tick_at is None else newest.last_tick_at + (now - newest.updated_at)
    bucket = (newest.start - _ORIGIN) // step
    return bucket if clock - _ORIGIN < (bucket + 1) * step else None


def _bar(
    group: dict[str, Any],
    step: timedelta,
    prices: dict[datetime, tuple[float, float]],
    forming: int | None,
) -> RolledBar:
    return {
        "start": _ORIGIN + group["bucket"] * step,
        "open": prices[group["first"]][0],
        "high": group["highest"],
        "low": group["lowest"],
        "close": prices[group["last"]][1],
        "volume": group["total"],
        "updated_at": group["written"],
        "closed": group["bucket"] != forming,
    }
