"""`manage.py run_feed`: publish a feed until it ends or SIGTERM or SIGINT comes."""

import argparse
import asyncio
import logging
import signal
from datetime import date
from pathlib import Path
from typing import Any, Final

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from realtime import broadcast
from realtime.feeds.bars import STOCKS, BarFile, FeedError, read_bars
from realtime.feeds.replay import Replay
from realtime.feeds.runner import FeedRunner
from realtime.predictions.predictors import configured_predictor
from realtime.protocol import MAX_HORIZON
from realtime.streams import InvalidSymbol, parse_symbol

logger = logging.getLogger("realtime.feeds")

# Bad rows that are named one by one.
_NAMED_ROWS: Final = 10


class Command(BaseCommand):
    help = (
        "Publish market data from a feed, and a prediction for each of its symbols now and then. "
        "Continues where the streams end, unless --start says otherwise."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--source", choices=["replay"], default="replay")
        parser.add_argument(
            "--symbols", type=_symbols, help="AAPL,MSFT (default: every symbol of the file)"
        )
        parser.add_argument(
            "--rate", type=float, default=2.0, help="updates per second and symbol (default: 2)"
        )
        parser.add_argument(
            "--start", type=_day, help="first day to play, 2008-01-02; also where a loop begins"
        )
        parser.add_argument(
            "--csv", type=Path, default=STOCKS, help="daily bars, .csv or .csv.gz, instead of ours"
        )
        parser.add_argument("--once", action="store_true", help="stop at the end of the file")
        parser.add_argument("--no-predictions", action="store_true")
        parser.add_argument(
            "--predict-every",
            type=_seconds,
            default=5.0,
            help="seconds between two predictions of a symbol (default: 5)",
        )
        parser.add_argument(
            "--horizon",
            type=int,
            choices=range(1, MAX_HORIZON + 1),
            metavar=f"1..{MAX_HORIZON}",
            default=5,
            help="days ahead that are predicted (default: 5)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not broadcast.reaches_other_processes():
            raise CommandError(
                "CHANNEL_LAYERS lives in this process only: nobody would receive the feed. "
                "Use realtime.delivery.layers.RedisStreamLayer."
            )
        try:
            if not options["no_predictions"]:
                configured_predictor()
            asyncio.run(self._run(options))
        except (FeedError, ImproperlyConfigured) as exc:
            raise CommandError(str(exc)) from exc

    async def _run(self, options: dict[str, Any]) -> None:
        file = read_bars(options["csv"])
        self._report_bad_rows(options["csv"], file)
        terminal = self.stdout.isatty()
        runner = FeedRunner(
            feed=Replay(
                bars=file.bars,
                rate=options["rate"],
                start=options["start"],
                loop=not options["once"],
            ),
            symbols=options["symbols"] or list(file.bars),
            resume=options["start"] is None,
            predict_every=None if options["no_predictions"] else options["predict_every"],
            horizon=options["horizon"],
            report=self._rewrite_line if terminal else logger.info,
            report_every=1.0 if terminal else 10.0,
        )
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, runner.stop.set)
        await runner.run()
        if terminal:
            self.stdout.write("")
        logger.info("finished: %s", runner.progress.line(runner.clock()))

    def _report_bad_rows(self, path: Path, file: BarFile) -> None:
        for row in file.bad_rows[:_NAMED_ROWS]:
            logger.warning("%s, %s; left out", path, row)
        if len(file.bad_rows) > _NAMED_ROWS:
            logger.warning("%s: %d more rows left out", path, len(file.bad_rows) - _NAMED_ROWS)

    def _rewrite_line(self, line: str) -> None:
        self.stdout.write(f"\r\x1b[2K{line}", ending="")
        self.stdout.flush()


def _symbols(text: str) -> list[str]:
    try:
        return list(dict.fromkeys(parse_symbol(part.strip()) for part in text.split(",")))
    except InvalidSymbol as exc:
        raise argparse.ArgumentTypeError(f"{exc.symbol!r}: {exc}") from exc


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date like 2008-01-02") from None


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0.1 to 86400")
    return seconds
