"""What the built-in predictor would have said about the prices in the repository.

Origins are chosen by a fixed seed, so the counts are the same every time.
"""

import json
from datetime import timedelta
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from realtime.feeds.csv_bars import STOCKS, read_bars
from realtime.models import Bar
from realtime.predictions.backtest import HELD, TooShort, backtest, choose_origins
from realtime.predictions.calibration import report_of
from realtime.predictions.predictors import CONFIDENCE, random_walk
from tests.conftest import require
from tests.predictions.test_resolve import AS_OF, predict, resolve_all, write_days

SEED = 2026


@pytest.fixture(scope="module")
def closes() -> dict[str, list[float]]:
    bars = read_bars(STOCKS).bars
    return {symbol: [bar.close for bar in bars[symbol]] for symbol in bars}


@pytest.mark.parametrize("horizon", [1, 5, 20])
def test_the_nominal_90_percent_band_holds_85_to_95_percent_of_1500_outcomes(
    closes: dict[str, list[float]], horizon: int
) -> None:
    origins = choose_origins(closes, 1500, horizon=horizon, seed=SEED)
    forecasts, failures = backtest(random_walk, closes, origins, horizon=horizon)
    score = report_of(forecasts).score
    assert (CONFIDENCE, score.nominal) == (0.90, pytest.approx(0.90))
    assert (score.outcomes, failures) == (1500, [])
    assert score.within_bounds is not None
    assert 0.85 <= score.within_bounds <= 0.95


def test_a_predictor_sees_nothing_behind_its_origin() -> None:
    closes = {"AAPL": [float(n) for n in range(1, 700)]}
    seen: list[tuple[float, int]] = []

    def spy(symbol: str, known: Any, horizon: int) -> Any:
        seen.append((known[-1], len(known)))
        return random_walk(symbol, [*known[:-1], known[-1] * 1.01], horizon)

    (origin,) = origins = choose_origins(closes, 1, horizon=7, seed=1)
    (forecast,), _ = backtest(spy, closes, origins, horizon=7)
    assert seen == [(origin[1] + 1, HELD)]
    assert forecast.actual_price == origin[1] + 1 + 7


def test_the_same_seed_chooses_the_same_origins_each_once(closes: dict[str, list[float]]) -> None:
    first, second, other = (choose_origins(closes, 500, horizon=5, seed=n) for n in (1, 1, 2))
    assert first == second != other
    assert len(set(first)) == 500


def test_more_origins_than_there_are_is_told() -> None:
    with pytest.raises(TooShort, match="leave 4"):
        choose_origins({"AAPL": [1.0] * (HELD + 8)}, 10, horizon=5, seed=1)


# The command ----------------------------------------------------------------------------------


def score(*arguments: str) -> str:
    out = StringIO()
    call_command("score_predictions", *arguments, stdout=out, stderr=out)
    return out.getvalue()


def test_a_backtest_is_one_command() -> None:
    found = json.loads(score("--backtest", "--origins", "200", "--symbol", "ibm", "--json"))
    assert found["title"] == "random_walk, 5 bars ahead, IBM"
    assert (found["outcomes"], found["nominal"]) == (200, 0.9)
    assert found["pinball"] > 0
    assert [level["nominal"] for level in found["calibration"]][-2:] == [0.9, 0.95]


@pytest.mark.django_db(transaction=True)
def test_stored_predictions_are_reported() -> None:
    for model in ("m", "n"):
        predict(
            150.0, lower_bound=149, upper_bound=152, confidence=0.9, last_price=149, model=model
        )
    write_days(151.0, 152.0)
    resolve_all()
    found = json.loads(score("--symbol", "AAPL", "--model", "m", "--json"))
    assert (found["outcomes"], found["mean_absolute_error"], found["within_bounds"]) == (1, 1, 1)
    assert "outcomes              2" in score("--since", "2024-01-01")


@pytest.mark.django_db
def test_stored_bars_can_be_predicted_from(closes: dict[str, list[float]]) -> None:
    Bar.objects.bulk_create(
        Bar(symbol="IBM", interval="1d", source="mine", start=AS_OF + timedelta(days=n),
            open=close, high=close, low=close, close=close)
        for n, close in enumerate(closes["IBM"][:600])
    )  # fmt: skip
    found = score("--backtest", "--stored", "--source", "mine", "--origins", "50")
    assert "random_walk, 5 bars ahead, IBM" in found


def test_a_picture_is_drawn(tmp_path: Path) -> None:
    require(find_spec("matplotlib"), "matplotlib is not installed")
    path = tmp_path / "out.png"
    score("--backtest", "--origins", "100", "--plot", str(path))
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ((), "no outcomes"),
        (("--symbol", "A B"), "symbol may hold"),
        (("--since", "yesterday"), "not a time"),
        (("--since", "9999-12-31T23:59:59-12:00"), "not a time"),
        (("--backtest", "--origins", "9" * 5000), "not a number"),
        (("--backtest", "--symbol", "TSLA"), "no bars of TSLA; available: AAPL"),
        (("--backtest", "--origins", "0"), "'0' is not a number"),
        (("--backtest", "--origins", "900000"), "900000 origins need more closes"),
        (("--backtest", "--predictor", "no.where"), "--predictor no.where cannot be loaded"),
        (("--backtest", "--csv", "/nowhere.csv"), "/nowhere.csv cannot be read"),
        (("--backtest", "--stored"), "no stored daily bars"),
        (("--backtest", "--origins", "9", "--plot", "/nowhere/x.png"), "--plot /nowhere/x.png"),
        (("--backtest", "--origins", "9", "--plot", "x.nonsense"), "--plot x.nonsense"),
    ],
)
def test_what_is_wrong_is_told_in_words(arguments: tuple[str, ...], what: str) -> None:
    with pytest.raises(CommandError, match=what):
        score(*arguments)
