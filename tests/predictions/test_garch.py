"""The predictor of the extra [forecast], in its own process."""

import os
import signal
import threading
from collections.abc import Iterator
from importlib.util import find_spec

import pytest
from pytest_django import Settings

from realtime.feeds.csv_bars import STOCKS, read_bars
from realtime.predictions.backtest import backtest, choose_origins
from realtime.predictions.calibration import report_of
from realtime.predictions.predictors import PredictionFailed, random_walk
from tests.conftest import STRICT
from tests.patience import PATIENCE

if find_spec("arch") is None and not STRICT:
    pytest.skip("arch is not installed", allow_module_level=True)
from realtime.predictions import garch
from realtime.predictions.garch import MIN_CLOSES, WorkerProcess, garch_t

SEED = 2026


@pytest.fixture(scope="module")
def closes() -> dict[str, list[float]]:
    bars = read_bars(STOCKS).bars
    return {symbol: [bar.close for bar in bars[symbol]] for symbol in bars}


@pytest.fixture(scope="module", autouse=True)
def _ended() -> Iterator[None]:
    garch.warm_up()
    yield
    garch._worker.close()


@pytest.fixture(autouse=True)
def _patient(settings: Settings) -> None:
    settings.REALTIME_PREDICTION_TIMEOUT = 60.0


def test_its_mean_pinball_loss_is_lower_than_that_of_the_random_walk(
    closes: dict[str, list[float]],
) -> None:
    origins = choose_origins(closes, 100, horizon=1, seed=SEED)
    walk, model = (
        report_of(backtest(predictor, closes, origins, horizon=1)[0])
        for predictor in (random_walk, garch_t)
    )
    assert model.score.outcomes == walk.score.outcomes == 100
    assert model.pinball is not None
    assert walk.pinball is not None
    assert model.pinball < walk.pinball


def test_the_same_prices_give_the_same_prediction(closes: dict[str, list[float]]) -> None:
    first, second = (garch_t("IBM", closes["IBM"][:600], 5) for _ in range(2))
    assert (first.lower, first.predicted_price, first.upper) == (
        second.lower, second.predicted_price, second.upper
    )  # fmt: skip
    assert (first.model, first.confidence, first.last_price) == (
        "garch_t", 0.9, closes["IBM"][599]
    )  # fmt: skip


def test_too_few_prices_are_told() -> None:
    with pytest.raises(PredictionFailed, match=f"have 10, need {MIN_CLOSES}") as info:
        garch_t("IBM", [1.0] * 10, 5)
    assert info.value.kind == "not_enough_prices"


def test_prices_that_do_not_vary_are_told() -> None:
    with pytest.raises(PredictionFailed, match="IBM: the prices do not vary") as info:
        garch_t("IBM", [5.0] * 300, 5)
    assert info.value.kind == "bad_prices"


@pytest.fixture
def worker() -> WorkerProcess:
    """The one of this process: another one would take seconds to start."""
    return garch._worker


def test_a_worker_that_was_killed_is_started_again(
    worker: WorkerProcess, closes: dict[str, list[float]]
) -> None:
    known = closes["IBM"][:300]
    before = worker.quantiles("IBM", known, 5, [0.5])
    assert worker._process is not None
    pid = worker._process.pid
    os.kill(pid, signal.SIGKILL)
    assert worker.quantiles("IBM", known, 5, [0.5]) == before
    assert worker._process.pid != pid


def test_a_worker_that_hangs_is_given_up_in_time(
    worker: WorkerProcess, closes: dict[str, list[float]], settings: Settings
) -> None:
    known = closes["IBM"][:300]
    worker.quantiles("IBM", known, 5, [0.5])
    process = worker._process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    settings.REALTIME_PREDICTION_TIMEOUT = 0.2
    with pytest.raises(PredictionFailed) as info:
        worker.quantiles("IBM", known, 5, [0.5])
    assert info.value.kind == "timeout"
    assert process.poll() == -signal.SIGKILL


def test_who_waits_for_others_too_long_is_told(worker: WorkerProcess, settings: Settings) -> None:
    settings.REALTIME_PREDICTION_TIMEOUT = 0.05
    failed: list[PredictionFailed] = []

    def ask() -> None:
        try:
            worker.quantiles("IBM", [1.0] * 300, 5, [0.5])
        except PredictionFailed as exc:
            failed.append(exc)

    with worker._lock:
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join(PATIENCE)
    assert [exc.kind for exc in failed] == ["timeout"]
