"""When a webhook is tried again, and when its endpoint is given up: pure, no clock and no I/O."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

# A delay grows by up to this part of itself, so that what failed together does not return together.
JITTER: Final = 0.1
# Neither a receiver nor an accident of its clock may put an attempt off for longer.
LONGEST_RETRY_AFTER: Final = timedelta(days=1)
# An endpoint without a success for so long is disabled, ...
DISABLE_AFTER: Final = timedelta(days=5)
# ... but not by an event that was new just now: a short outage after a quiet week is not five days.
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

    `delays` are the seconds after each attempt; `chance` lies within 0 to 1. `retry_after`, as the
    receiver asked, makes it later, never sooner: the attempts are to last for days.
    """
    if tries > len(delays):
        return None
    delay = timedelta(seconds=delays[tries - 1] * (1 + JITTER * chance))
    if retry_after is not None:
        delay = max(delay, min(retry_after, LONGEST_RETRY_AFTER))
    return now + delay


def gives_up(failing_since: datetime, created_at: datetime, now: datetime) -> bool:
    """Is it time to disable an endpoint? `created_at` is of the delivery that failed just now."""
    return now - failing_since >= DISABLE_AFTER and now - created_at >= TRIED_FOR


def parse_retry_after(text: str | None, now: datetime) -> timedelta | None:
    """`Retry-After` as RFC 9110 has it, seconds or a date; None for anything else."""
    text = (text or "").strip()
    if text.isascii() and text.isdecimal():
        return min(timedelta(seconds=int(text[:9])), LONGEST_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError, TypeError, IndexError):  # whatever a stranger wrote
        return None
    if moment.tzinfo is None:  # "-0000": UTC, and nothing said about the place
        moment = moment.replace(tzinfo=UTC)
    return min(max(moment - now, timedelta(0)), LONGEST_RETRY_AFTER)
