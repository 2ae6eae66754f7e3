"""`manage.py run_feed` as a process of its own, beside a real Valkey."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from realtime import broadcast
from tests.processes import ROOT, STOP_SECONDS, Valkey, process_environment, run_manage

FIRST = date(2008, 1, 1)


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    """Forty days of ABC, and a line that is none."""
    rows = [f"{FIRST + timedelta(n)},10,12,9,{10 + n % 3},100" for n in range(40)]
    path = tmp_path / "ABC.csv"
    path.write_text("\n".join(["Date,Open,High,Low,Close,Volume", *rows[:5], "oops", *rows[5:]]))
    return path


@pytest.mark.usefixtures("redis_layer")
async def test_a_file_is_played_once_with_predictions(
    prices: Path, tmp_path: Path, valkey: Valkey
) -> None:
    arguments = ["--csv", str(prices), "--once", "--rate", "50", "--predict-every", "0.1"]
    result = run_manage(tmp_path, "run_feed", *arguments, REDIS_URL=valkey.url)
    assert result.returncode == 0, result.stderr
    assert f"{prices}, line 7: 1 fields, but the header has 6; left out" in result.stderr
    assert re.search(r"finished: .* 100 updates, [1-9]\d* predictions, last ABC", result.stderr)
    assert "Traceback" not in result.stderr
    updates = await broadcast.recent_updates("market-data", "ABC")
    assert len(updates) == 20 + 20 * 4
    assert updates[-1]["bar_date"] == str(FIRST + timedelta(39))
    prediction = (await broadcast.recent_updates("predictions", "ABC"))[-1]
    assert (prediction["model"], prediction["horizon"]) == ("random_walk", 5)


@pytest.fixture
def endless_feed(tmp_path: Path, valkey: Valkey) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "manage.py", "run_feed", "--no-predictions", "--rate", "20"],
        cwd=ROOT,
        env=process_environment(tmp_path, {"REDIS_URL": valkey.url}),
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate(timeout=STOP_SECONDS)


@pytest.mark.usefixtures("redis_layer")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_finishes_it_cleanly(
    endless_feed: "subprocess.Popen[str]", valkey: Valkey, number: signal.Signals
) -> None:
    client = valkey.client()
    with client.pubsub() as listener:
        listener.psubscribe("*market-data.MSFT")
        while (message := listener.get_message(timeout=30)) and message["type"] != "pmessage":
            pass
    client.close()
    assert message, "nothing was published within 30 s"
    endless_feed.send_signal(number)
    assert endless_feed.wait(STOP_SECONDS) == 0
    assert endless_feed.stderr
    assert "finished: " in endless_feed.stderr.read()


@pytest.mark.usefixtures("redis_layer")
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--symbols", "AAPL,TSLA"], "no bars for TSLA; available: AAPL, FB, GOOG, IBM, MSFT"),
        (["--symbols", "A APL"], "argument --symbols: 'A APL': symbol may hold"),
        (["--start", "soon"], "argument --start: 'soon' is not a date like 2008-01-02"),
        (["--start", "2020-01-01"], "start 2020-01-01 is after the last bar of 2013-03-01"),
        (["--rate", "0"], "rate is 0.0; it must lie above 0"),
        (["--predict-every", "0"], "argument --predict-every: '0' is not a number of seconds"),
        (["--horizon", "31"], "argument --horizon: invalid choice: 31"),
        (["--csv", "/nowhere.csv"], "/nowhere.csv cannot be read"),
    ],
)
def test_a_bad_argument_is_named(arguments: list[str], says: str) -> None:
    with pytest.raises(CommandError) as info:
        call_command("run_feed", *arguments)
    assert says in str(info.value)


@pytest.mark.usefixtures("redis_layer")
def test_a_predictor_that_cannot_be_loaded_is_named(settings: Settings) -> None:
    settings.REALTIME_PREDICTOR = "nowhere.predictor"
    with pytest.raises(CommandError, match=r"^REALTIME_PREDICTOR='nowhere\.predictor' cannot be"):
        call_command("run_feed")


def test_a_channel_layer_that_reaches_nobody_is_refused() -> None:
    with pytest.raises(CommandError, match="nobody would receive the feed"):
        call_command("run_feed")
