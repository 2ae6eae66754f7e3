"""`manage.py score_predictions`: scores predictions, or those that would have been made."""

import argparse
import json
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseError
from django.utils.module_loading import import_string

from realtime.feeds.csv_bars import STOCKS, FeedError, read_bars
from realtime.models import Bar, StoredPrediction
from realtime.predictions.backtest import HELD, Closes, TooShort, backtest, choose_origins
from realtime.predictions.calibration import Forecast, Report, report_of
from realtime.predictions.plots import PlotUnavailable, draw
from realtime.predictions.predictors import Predictor, configured_predictor
from realtime.protocol import MAX_HORIZON
from realtime.streams import InvalidSymbol, parse_symbol
from realtime.values import in_utc

_EXAMPLES: Final = """\
examples:
  python %(prog)s --symbol AAPL --since 2024-01-01
  python %(prog)s --symbol AAPL --plot calibration.png
  python %(prog)s --backtest --origins 1000 --horizon 5
  python %(prog)s --backtest --stored --source replay --predictor realtime.predictions.garch.garch_t
"""


class Command(BaseCommand):
    # Checks import every view and serializer of the project, none of which this command uses.
    requires_system_checks: list[str] = []
    help = (
        "Report how good stored predictions were: their error, their direction, and whether the "
        "bounds held the share of prices that they promised. With --backtest: how good a "
        "predictor would have been at origins chosen at random in daily bars."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        parser.epilog = _EXAMPLES
        parser.add_argument("--symbol", type=_symbols, help="AAPL,MSFT (default: every symbol)")
        parser.add_argument("--model", help="of this model only (default: all)")
        parser.add_argument("--since", type=_moment, help="made since then: 2024-01-31")
        parser.add_argument("--plot", type=Path, metavar="FILE", help="write a picture, out.png")
        parser.add_argument("--json", action="store_true", help="for programs")
        group = parser.add_argument_group("backtest")
        group.add_argument("--backtest", action="store_true")
        group.add_argument("--origins", type=_count, default=1000, help="default: 1000")
        group.add_argument(
            "--horizon", type=int, choices=range(1, MAX_HORIZON + 1), default=5,
            metavar=f"1..{MAX_HORIZON}", help="bars ahead (default: 5)",
        )  # fmt: skip
        group.add_argument("--seed", type=int, default=1, help="chooses the origins (default: 1)")
        group.add_argument("--predictor", help="dotted path (default: REALTIME_PREDICTOR)")
        group.add_argument(
            "--csv", type=Path, default=STOCKS, help="file of daily bars (default: the bundled one)"
        )
        group.add_argument("--stored", action="store_true", help="stored daily bars, not a file")
        group.add_argument("--source", default="replay", help="of stored bars (default: replay)")

    def handle(self, *args: object, **options: Any) -> None:
        try:
            forecasts, title = (self._backtest if options["backtest"] else _stored)(options)
        except DatabaseError as exc:
            raise CommandError(f"the database: {exc}; is it migrated?") from exc
        if not forecasts:
            raise CommandError(f"{title}: no outcomes; manage.py resolve_predictions finds them")
        report = report_of(forecasts)
        if options["plot"] is not None:
            try:
                draw(report, title, options["plot"])
            except PlotUnavailable as exc:
                raise CommandError(str(exc)) from exc
        if options["json"]:
            self.stdout.write(json.dumps({"title": title, **report.as_data()}))
        else:
            self.stdout.write("\n".join(_lines(title, report)))

    def _backtest(self, options: Mapping[str, Any]) -> tuple[list[Forecast], str]:
        try:
            predictor = _predictor(options["predictor"])
            closes = _stored_closes(options["source"]) if options["stored"] else _file(options)
            chosen = options["symbol"] or sorted(closes)
            missing = [symbol for symbol in chosen if symbol not in closes]
            if missing:
                known = ", ".join(sorted(closes)) or "none"
                raise CommandError(f"no bars of {', '.join(missing)}; available: {known}")
            closes = {symbol: closes[symbol] for symbol in chosen}
            horizon, count = options["horizon"], options["origins"]
            origins = choose_origins(closes, count, horizon=horizon, seed=options["seed"])
            forecasts, failures = backtest(predictor, closes, origins, horizon=horizon)
        except (FeedError, TooShort, ImproperlyConfigured) as exc:
            raise CommandError(str(exc)) from exc
        if not forecasts:
            raise CommandError(f"no prediction could be made: {failures[0]}")
        if failures:
            self.stderr.write(f"{len(failures)} failed, as: {failures[0]}")
        name = getattr(predictor, "__name__", str(predictor))
        return forecasts, f"{name}, {horizon} bars ahead, {', '.join(chosen)}"


def _stored(options: Mapping[str, Any]) -> tuple[list[Forecast], str]:
    rows = StoredPrediction.objects.filter(resolved_at__isnull=False)
    parts = []
    if options["symbol"]:
        rows = rows.filter(symbol__in=options["symbol"])
        parts.append(", ".join(options["symbol"]))
    if options["model"] is not None:
        rows = rows.filter(model=options["model"])
        parts.append(f"model {options['model']}")
    if options["since"] is not None:
        rows = rows.filter(created_at__gte=options["since"])
        parts.append(f"since {options['since']:%Y-%m-%d %H:%M}")
    fields = (
        "predicted_price", "actual_price", "last_price", "lower_bound", "upper_bound", "confidence"
    )  # fmt: skip
    forecasts = [
        Forecast(
            predicted_price=price, actual_price=actual, last_price=last,
            lower=lower, upper=upper, confidence=confidence,
        )
        for price, actual, last, lower, upper, confidence in rows.values_list(*fields).iterator()
        if actual is not None
    ]  # fmt: skip
    return forecasts, "; ".join(parts) or "every prediction"


def _file(options: Mapping[str, Any]) -> Closes:
    bars = read_bars(options["csv"]).bars
    return {symbol: [bar.close for bar in bars[symbol]] for symbol in bars}


def _stored_closes(source: str) -> Closes:
    closes: dict[str, list[float]] = {}
    rows = Bar.objects.filter(interval=Bar.Interval.DAY, source=source).order_by("symbol", "start")
    for symbol, close in rows.values_list("symbol", "close").iterator():
        closes.setdefault(symbol, []).append(close)
    if not closes:
        raise CommandError(f"no stored daily bars of source {source!r}; see manage.py record_bars")
    # By default, horizons with enough bars for an origin.
    return {symbol: series for symbol, series in closes.items() if len(series) > HELD}


def _predictor(path: str | None) -> Predictor:
    if path is None:
        return configured_predictor()
    try:
        predictor: Predictor = import_string(path)
    except ImportError as exc:
        raise CommandError(f"--predictor {path} cannot be loaded: {exc}") from exc
    return predictor


def _lines(title: str, report: Report) -> list[str]:
    score = report.score
    lines = [
        title,
        f"  outcomes              {score.outcomes:,}",
        f"  mean absolute error   {_number(score.mean_absolute_error)}",
        f"  direction predicted   {_share(score.directional_accuracy)}",
        f"  within bounds         {_share(score.within_bounds)} (promised {_share(score.nominal)})",
        f"  skill vs. no change   {_number(score.skill)}",
        f"  mean pinball loss     {_number(report.pinball)} of the price",
    ]
    if report.curve:
        lines.append("  calibration           promised  held")
        lines += [f"{nominal:>31.0%} {held:>6.1%}" for nominal, held in report.curve]
    return lines


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"


def _share(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1%}"


def _symbols(text: str) -> list[str]:
    try:
        return list(dict.fromkeys(parse_symbol(part.strip()) for part in text.split(",")))
    except InvalidSymbol as exc:
        raise argparse.ArgumentTypeError(f"{exc.symbol!r}: {exc}") from exc


def _moment(text: str) -> datetime:
    try:
        if len(text) == len("2024-01-31"):
            return datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
        return in_utc(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text!r} is not a time like 2024-01-31") from None


def _count(text: str) -> int:
    if not re.fullmatch("[0-9]{1,7}", text) or not 1 <= int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 1000000")
    return int(text)
