"""How often would a rule have fired? Replays past data to it, with and without its cooldown.

Past data is what the streams still hold (with the times of publication), or stored bars. A bar is
replayed as four updates, evenly spread over its interval: the open, the extreme nearer to the open,
the other extreme, the close. The data is read a page at a time and evaluated in a separate process,
see `trial`.
"""

import asyncio
import contextlib
import logging
import pickle
import sys
import threading
from asyncio.subprocess import PIPE, Process
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Hashable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Final, Literal

import msgspec

from realtime.alerts.rules import Definition
from realtime.alerts.trial import BarRow
from realtime.conf import conf
from realtime.db import in_database
from realtime.delivery.layers import StreamLayer, current_layer
from realtime.models import Bar
from realtime.protocol import Position
from realtime.streams import Stream

logger = logging.getLogger(__name__)

Past = Literal["history", "1m", "1d"]
PASTS: Final = ("history", "1m", "1d")
# How many past updates and bars are evaluated.
MAX_SYMBOLS: Final = 50
MAX_UPDATES: Final = 50_000
# Concurrent dry runs in this process, each for a different user; and the wait that other users are
# told.
MAX_AT_ONCE: Final = 2
RETRY_SECONDS: Final = 5
# Seconds that a dry run may take by the clock, however little CPU time it gets.
_PATIENCE: Final = 60.0
# Largest report in bytes: the messages of two hundred firings.
_LONGEST: Final = 16 * 1024 * 1024
_BAR: Final = {"1m": timedelta(minutes=1), "1d": timedelta(days=1)}

Send = Callable[..., Awaitable[None]]


class Busy(Exception):
    """Raised when too many dry runs are in progress; `retry_after` in seconds."""

    retry_after = RETRY_SECONDS


class TooMuch(Exception):
    """Raised for rules whose dry run takes too long."""

    def __str__(self) -> str:
        return "takes too long; name fewer symbols, or fewer conditions"


async def try_out(
    definitions: Sequence[Definition], past: Past, user_id: Hashable
) -> list[Mapping[str, object]]:
    """A report for each rule: `updates`, `begin`, `end`, `fired`, `fired_without_cooldown`, and
    the newest `times` of both; for a rule that cannot be evaluated, `failed` with the reason.

    Raises Busy, TooMuch, BackendUnavailable and DatabaseError.
    """
    with _place(user_id):
        try:
            async with asyncio.timeout(_PATIENCE), _process() as process:
                return [
                    {"past": past, **await _report(process, definition, past)}
                    for definition in definitions
                ]
        except (TimeoutError, ConnectionError, EOFError):
            raise TooMuch from None


_running: Final[set[Hashable]] = set()
_lock: Final = threading.Lock()


@contextmanager
def _place(user_id: Hashable) -> Iterator[None]:
    with _lock:
        if user_id in _running:
            raise Busy("you have a dry run in progress; wait for its answer")
        if len(_running) >= MAX_AT_ONCE:
            raise Busy("other users are running dry runs; try again")
        _running.add(user_id)
    try:
        yield
    finally:
        _running.discard(user_id)


# The process ------------------------------------------------------------------------------------


@asynccontextmanager
async def _process() -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "realtime.alerts.trial",
        cwd=conf.BASE_DIR, stdin=PIPE, stdout=PIPE, limit=_LONGEST, start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()
        if process.returncode == 1:  # an exception, and no signal
            logger.error("the process of a dry run failed; its standard error says why")


async def _report(process: Process, definition: Definition, past: Past) -> Mapping[str, object]:
    async def send(*call: object) -> None:
        assert process.stdin is not None
        process.stdin.write(pickle.dumps(call))
        await process.stdin.drain()

    await send("rule", definition.as_data())
    if past == "history":
        await _send_history(definition, send)
    else:
        await _send_bars(definition, past, send)
    await send("report")
    assert process.stdout is not None
    line = await process.stdout.readline()
    if not line:
        raise EOFError
    report: Mapping[str, object] = msgspec.json.decode(line)
    return report


# The past ---------------------------------------------------------------------------------------


async def _send_history(definition: Definition, send: Send) -> None:
    layer = current_layer()
    if layer is None:
        return
    channels = sorted(definition.channels)
    symbols = definition.symbols
    if definition.every_symbol:
        found = [stream for channel in channels for stream in await layer.find_streams(channel)]
        symbols = sorted({stream.symbol for stream in found})
    left = MAX_UPDATES
    for symbol in symbols[:MAX_SYMBOLS]:
        await send("symbol", symbol)
        for channel in channels:
            if left > 0:
                left -= await _send_stream(layer, Stream(channel, symbol), left, send)


async def _send_stream(layer: StreamLayer, stream: Stream, most: int, send: Send) -> int:
    """Send the newest `most` updates of the history; returns how many there were."""
    newest = await layer.read_newest(stream, 1)
    at = Position(newest.epoch, max(0, newest.offset - most))
    sent, more = 0, True
    while more:
        page = await layer.read_after(stream, at)
        await send("updates", stream.channel, [update.body for update in page.updates])
        sent += len(page.updates)
        at, more = Position(page.epoch, page.offset), page.more
    return sent


async def _send_bars(definition: Definition, interval: Literal["1m", "1d"], send: Send) -> None:
    symbols = definition.symbols
    if definition.every_symbol:
        symbols = await in_database(_symbols_of_bars)(interval)
    symbols = symbols[:MAX_SYMBOLS]
    for symbol in symbols:
        rows = await in_database(_bars)(symbol, interval, MAX_UPDATES // 4 // len(symbols))
        await send("symbol", symbol)
        await send("bars", round(_BAR[interval].total_seconds() * 1000), rows)


def _symbols_of_bars(interval: str) -> list[str]:
    bars = Bar.objects.filter(interval=interval).order_by("symbol")
    return list(bars.values_list("symbol", flat=True).distinct()[:MAX_SYMBOLS])


def _bars(symbol: str, interval: str, most: int) -> list[BarRow]:
    """The newest bars, oldest first, of one source only: the one that was written last."""
    bars = Bar.objects.filter(symbol=symbol, interval=interval)
    newest = bars.order_by("-updated_at").first()
    source = "" if newest is None else newest.source
    names = ("start", "open", "high", "low", "close", "volume")
    rows = bars.filter(source=source).order_by("-start").values_list(*names)[:most]
    return [(int(start.timestamp() * 1000), *prices) for start, *prices in reversed(rows)]
