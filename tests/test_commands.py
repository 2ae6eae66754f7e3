"""The publishing commands: real processes beside a real server; tables of bad input in-process."""

import asyncio
import contextlib
import io
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.core.management import CommandError, call_command, load_command_class

from realtime import broadcast
from realtime.management.json_lines import read_lines
from realtime.streams import Channel, Stream, user_alerts
from tests import personas
from tests.clients import Socket, wait_for
from tests.conftest import MEMORY, REDIS
from tests.patience import PATIENCE, START_SECONDS
from tests.processes import ROOT, LiveServer, Valkey, process_environment, run_manage

NOBODY = "redis://127.0.0.1:1"
uvicorn = pytest.mark.parametrize("server", ["uvicorn"], indirect=True)


def last(channel: Channel, symbol: str, limit: int = 300) -> list[dict[str, Any]]:
    """What was published, oldest first."""
    return async_to_sync(broadcast.recent_updates)(channel, symbol, limit)


@pytest.fixture
def stdin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Puts a file in the place of standard input."""

    with contextlib.ExitStack() as files:

        def put(content: str) -> None:
            path = tmp_path / "lines"
            path.write_text(content)
            monkeypatch.setattr("sys.stdin", files.enter_context(path.open()))

        yield put


def run(name: str, *arguments: str, **options: Any) -> tuple[str, str, str]:
    """Standard output, standard error and the CommandError of a command run in this process."""
    out, err, failure = io.StringIO(), io.StringIO(), ""
    try:
        call_command(name, *arguments, stdout=out, stderr=err, no_color=True, **options)
    except CommandError as exc:
        failure = str(exc)
    return out.getvalue(), err.getvalue(), failure


async def from_new_process(client: Socket, kind: str) -> dict[str, Any]:
    """The next message of a kind; the process that sends it may still have to start."""
    for _ in range(int(START_SECONDS / PATIENCE)):
        with contextlib.suppress(TimeoutError):
            return await client.until(kind)
    raise AssertionError(f"no {kind} came")


# One JSON argument ----------------------------------------------------------------------------


@uvicorn
@pytest.mark.parametrize(
    ("command", "arguments", "path", "kind"),
    [
        ("broadcast_market_data", ["cmd1"], "market-data/CMD1", "market_data_update"),
        ("broadcast_prediction", ["CMD1"], "predictions/CMD1", "prediction_update"),
        ("send_alert", [], "alerts", "alert"),
    ],
)
async def test_a_command_in_a_second_process_reaches_a_client(
    server: LiveServer, command: str, arguments: list[str], path: str, kind: str
) -> None:
    client = await Socket.open(f"{server.ws}/ws/{path}")
    await client.until("connected")
    data = {"price": 149.5, "note": "Zürich ✓", "levels": [{"size": None}]}
    said = await asyncio.to_thread(server.manage, command, *arguments, json.dumps(data))
    update = await client.until(kind)
    assert update["data"] == data
    assert said.count("\n") == 1
    assert f"offset {update['offset']}, received by 1 process\n" in said
    await client.leave()


@uvicorn
def test_a_command_says_when_nobody_is_subscribed(server: LiveServer) -> None:
    said = server.manage("broadcast_market_data", "LONELY", "{}")
    assert said == "market-data LONELY: offset 1, kept for later; there are no subscribers now\n"


@uvicorn
async def test_an_alert_for_one_user_reaches_nobody_else(server: LiveServer) -> None:
    code = (
        "from tests.personas import *;"
        "print(token(newcomer(carol(id=4711)))); key, raw = bob_key(scopes=['alerts']);"
        "newcomer(key.owner); print(raw)"
    )  # fmt: skip
    tokens = (await asyncio.to_thread(server.shell, code)).split()
    carol, bob = [await Socket.open(f"{server.ws}/ws/alerts?token={token}") for token in tokens]
    for client in (carol, bob):
        assert (await client.until("connected"))["authenticated"]
    said = await asyncio.to_thread(
        server.manage, "send_alert", '{"message": "filled"}', "--user", "carol"
    )
    assert "alerts user: offset 1, received by 1" in said
    alert = await carol.until("alert")
    assert (alert["audience"], alert["data"]) == ("user", {"message": "filled"})
    await bob.assert_quiet()
    await carol.leave()
    await bob.leave()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("given", ["username", "id"])
def test_a_user_is_named_by_id_or_username(redis_layer: None, given: str) -> None:
    alice = personas.alice()
    user = "alice" if given == "username" else str(alice.pk)
    out, _, failure = run("send_alert", '{"message": "hello"}', user=user)
    assert (failure, out.partition(",")[0]) == ("", "alerts user: offset 1")
    published = async_to_sync(newest)(user_alerts(alice.pk))
    assert (published["audience"], published["data"]) == ("user", {"message": "hello"})


async def newest(stream: Stream) -> dict[str, Any]:
    page = await get_channel_layer().read_newest(stream, 1)
    message: dict[str, Any] = json.loads(page.updates[0].text)
    return message


BAD_ARGUMENTS = [
    ("AAPL", "{price: 1}", "JSON: Expecting property name enclosed in double quotes at char"),
    ("AAPL", "", "JSON: Expecting value at character 1; an object looks like"),
    ("AAPL", "[1]", "JSON: must be an object like"),
    ("AAPL", "149.5", "not a number"),
    ("AAPL", "null", "not a null"),
    ("AAPL", '{"price": NaN}', "data.price: nan is not JSON; send null or leave the field out"),
    ("AAPL", '{"bids": [{"p": -Infinity}]}', "data.bids[0].p: -inf is not JSON"),
    ("AAPL", '{"price": 1e999}', "data.price: inf is not JSON"),
    ("AAPL", '{"note": "\\ud800"}', "data.note: holds half of a surrogate pair"),
    ("AAPL", '{"n": ' + "1" * 4301 + "}", "JSON: Exceeds the limit (4300 digits)"),
    ("AAPL", '{"a":' * 40 + "1" + "}" * 40, "is nested more than 32 levels deep"),
    ("AAPL", '{"a":' * 100_000, "JSON: maximum recursion depth exceeded"),
    ("AAPL", json.dumps({"note": "x" * 70_000}), "(REALTIME_MAX_MESSAGE_BYTES)"),
    ("AAPL X", "{}", "SYMBOL: symbol may hold A-Z 0-9"),
    ("", "{}", "SYMBOL: symbol is empty"),
    ("A" * 33, "{}", "SYMBOL: symbol has more than 32 characters"),
    ("*", "{}", "SYMBOL: symbol may hold"),
]  # fmt: skip


@pytest.mark.parametrize(("symbol", "text", "reason"), BAD_ARGUMENTS)
@pytest.mark.parametrize("command", ["broadcast_market_data", "broadcast_prediction"])
def test_a_bad_argument_is_named_in_one_line(
    redis_layer: None, command: str, symbol: str, text: str, reason: str
) -> None:
    out, err, failure = run(command, symbol, text)
    assert reason in failure
    assert "\n" not in failure
    assert (out, err) == ("", "")
    assert last("market-data", "AAPL") + last("predictions", "AAPL") == []


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("user", "reason"),
    [
        ("nobody", "--user: no user has the username 'nobody'"),
        ("9999", "--user: no user has the ID '9999'"),
        ("9" * 30, "--user: no user has the ID '999"),
        ("", "--user: no user has the username ''"),
    ],
)
def test_an_unknown_user_is_named(redis_layer: None, user: str, reason: str) -> None:
    _, _, failure = run("send_alert", "{}", user=user)
    assert failure.startswith(reason)


def test_a_time_that_is_a_guess_is_told(redis_layer: None, stdin: Callable[[str], None]) -> None:
    data = '{"price": 1, "timestamp": 1732900000000000}'
    _, err, failure = run("broadcast_market_data", "AAPL", data)
    assert "data.timestamp: 1732900000000000 is read as microseconds since 1970" in err
    stdin(f"{data}\n{data}\n")
    out, _, failure = run("broadcast_market_data", "AAPL")
    assert "2 updates published, 2 with a warning" in out
    assert not failure


def test_an_alert_with_nan_is_refused(redis_layer: None) -> None:
    _, _, failure = run("send_alert", '{"limits": {"high": NaN}}')
    assert failure.startswith("data.limits.high: nan is not JSON")


def test_bad_input_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    result = run_manage(
        tmp_path, "broadcast_market_data", "AAPL", '{"price": NaN}', REDIS_URL=NOBODY
    )
    assert result.returncode == 1
    assert result.stderr == (
        "CommandError: data.price: nan is not JSON; send null or leave the field out\n"
    )


def test_without_a_server_one_line_says_what_to_start(tmp_path: Path) -> None:
    result = run_manage(tmp_path, "send_alert", "{}")
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert "not published" in result.stderr
    assert "Start the server first: make run (or python manage.py serve)" in result.stderr


def test_a_reader_that_has_enough_is_no_error(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "manage.py", "asyncapi"],
        cwd=ROOT, env=process_environment(tmp_path, {}),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.close()
    _, said = process.communicate(timeout=START_SECONDS)
    assert (process.returncode, said) == (128 + signal.SIGPIPE, b"")


def test_a_missing_table_is_one_line(tmp_path: Path) -> None:
    result = run_manage(tmp_path, "send_alert", "{}", "--user", "alice", REDIS_URL=NOBODY)
    assert result.returncode == 1
    assert result.stderr == (
        "CommandError: --user: the database did not answer: no such table: auth_user\n"
    )


@pytest.mark.parametrize("layer", [MEMORY, "channels.layers.InMemoryChannelLayer"])
def test_a_layer_that_reaches_nobody_is_refused(settings: Any, layer: str) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": layer}}
    _, _, failure = run("broadcast_market_data", "AAPL", "{}")
    assert failure.startswith("CHANNEL_LAYERS lives in this process only")
    assert REDIS in failure


def test_a_stock_redis_layer_is_published_to(settings: Any, valkey: Any) -> None:
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [valkey.url]},
        }
    }
    out, _, failure = run("broadcast_market_data", "AAPL", "{}")
    assert (out, failure) == ("market-data AAPL: sent\n", "")


# JSON lines -----------------------------------------------------------------------------------


@pytest.fixture
async def pipe(server: LiveServer) -> AsyncIterator[asyncio.subprocess.Process]:
    """`broadcast_market_data` with a pipe for standard input."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "manage.py", "broadcast_market_data",
        cwd=ROOT, env=process_environment(server.directory, server.environment),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    yield process
    if process.returncode is None:
        process.kill()
        await process.wait()


@uvicorn
async def test_a_slow_pipe_is_live(server: LiveServer, pipe: asyncio.subprocess.Process) -> None:
    client = await Socket.open(f"{server.ws}/ws/market-data/SLOW")
    await client.until("connected")
    assert pipe.stdin is not None
    for number in (1, 2, 3):
        line = json.dumps({"symbol": "SLOW", "data": {"n": number}})
        pipe.stdin.write(line.encode() + b"\n")
        await pipe.stdin.drain()
        # The next line is written when this one has arrived.
        update = await from_new_process(client, "market_data_update")
        assert update["data"] == {"n": number}
    # Half a line is not published until the pipe ends.
    pipe.stdin.write(b'{"symbol": "SLOW", "data": {"n": 4}}')
    pipe.stdin.write_eof()
    assert (await client.until("market_data_update"))["data"] == {"n": 4}
    out, err = await pipe.communicate()
    assert (pipe.returncode, out, err) == (0, b"4 updates published.\n", b"")
    await client.leave()


@uvicorn
async def test_a_fast_pipe_arrives_complete_and_in_order(
    server: LiveServer, pipe: asyncio.subprocess.Process
) -> None:
    client = await Socket.open(f"{server.ws}/ws/market-data/FAST")
    await client.until("connected")
    count = 5000
    lines = "".join(
        json.dumps({"symbol": "FAST", "data": {"n": n}}) + "\n" for n in range(1, count + 1)
    )
    sending = asyncio.create_task(pipe.communicate(lines.encode()))
    offset = 0
    while offset < count:
        update = await from_new_process(client, "market_data_update")
        # A socket that does not keep up gets the newest, and how many it stands for.
        offset += 1 + update.get("folded", 0)
        assert update["offset"] == update["data"]["n"] == offset
    assert await sending == (f"{count} updates published.\n".encode(), b"")
    await client.leave()


BAD_LINES = [
    ('{"symbol": "LINES", "data": {"n": 1}}', None),
    ('{"symbol": "LINES", "data": {"price": NaN}}', "data.price: nan is not JSON"),
    ('{"symbol": "LINES", "data": {"n": 2}}\r', None),
    ("{", "JSON: Expecting property name"),
    ("", None),
    ('["LINES", {}]', "JSON: must be an object like"),
    ('{"symbol": "LINES"}', "data: missing; without SYMBOL a line has symbol and data"),
    ('{"data": {}}', "symbol: missing"),
    ('{"symbol": "LINES", "data": {}, "price": 1}', "price: unknown; without SYMBOL"),
    ('{"symbol": "LINES", "data": {}, "market_data": 1}', "market_data: unknown"),
    ('{"symbol": "L NES", "data": {}}', "symbol: symbol may hold"),
    ('{"symbol": NaN, "data": {}}', "symbol: symbol must be a string, not float"),
    ('{"symbol": "LINES", "data": 7}', "data: must be a JSON object (a dict), not int"),
    (b'{"symbol": "LINES", "data": {"n": "\xff"}}', "JSON: not UTF-8: byte 36 is wrong"),
    ('{"symbol": "LINES", "data": {"x": "' + "x" * 70_000 + '"}}', "data: 70"),
    ('{"symbol": "LINES", "data": {"x": "' + "x" * 600_000 + '"}}', "has more than 524288"),
    ('{"symbol": "LINES", "data": {"n": 3}}', None),
]  # fmt: skip


@uvicorn
def test_a_bad_line_is_named_and_the_rest_is_published(server: LiveServer) -> None:
    lines = [line if isinstance(line, bytes) else line.encode() for line, _ in BAD_LINES]
    result = subprocess.run(
        [sys.executable, "manage.py", "broadcast_market_data"],
        cwd=ROOT, env=process_environment(server.directory, server.environment),
        input=b"\n".join(lines), capture_output=True, timeout=START_SECONDS, check=False,
    )  # fmt: skip
    *reports, summary = result.stderr.decode().splitlines()
    expected = [
        (number, reason) for number, (_, reason) in enumerate(BAD_LINES, 1) if reason is not None
    ]
    assert len(reports) == len(expected)
    for report, (number, reason) in zip(reports, expected, strict=True):
        assert report.startswith(f"line {number}: {reason}") or reason in report
    assert summary == (
        f"CommandError: 3 updates published, {len(expected)} of {len(BAD_LINES)} lines refused; "
        "the errors are listed above."
    )
    assert result.returncode == 1
    assert server.manage("broadcast_market_data", "LINES", "{}").startswith(
        "market-data LINES: offset 4"
    )


def test_with_a_symbol_each_line_is_its_data(
    redis_layer: None, stdin: Callable[[str], None]
) -> None:
    stdin('{"symbol": "not this one", "data": 1}\n{"price": 2}\n')
    out, err, failure = run("broadcast_prediction", "btc/usd")
    assert (out, err, failure) == ("2 updates published.\n", "", "")
    assert last("predictions", "BTC/USD") == [
        {"symbol": "not this one", "data": 1}, {"price": 2},
    ]  # fmt: skip


def test_lines_of_alerts_are_their_data(redis_layer: None, stdin: Callable[[str], None]) -> None:
    stdin('{"message": "one"}\n{"message": NaN}\n{"message": "three"}')
    out, err, failure = run("send_alert")
    assert out == ""
    assert err == "line 2: data.message: nan is not JSON; send null or leave the field out\n"
    assert failure.startswith("2 updates published, 1 of 3 lines refused")


def test_an_empty_pipe_publishes_nothing(redis_layer: None, stdin: Callable[[str], None]) -> None:
    stdin("")
    assert run("broadcast_market_data") == ("0 updates published.\n", "", "")


def test_a_pipe_without_a_server_says_where_it_stopped(
    settings: Any, stdin: Callable[[str], None]
) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": REDIS, "CONFIG": {"hosts": [NOBODY]}}}
    stdin('\n{"n": 1}\n{"n": 2}\n')
    out, err, failure = run("broadcast_market_data", "AAPL")
    assert (out, err) == ("", "")
    assert failure.startswith("not published: ")
    assert failure.endswith("Stopped at line 2; 0 updates published.")


async def test_a_server_that_dies_during_a_pipe_is_told_with_a_count(tmp_path: Path) -> None:
    with Valkey(tmp_path / "valkey") as valkey:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "manage.py", "broadcast_market_data", "AAPL",
            cwd=ROOT, env=process_environment(tmp_path, {"REDIS_URL": valkey.url}),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdin is not None
        process.stdin.write(b'{"n": 1}\n{"n": 2}\n')
        with valkey.client() as client:

            async def two_are_published() -> bool:
                return bool(client.xlen("asgi:stream:market-data.AAPL:history") == 2)

            await wait_for(two_are_published, seconds=60)
    out, err = await process.communicate(b'{"n": 3}\n')
    assert (process.returncode, out) == (1, b"")
    assert err.startswith(b"CommandError: not published: ")
    assert err.endswith(b"Stopped at line 3; 2 updates published.\n")


def test_a_terminal_is_told_what_is_expected(server_environment: dict[str, str]) -> None:
    terminal, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "manage.py", "broadcast_market_data"],
        cwd=ROOT, env=server_environment, text=True,
        stdin=slave, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    os.close(slave)
    try:
        assert process.stderr is not None
        assert process.stderr.readline() == (
            'Reading from the terminal, one update per line: {"symbol": "AAPL", "data": {...}} '
            "(Ctrl-D ends, --help has examples)\n"
        )
        os.write(terminal, b'{"symbol": "AAPL", "data": {}}\n\x04')
        out, err = process.communicate(timeout=PATIENCE)
        assert (process.returncode, out, err) == (0, "1 update published.\n", "")
    finally:
        process.kill()
        process.communicate()
        os.close(terminal)


def test_ctrl_c_ends_a_pipe_without_a_traceback(server_environment: dict[str, str]) -> None:
    terminal, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "manage.py", "broadcast_market_data", "AAPL"],
        cwd=ROOT, env=server_environment, text=True,
        stdin=slave, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    os.close(slave)
    try:
        assert process.stderr is not None
        process.stderr.readline()
        process.send_signal(2)
        out, err = process.communicate(timeout=PATIENCE)
        assert (process.returncode, out, err) == (130, "", "Interrupted. 0 updates published.\n")
    finally:
        process.kill()
        process.communicate()
        os.close(terminal)


@pytest.fixture
def server_environment(tmp_path: Path, valkey: Any) -> dict[str, str]:
    """Of a command whose Redis is there."""
    return process_environment(tmp_path, {"REDIS_URL": valkey.url})


def test_lines_come_as_they_are_written() -> None:
    source, sink = os.pipe()
    lines = read_lines(source, 100)
    os.write(sink, b"one\ntwo\nthr")
    assert next(lines) == [b"one", b"two"]
    os.write(sink, b"ee\n" + b"x" * 300)
    assert next(lines) == [b"three"]
    os.write(sink, b"x\nfour")
    os.close(sink)
    (long,) = next(lines)
    assert 100 < len(long) < 300  # too long, and not kept
    assert list(lines) == [[b"four"]]
    os.close(source)


# Help and start -------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("command", ["broadcast_market_data", "broadcast_prediction", "send_alert"])
def test_the_examples_of_help_work(
    redis_layer: None, stdin: Callable[[str], None], command: str
) -> None:
    personas.alice()
    text = load_command_class("realtime", command).create_parser("manage.py", command).format_help()
    examples = re.findall(rf"^  ((?:echo|python) .*{command}.*)$", text, re.MULTILINE)
    assert len(examples) >= 3
    for example in examples:
        echo, _, call = example.rpartition(" | ")
        if echo:
            stdin(shlex.split(echo)[1] + "\n")
        python, manage, name, *arguments = shlex.split(call)
        assert (python, manage, name) == ("python", "manage.py", command)
        out, err, failure = run(command, *arguments)
        assert (err, failure) == ("", "")
        assert out.startswith("1 update published" if echo else ("alerts", "market", "predict"))


def test_a_command_loads_no_web_framework(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "manage.py", "broadcast_market_data", "AAPL", "{}"],
        cwd=ROOT, env=process_environment(tmp_path, {"REDIS_URL": NOBODY}),
        capture_output=True, text=True, timeout=START_SECONDS, check=False,
    )  # fmt: skip
    loaded = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    assert "realtime.broadcast" in loaded
    heavy = {
        "twisted.internet.reactor", "daphne.server", "uvicorn", "rest_framework.views",
        "rest_framework.serializers", "drf_spectacular.views", "ara_project.urls",
    }  # fmt: skip
    assert loaded & heavy == set()
