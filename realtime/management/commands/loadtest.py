"""`manage.py loadtest`: how a server does under many clients."""

import argparse
import asyncio
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.core.management.base import CommandError, CommandParser
from rich.console import Console
from rich.progress import Progress

from realtime.extras import MissingExtra, extra
from realtime.loadtest.aims import PREFIX, Aims, InvalidAim, allow_files, checked_site
from realtime.management.background import BackgroundCommand

_MOST_CONNECTIONS = 100_000
_MOST_SYMBOLS = 10_000


class Command(BackgroundCommand):
    help = (
        "Connect many WebSocket clients to a server, publish updates at an even pace, and say how "
        f"late they arrived and whether any is missing. The symbols are {PREFIX}1 and so on. "
        "Ctrl-C ends it with the figures so far. Exits with 1 if a connection was refused or "
        "closed, or an update was lost, repeated or not published."
    )

    is_worker = False

    def add_arguments(self, parser: CommandParser) -> None:
        add = parser.add_argument
        add("--connections", type=_count(_MOST_CONNECTIONS), default=100, help="default: 100")
        add("--symbols", type=_count(_MOST_SYMBOLS), default=10, help="default: 10")
        add(
            "--each",
            type=_count(200),
            default=1,
            help="symbols that each connection follows (default: 1)",
        )
        add(
            "--rate",
            type=_number(0.01, 10_000),
            default=1.0,
            help="updates a second of each symbol (default: 1)",
        )
        add("--duration", type=_number(0.1, 86_400), default=10.0, help="seconds (default: 10)")
        add("--size", type=_count(10_000), default=100, help="bytes of an update (default: 100)")
        add(
            "--url",
            default="http://127.0.0.1:8000",
            help="address of the server (default: %(default)s). On another machine updates are "
            "published over HTTP. ARA_API_KEY in the environment is the key",
        )
        add("--over-http", action="store_true", help="publish over HTTP on this machine, too")
        add("--yes", action="store_true", help="allow a server on another machine")
        add("--json", action="store_true", help="print JSON")

    async def run(self, stop: asyncio.Event, **options: object) -> None:
        try:
            aims = _aims(options)
            allow_files(aims.connections)
            with extra("serve", needed_by="loadtest"):
                from realtime.loadtest import report, running
        except (InvalidAim, MissingExtra) as exc:
            raise CommandError(str(exc)) from exc
        logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs each request
        try:
            with _shown_progress() as progress:
                outcome = await running.run(aims, stop, progress)
        except running.NothingWorks as exc:
            raise CommandError(str(exc)) from exc
        if options["json"]:
            self.stdout.write(json.dumps(report.as_json(outcome), indent=2))
        else:
            self.stdout.write(report.as_text(outcome))
        if not outcome.complete:
            sys.exit(1)


def _aims(options: Mapping[str, Any]) -> Aims:
    site, local = checked_site(options["url"], anywhere=options["yes"])
    return Aims(
        site=site,
        key=os.environ.get("ARA_API_KEY") or None,
        over_http=options["over_http"] or not local,
        connections=options["connections"],
        symbols=options["symbols"],
        each=options["each"],
        rate=options["rate"],
        duration=options["duration"],
        size=options["size"],
    )


class _Progress:
    """Progress bars on a terminal."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars

    def begin(self, phase: str, total: int) -> Callable[[int], None]:
        task = self._bars.add_task(phase, total=total)
        return lambda steps: self._bars.advance(task, steps)


@contextmanager
def _shown_progress() -> Iterator[_Progress]:
    console = Console(file=sys.stderr)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        yield _Progress(bars)


def _count(most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:9]) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {most}")
        return int(text)

    return parse


def _number(least: float, most: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {least:g} to {most:g}")
        return value

    return parse
