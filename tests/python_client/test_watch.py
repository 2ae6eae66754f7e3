"""`manage.py watch` and `python -m ara_client watch`."""

import io
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ara_client import Alert, Connected, Gap, MarketData, Prediction, Reconnecting, SyncClient
from ara_client.__main__ import main
from ara_client.board import Board, NoTable
from ara_client.watch import as_json
from rich.console import Console

from tests.patience import STOP_SECONDS
from tests.processes import ROOT, LiveServer, process_environment, run_manage

NOW = datetime.now(UTC)


@contextmanager
def watch(server: LiveServer, *arguments: str, **streams: Any) -> Iterator["subprocess.Popen[str]"]:
    """The command, until it is left."""
    environment = process_environment(server.directory, server.environment)
    environment["PYTHONPATH"] = str(ROOT / "clients" / "python")
    process = subprocess.Popen(
        [sys.executable, *arguments], cwd=ROOT, env=environment, text=True,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams},
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


COMMANDS = {
    "manage.py": ("manage.py", "watch"),
    "manage.py --url": ("manage.py", "watch", "--url", "URL"),
    "ara_client": ("-m", "ara_client", "watch", "--url", "URL"),
}


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_pipe_gets_json_lines_until_ctrl_c(
    server: LiveServer, key: str, symbol: str, command: tuple[str, ...]
) -> None:
    words = [server.http if word == "URL" else word for word in command]
    with SyncClient(server.http, api_key=key) as client:
        first = client.publish(symbol, {"price": 1.5})
        client.publish(symbol, {"price": 2.5})
    since = str(first.position)
    with watch(server, *words, symbol.lower(), "--since", since) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        line = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        assert process.wait(STOP_SECONDS) == 0
        assert process.stderr.read() == ""
    assert line["type"] == "market_data_update"
    assert (line["symbol"], line["offset"], line["data"]) == (symbol, 2, {"price": 2.5})


@pytest.mark.slow
def test_a_terminal_gets_a_table(server: LiveServer, key: str, symbol: str) -> None:
    with SyncClient(server.http, api_key=key) as client:
        client.publish(symbol, {"price": 1234.5})
    ours, theirs = pty.openpty()
    words = ("-m", "ara_client", "watch", symbol, "--url", server.http)
    with watch(server, *words, stdout=theirs, stderr=theirs) as process:
        shown = ""
        while "1,234.50" not in shown:
            shown += os.read(ours, 4096).decode(errors="replace")
        process.send_signal(signal.SIGINT)
        assert process.wait(STOP_SECONDS) == 0
    assert "Traceback" not in shown
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "at least one symbol"),
        (("AAPL", "--since", "x"), "'x' is not a position"),
        (("AAPL", "MSFT", "--since", "e:1"), "SYMBOL=EPOCH:OFFSET"),
        (("AAPL", "--url", "localhost:8000"), "http://localhost:8000"),
        (("AAPL", "--history", "999"), "300"),
    ],
)
def test_wrong_arguments_are_named(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="1"):
        main(["watch", *arguments])
    assert message in capsys.readouterr().err


def test_a_wrong_symbol_is_named_by_manage_py(tmp_path: Path) -> None:
    result = run_manage(tmp_path, "watch", "A B", REDIS_URL="redis://127.0.0.1:1")
    assert result.returncode == 1
    assert result.stderr.startswith("CommandError: symbol may hold")


def test_without_rich_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich.live", None)
    board = Board("market-data", ["AAPL"])
    with pytest.raises(NoTable, match=r"client\[watch\].*--json"), board.shown():
        pass


def drawn(board: Board) -> list[str]:
    console = Console(file=io.StringIO(), width=120)
    console.print(board.render())
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text.splitlines()


def tick(price: float, offset: int, **fields: Any) -> MarketData:
    fields = {"timestamp": datetime.now(UTC) - timedelta(seconds=5), **fields}
    return MarketData(symbol="AAPL", data={"price": price}, offset=offset, **fields)


def test_the_table_has_price_change_prediction_offset_and_age() -> None:
    board = Board("market-data", ["AAPL", "MSFT"])
    data = {"predicted_price": 120, "lower_bound": 110, "upper_bound": 130}
    prediction = Prediction(symbol="AAPL", data=data, timestamp=NOW, offset=9)
    for event in (Connected("", True), tick(100, 1), tick(110, 2), prediction):
        board.take(event)
    head, aapl, msft, state = drawn(board)
    assert head.split() == ["symbol", "price", "change", "prediction", "offset", "age", "lag"]
    assert aapl.split()[:9] == [
        "AAPL", "110.00", "+10.00", "%", "120.00", "(110.00", "to", "130.00)", "2",
    ]  # fmt: skip
    assert aapl.split()[9] in ("5", "6", "7")
    assert msft.split() == ["MSFT"]
    assert "live" in state


def test_the_table_says_what_is_wrong() -> None:
    board = Board("market-data", ["AAPL"])
    board.take(tick(100, 1))
    board.take(Gap("AAPL", 2, 9, "e"))
    board.take(Reconnecting(1006, "the network is [away]", 2.5))
    _, aapl, state = drawn(board)
    assert "lost 2 to 9" in aapl
    assert "the network is [away]; next attempt in 2.5 s" in state


def test_alerts_cannot_control_the_terminal() -> None:
    board = Board("alerts", [])
    data = {"message": "\x1b[2Jgone [red]", "severity": "high"}
    board.take(Alert(id="1", data=data, audience="all", timestamp=NOW))
    assert "\x1b" not in "".join(drawn(board))
    assert "high" in drawn(board)[1]
    assert "[2Jgone [red]" in drawn(board)[1]


def test_a_line_has_what_since_takes() -> None:
    line = json.loads(as_json(tick(100, 7, epoch="e")))
    assert f"{line['epoch']}:{line['offset']}" == "e:7"
    assert line["timestamp"].endswith("Z")
