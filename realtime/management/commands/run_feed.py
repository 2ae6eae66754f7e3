"""`manage.py run_feed`: publishes a feed until it ends, or until SIGTERM or SIGINT."""

import argparse
import asyncio
import logging
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any, Final

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from realtime import broadcast
from realtime.conf import conf
from realtime.feeds.columns import Columns
from realtime.feeds.csv_bars import STOCKS, BarFile, FeedError, read_bars
from realtime.feeds.replay import Replay
from realtime.feeds.runner import FeedRunner
from realtime.feeds.sources import LIVE, REPLAY, live_feed, own_feed
from realtime.feeds.ticks import Feed
from realtime.management.background import run_reported, until_told
from realtime.predictions.predictors import configured_predictor
from realtime.protocol import MAX_HORIZON
from realtime.streams import InvalidSymbol, parse_symbol

logger = logging.getLogger("realtime.feeds")

# Bad rows that are reported one by one.
_NAMED_ROWS: Final = 10


class Command(BaseCommand):
    help = (
        "Publish market data from a feed, and a prediction for each of its symbols now and then. "
        "Continues where the streams end, unless --start says otherwise. Sources: replay "
        "(historical daily bars), ccxt (crypto exchanges), alpaca (US shares and crypto), or the "
        "dotted path of your own."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--source",
            help="replay, ccxt, alpaca, or the dotted path of an async function ticks(symbols) "
            "(default: REALTIME_FEED, else replay)",
        )
        parser.add_argument(
            "--symbols",
            type=_symbols,
            help="AAPL,MSFT (default for a replay: all symbols of its file)",
        )
        _add_replay(parser)
        _add_live(parser)
        _add_predictions(parser)

    def handle(self, *args: object, **options: object) -> None:
        if not broadcast.reaches_other_processes():
            raise CommandError(
                "CHANNEL_LAYERS lives in this process only: no client would receive the feed. "
                "Use realtime.delivery.layers.RedisStreamLayer."
            )
        try:
            if not options["no_predictions"]:
                configured_predictor()
            feed, symbols = self._feed(options)
            asyncio.run(
                until_told(
                    lambda stop: run_reported(
                        "run_feed", lambda stop: self._run(stop, feed, symbols, options), stop
                    )
                )
            )
        except (FeedError, ImproperlyConfigured) as exc:
            raise CommandError(str(exc)) from exc

    def _feed(self, options: Mapping[str, Any]) -> tuple[Feed, list[str]]:
        """The requested feed, and its symbols; raises FeedError."""
        source = options["source"] or conf.REALTIME_FEED
        if source == REPLAY:
            return self._replay(options)
        if source in LIVE:
            feed = live_feed(
                source,
                exchange=options["exchange"],
                channel=options["channel"],
                names=options["map"],
            )
        else:
            named_by = "--source" if options["source"] else "REALTIME_FEED"
            feed = own_feed(source, named_by=named_by)
        if not options["symbols"]:
            raise FeedError(f"--source {source} needs symbols: --symbols BTC-USD,ETH-USD")
        return feed, options["symbols"]

    def _replay(self, options: Mapping[str, Any]) -> tuple[Feed, list[str]]:
        file = read_bars(options["csv"])
        self._report_columns(options["csv"], file.columns)
        if file.unadjusted_rows:
            logger.warning(
                "%s: %d rows have no usable adjusted close: a split between two others is placed "
                "where prices jump, and one before the first or after the last is not known",
                options["csv"], file.unadjusted_rows,
            )  # fmt: skip
        self._report_bad_rows(options["csv"], file)
        feed = Replay(
            bars=file.bars,
            rate=options["rate"],
            speed=options["speed"],
            start=options["start"],
            loop=not options["once"],
        )
        return feed, options["symbols"] or list(file.bars)

    async def _run(
        self, stop: asyncio.Event, feed: Feed, symbols: list[str], options: Mapping[str, Any]
    ) -> None:
        terminal = self.stdout.isatty()
        runner = FeedRunner(
            feed=feed,
            symbols=symbols,
            stop=stop,
            resume=options["start"] is None,
            predict_every=None if options["no_predictions"] else options["predict_every"],
            horizon=options["horizon"],
            report=self._rewrite_line if terminal else logger.info,
            report_every=1.0 if terminal else 10.0,
        )
        await runner.run()
        if terminal:
            self.stdout.write("")
        logger.info("finished: %s", runner.progress.line(runner.clock()))

    def _report_columns(self, path: Path, columns: Columns) -> None:
        used = ", ".join(f"{ours} from {theirs!r}" for ours, theirs in columns.used.items())
        unused = f"; not used: {', '.join(columns.unused)}" if columns.unused else ""
        logger.info("%s: %s%s", path, used, unused)
        if columns.unused_adjusted:
            told = "adjusted close" in columns.used
            logger.warning(
                "%s: %s not used: prices are those of open, high, low and close, %s",
                path, ", ".join(columns.unused_adjusted),
                "adjusted for splits" if told else "and a split among them is played as a jump",
            )  # fmt: skip

    def _report_bad_rows(self, path: Path, file: BarFile) -> None:
        for row in file.bad_rows[:_NAMED_ROWS]:
            logger.warning("%s, %s; left out", path, row)
        if len(file.bad_rows) > _NAMED_ROWS:
            logger.warning("%s: %d more rows left out", path, len(file.bad_rows) - _NAMED_ROWS)

    def _rewrite_line(self, line: str) -> None:
        self.stdout.write(f"\r\x1b[2K{line}", ending="")
        self.stdout.flush()


def _add_replay(parser: CommandParser) -> None:
    replay = parser.add_argument_group("replay")
    pace = replay.add_mutually_exclusive_group()
    pace.add_argument(
        "--rate", type=float, default=2.0, help="updates per second and symbol (default: 2)"
    )
    pace.add_argument(
        "--speed",
        type=float,
        help="instead of --rate: how many times faster than real time (86400: a day in a second)",
    )
    replay.add_argument(
        "--start", type=_day, help="first day to play, 2008-01-02; also where a loop begins"
    )
    replay.add_argument(
        "--csv",
        type=Path,
        default=STOCKS,
        help="daily bars, .csv or .csv.gz, instead of the bundled ones",
    )
    turns = replay.add_mutually_exclusive_group()
    turns.add_argument(
        "--loop", action="store_true", help="begin again at the end of the file (the default)"
    )
    turns.add_argument("--once", action="store_true", help="stop at the end of the file")


def _add_live(parser: CommandParser) -> None:
    live = parser.add_argument_group("ccxt and alpaca")
    live.add_argument("--exchange", help="ccxt's name of an exchange: binance, kraken, okx")
    live.add_argument(
        "--channel", choices=["trades", "tickers"], help="of an exchange (default: trades)"
    )
    live.add_argument(
        "--map",
        type=_names,
        default={},
        metavar="OURS=THEIRS",
        help="the market's names of the symbols: BTC-USD=BTC/USDT,ETH-USD=ETH/USDT "
        "(default: a dash becomes a slash)",
    )


def _add_predictions(parser: CommandParser) -> None:
    predictions = parser.add_argument_group("predictions")
    predictions.add_argument("--no-predictions", action="store_true")
    predictions.add_argument(
        "--predict-every",
        type=_seconds,
        default=5.0,
        help="seconds between two predictions of a symbol (default: 5)",
    )
    predictions.add_argument(
        "--horizon",
        type=int,
        choices=range(1, MAX_HORIZON + 1),
        metavar=f"1..{MAX_HORIZON}",
        default=5,
        help="days ahead that are predicted (default: 5)",
    )


def _symbols(text: str) -> list[str]:
    try:
        return list(dict.fromkeys(parse_symbol(part.strip()) for part in text.split(",")))
    except InvalidSymbol as exc:
        raise argparse.ArgumentTypeError(f"{exc.symbol!r}: {exc}") from exc


def _names(text: str) -> dict[str, str]:
    names: dict[str, str] = {}
    for part in text.split(","):
        # Split at the last one: our symbol may contain an equals sign itself (EURUSD=X).
        ours, _, theirs = part.rpartition("=")
        if not (ours.strip() and theirs.strip()):
            raise argparse.ArgumentTypeError(f"{part!r} is not like BTC-USD=BTC/USDT")
        names[_symbols(ours)[0]] = theirs.strip()
    return names


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
