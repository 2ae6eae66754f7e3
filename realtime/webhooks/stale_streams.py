"""Watches all streams: emits one `stream_stale` event each time that a stream goes quiet.

Server processes notify their own sockets (`realtime.delivery.staleness`); this module notifies
webhooks, whether or not the stream has readers.
"""

import asyncio
import logging
from contextlib import aclosing
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from django.db import Error as DatabaseError
from django.db import IntegrityError, transaction

from realtime import workers
from realtime.aside import set_aside
from realtime.cancelling import run_until
from realtime.db import in_database
from realtime.delivery.follow import FreshnessChange, follow_status
from realtime.models import Silence
from realtime.protocol import timestamp
from realtime.retry import Retry, Stopped
from realtime.streams import WILDCARD, Stream
from realtime.webhooks.events import emit

logger = logging.getLogger(__name__)

STREAMS: Final = (Stream("market-data", WILDCARD), Stream("predictions", WILDCARD))
# After a restart only the publication time of the last update is known, not its arrival here.
_SAME: Final = timedelta(seconds=2)


async def run_freshness(stop: asyncio.Event) -> None:
    """Watch until `stop` is set. Raises ImproperlyConfigured with a layer without streams."""
    await run_until(stop, _watch(Retry(stop, outages=(DatabaseError,))), grace=0.0)


async def _watch(retry: Retry) -> None:
    quiet: dict[Stream, bool] = {}  # streams that were quiet before: are they quiet now?
    try:
        workers.step(lag=0.0, rest=None)
        async with aclosing(follow_status(STREAMS)) as items:
            async for status in items:
                workers.step()
                workers.did(1)
                stream = status.stream
                if status.stale and not status.reason and not quiet.get(stream):
                    tolerance = timedelta(0) if stream in quiet else _SAME
                    quiet[stream] = True
                    with set_aside(f"the silence of {stream.channel} of {stream.symbol}"):
                        await retry.until_done(in_database(partial(tell, status, tolerance)))
                elif stream in quiet and not status.stale:
                    quiet[stream] = False
                workers.step(rest=None)
    except Stopped:
        pass


def tell(status: FreshnessChange, tolerance: timedelta = _SAME) -> bool:
    """Emit the event of a stream that went quiet, unless this silence was reported before.

    Silences that begin within `tolerance` of each other are the same.
    """
    stream, last = status.stream, status.last_update
    if last is None:
        return False
    try:
        with transaction.atomic():
            if _told(stream, last, tolerance):
                return False
            emit(
                "stream_stale",
                {
                    "channel": stream.channel,
                    "symbol": stream.symbol,
                    "state": "stale",
                    "last_update": timestamp(last),
                    "expected_every": status.expected_every,
                },
                symbol=stream.symbol,
            )
    except IntegrityError:
        return False  # another watcher was faster
    logger.info("%s of %s has been quiet since %s", stream.channel, stream.symbol, timestamp(last))
    return True


def _told(stream: Stream, last: datetime, tolerance: timedelta) -> bool:
    """Was this silence reported before? If not, mark it as reported."""
    rows = Silence.objects.select_for_update()
    row = rows.filter(channel=stream.channel, symbol=stream.symbol).first()
    if row is None:
        Silence.objects.create(channel=stream.channel, symbol=stream.symbol, last_update=last)
        return False
    if last - row.last_update <= tolerance:
        return True
    row.last_update = last
    row.save()
    return False
