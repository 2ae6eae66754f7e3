"""`manage.py watch AAPL MSFT`: shows streams in a terminal, as a live table or JSON lines."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from django.core.management.base import CommandError, CommandParser

from realtime.delivery.follow import Lost, subscribe
from realtime.delivery.layers import required_layer
from realtime.delivery.publisher import BackendUnavailable
from realtime.management.background import BackgroundCommand
from realtime.protocol import Position
from realtime.streams import ALERTS_ALL, WILDCARD, Channel, Stream, parse_symbol

if TYPE_CHECKING:
    from ara_client.events import Event
    from ara_client.watch import Asked

_MISSING = "watch needs the Python client: pip install 'ara-realtime-client[watch]'"


class Command(BackgroundCommand):
    help = (
        "Show streams as they change, until Ctrl-C: a live table on a terminal, JSON lines in a "
        "pipe. Reads Redis as the servers do, or with --url any server, as a client whose key or "
        "token is in ARA_API_KEY."
    )

    is_worker = False

    def add_arguments(self, parser: CommandParser) -> None:
        try:
            from ara_client.watch import add_arguments
        except ImportError as exc:
            raise CommandError(_MISSING) from exc
        add_arguments(parser)
        parser.add_argument("--url", help="address of a server, such as https://example.com")

    async def run(self, stop: asyncio.Event, **options: object) -> None:
        from ara_client import AraError
        from ara_client.__main__ import watch_server
        from ara_client.watch import Asked, show

        try:
            asked, url = Asked.of(options, sys.stdout), options["url"]
            if url is None:
                work = show(asked, sys.stdout, *await _sources(asked))
            else:
                work = watch_server(str(url), asked)
            await _until(stop, work)
        except (AraError, BackendUnavailable, ImportError, ValueError) as exc:
            raise CommandError(str(exc)) from exc


async def _until(stop: asyncio.Event, work: Coroutine[None, None, None]) -> None:
    """Await `work`, but only until `stop` is set."""
    watching, stopped = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait([watching, stopped], return_when=asyncio.FIRST_COMPLETED)
    if watching.done():
        watching.result()
    watching.cancel()
    await asyncio.wait([watching])


async def _sources(asked: "Asked") -> list[AsyncIterator["Event"]]:
    streams = [ALERTS_ALL] if asked.channel == "alerts" else _streams(asked.channel, asked.symbols)
    since = {stream: at for stream in streams if (at := await _since(stream, asked)) is not None}
    sources = [_events(streams, since, asked.symbols)]
    if asked.table and asked.channel == "market-data":
        sources.append(_events(_streams("predictions", asked.symbols), {}, ()))
    return sources


def _streams(channel: Channel, symbols: Sequence[str]) -> list[Stream]:
    return [
        Stream(channel, WILDCARD if symbol == WILDCARD else parse_symbol(symbol))
        for symbol in symbols
    ]


async def _since(stream: Stream, asked: "Asked") -> Position | None:
    """The positions to start from; None for the newest updates."""
    if given := asked.since.get(stream.symbol):
        return Position(given.epoch, given.offset)
    if not asked.history or stream.wildcard:
        return None
    page = await required_layer().read_newest(stream, asked.history)
    return Position(page.epoch, page.updates[0].offset - 1) if page.updates else None


async def _events(
    streams: Sequence[Stream], since: Mapping[Stream, Position], symbols: Sequence[str]
) -> AsyncIterator["Event"]:
    """Published updates as clients receive them; `symbols` filters alerts."""
    from ara_client import events
    from ara_client.gate import AlertGate

    gate = AlertGate(None, symbols or None)
    yield events.Connected("", authenticated=True)
    async with aclosing(subscribe(streams, since)) as items:
        async for item in items:
            if isinstance(item, Lost):
                yield events.Gap(item.stream.symbol, item.first, item.last, item.epoch)
                continue
            message = json.loads(item.text)
            if message["type"] != "alert" or gate.passes(message):
                yield events.update(message, item.epoch)
