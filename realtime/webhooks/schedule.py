"""When a delivery is tried again, and when its endpoint is disabled. Pure: no clock, no I/O."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

# Jitter: a delay grows by up to this share, so that deliveries that failed together spread out.
JITTER: Final = 0.1
# Neither a receiver nor a wrong clock of its host may postpone an attempt for longer.
LONGEST_RETRY_AFTER: Final = timedelta(days=1)
# An endpoint is disabled after this time without a success, ...
DISABLE_AFTER: Final = timedelta(days=5)
# ... but only if the failing event is at least this old: a short outage after a quiet week is not
# five days of failures.
TRIED_FOR: Final = timedelta(hours=1)


def next_attempt(
    tries: int,
    now: datetime,
    *,
    delays: Sequence[float],
    retry_after: timedelta | None,
    chance: float,
) -> datetime | None:
    """When to try again after `tries` attempts that failed; None: never.

    `delays` are the seconds after each attempt; `chance` is random, from 0 to 1. The receiver's
    `retry_after` makes it later, never sooner: the attempts must span days.
    """
    if tries > len(delays):
        return None
    delay = timedelta(seconds=delays[tries - 1] * (1 + JITTER * chance))
    if retry_after is not None:
        delay = max(delay, min(retry_after, LONGEST_RETRY_AFTER))
    return now + delay


def gives_up(failing_since: datetime, created_at: datetime, now: datetime) -> bool:
    """Must the endpoint be disabled? `created_at` belongs to the delivery that has just failed."""
    return now - failing_since >= DISABLE_AFTER and now - created_at >= TRIED_FOR


def parse_retry_after(text: str | None, now: datetime) -> timedelta | None:
    """`Retry-After` as in RFC 9110, seconds or a date; None for anything else."""
    text = (text or "").strip()
    if text.isascii() and text.isdecimal():
        return min(timedelta(seconds=int(text[:9])), LONGEST_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError, TypeError, IndexError):  # the receiver may send anything
        return None
    if moment.tzinfo is None:  # "-0000": UTC, with an unknown local time zone
        moment = moment.replace(tzinfo=UTC)
    return min(max(moment - now, timedelta(0)), LONGEST_RETRY_AFTER)
