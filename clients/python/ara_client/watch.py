"""What a terminal shows of streams: a live table, or JSON lines in a pipe."""

import argparse
import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final, Self, TextIO, cast

from ara_client.board import Board
from ara_client.errors import Forbidden
from ara_client.events import (
    Alert,
    Event,
    Fresh,
    Gap,
    MarketData,
    Prediction,
    PredictionOutcome,
    Stale,
)
from ara_client.positions import Position
from ara_client.session import CHANNELS, MAX_HISTORY, Channel

HELP: Final = "Show streams as they change: a table on a terminal, JSON lines in a pipe."
_MAX_WAITING: Final = 1000
# What JSON lines tell: the streams, and not the connection.
_TYPES: Final[Mapping[type[Event], str]] = {
    MarketData: "market_data_update",
    Prediction: "prediction_update",
    Alert: "alert",
    Gap: "gap",
    Stale: "stale",
    Fresh: "fresh",
    PredictionOutcome: "prediction_outcome",
}


@dataclass(frozen=True)
class Asked:
    """What the arguments ask for. `table`: draw one, else write JSON lines."""

    channel: Channel
    symbols: tuple[str, ...]
    since: dict[str, Position]
    history: int
    table: bool

    @classmethod
    def of(cls, given: Mapping[str, Any], output: TextIO) -> Self:
        """Raises ValueError, which names the argument."""
        symbols = tuple(dict.fromkeys(symbol.upper() for symbol in given["symbols"]))
        if not symbols and given["channel"] != "alerts":
            raise ValueError("name at least one symbol, or '*' (in quotes) for all of them")
        if not 0 <= given["history"] <= MAX_HISTORY:
            raise ValueError(f"--history is from 0 to {MAX_HISTORY}")
        positions = [_position(text, symbols) for text in given["since"]]
        table = output.isatty() and not given["json"]
        return cls(given["channel"], symbols, dict(positions), given["history"], table)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("symbols", nargs="*", metavar="SYMBOL", help="AAPL; '*' is every symbol")
    parser.add_argument(
        "--channel", choices=CHANNELS, default="market-data", help="default: %(default)s"
    )
    parser.add_argument(
        "--since", action="append", default=[], metavar="[SYMBOL=]EPOCH:OFFSET",
        help="go on after this position, as in epoch and offset of JSON lines; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--history", type=int, default=0, metavar="N", help="begin with the last N updates"
    )
    parser.add_argument("--json", action="store_true", help="JSON lines on a terminal, too")


def _position(text: str, symbols: tuple[str, ...]) -> tuple[str, Position]:
    name, _, position = text.rpartition("=")
    if not name and len(symbols) != 1:
        raise ValueError("--since: with several symbols write SYMBOL=EPOCH:OFFSET for each")
    at = Position.parse(position)
    return (name if name in ("all", "user") else (name or symbols[0]).upper()), at


async def show(asked: Asked, output: TextIO, *sources: AsyncIterator[Event]) -> None:
    """Show what happens in the sources until they end; raises what ends the first one."""
    board = Board(asked.channel, asked.symbols) if asked.table else None
    events = _merged(sources)
    if board is None:
        async for event in events:
            if type(event) in _TYPES:
                output.write(f"{as_json(event)}\n")
                output.flush()
        return
    logging.getLogger("ara_client").addHandler(logging.NullHandler())  # the table has it
    with board.shown():
        async for event in events:
            board.take(event)


async def _merged(sources: tuple[AsyncIterator[Event], ...]) -> AsyncIterator[Event]:
    """The events of all sources. Only the first one has to work: the others may be forbidden."""
    queue: asyncio.Queue[Event | None] = asyncio.Queue(_MAX_WAITING)

    async def read(source: AsyncIterator[Event]) -> None:
        try:
            async for event in source:
                await queue.put(event)
        except Forbidden:
            if source is sources[0]:
                raise
            return
        finally:
            if source is sources[0]:
                await queue.put(None)

    tasks = [asyncio.create_task(read(source)) for source in sources]
    try:
        while (event := await queue.get()) is not None:
            yield event
        await tasks[0]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def as_json(event: Event) -> str:
    """A JSON object in one line; times in RFC 3339."""
    return json.dumps({"type": _TYPES[type(event)], **asdict(event)}, default=_text)


def _text(value: object) -> str:
    return cast(datetime, value).isoformat(timespec="milliseconds").replace("+00:00", "Z")
