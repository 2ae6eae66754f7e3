"""`manage.py loadtest`: small crowds on a real server, and what it counts."""

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Callable
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from realtime.broadcast import recent_updates
from realtime.loadtest.aims import Aims, InvalidAim, allow_files, checked_site
from realtime.loadtest.tally import Follower, Received, Samples, Sent, Tally
from tests.clients import wait_for
from tests.live import publish_to
from tests.patience import START_SECONDS
from tests.processes import ROOT, LiveServer, process_environment, run_manage

_KEY = """
from tests import personas
print(personas.bob_key(name=%r, scopes=%r)[1])
"""


@pytest.fixture(scope="module")
def server(module_servers: Callable[..., LiveServer]) -> LiveServer:
    return module_servers("uvicorn")


def load(server: LiveServer, *arguments: str, **environment: str) -> dict[str, Any]:
    """The outcome of a load test of this server."""
    result = run_manage(
        server.directory, "loadtest", "--url", server.http, "--json", *arguments,
        **{**server.environment, **environment},
    )  # fmt: skip
    assert result.stderr == ""
    outcome: dict[str, Any] = json.loads(result.stdout)
    assert result.returncode == (0 if outcome["complete"] else 1)
    return outcome


def problem(server: LiveServer, *arguments: str, **environment: str) -> str:
    result = run_manage(
        server.directory, "loadtest", "--url", server.http, *arguments,
        **{**server.environment, **environment},
    )  # fmt: skip
    assert (result.returncode, result.stdout) == (1, "")
    return result.stderr


async def newest(than: int = -1) -> int:
    """When the newest update of the first symbol was published, if that is later, or else 0."""
    updates = await recent_updates("market-data", "LOADTEST-1", 1)
    at: int = updates[-1]["at"] if updates else 0
    return at if at > than else 0


def test_every_update_reaches_its_followers(server: LiveServer) -> None:
    many = ("--connections", "6", "--symbols", "4", "--each", "2", "--rate", "5")
    outcome = load(server, *many, "--duration", "1")
    assert outcome["complete"] is True
    assert outcome["connections"]["connected"] == 6
    assert outcome["updates"]["published"] == 20  # 4 symbols, 5 a second
    assert outcome["deliveries"]["received"] == 60  # each symbol has 3 followers
    assert outcome["deliveries"]["latency_ms"]["p50"] > 0


def test_updates_can_be_published_over_http(server: LiveServer) -> None:
    key = server.shell(_KEY % ("loads", ["market-data", "publish"])).strip()
    few = ("--connections", "2", "--symbols", "1", "--rate", "4", "--duration", "1")
    outcome = load(server, "--over-http", *few, ARA_API_KEY=key)
    assert outcome["asked"]["publish"] == "http"
    assert outcome["deliveries"]["received"] == 8


def test_a_key_that_may_not_publish_is_named(server: LiveServer) -> None:
    key = server.shell(_KEY % ("reads", ["market-data"])).strip()
    assert "HTTP 403" in problem(server, "--over-http", "--connections", "1", ARA_API_KEY=key)


def test_a_server_that_refuses_everybody_is_named(server: LiveServer) -> None:
    text = problem(server, "--connections", "2", ARA_API_KEY="ara_0000.wrong")
    assert "no connection was accepted" in text
    assert "Traceback" not in text


async def test_a_server_of_something_else_is_named(server: LiveServer) -> None:
    async def greet(connection: ServerConnection) -> None:
        await connection.send("hello")
        await connection.wait_closed()

    async with serve(greet, "127.0.0.1", 0) as other:
        port = next(iter(other.sockets)).getsockname()[1]
        command = ("loadtest", "--url", f"http://127.0.0.1:{port}", "--connections", "2")
        result = await asyncio.to_thread(
            run_manage, server.directory, *command, **server.environment
        )
    assert "not an ARA Realtime server" in result.stderr
    assert "Traceback" not in result.stderr


async def test_ctrl_c_brings_the_figures_up_to_then(server: LiveServer, settings: Any) -> None:
    publish_to(server, settings)
    before = await newest()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "manage.py", "loadtest", "--url", server.http, "--connections", "2",
        "--rate", "20", "--duration", "3600", "--json", cwd=ROOT,
        env=process_environment(server.directory, server.environment),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        await wait_for(lambda: newest(than=before))
        process.send_signal(signal.SIGINT)
        out, err = await asyncio.wait_for(process.communicate(), START_SECONDS)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    outcome = json.loads(out)
    assert (outcome["stopped_early"], err) == (True, b"")
    assert outcome["updates"]["published"] > 0
    assert outcome["deliveries"]["lost"] == 0


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--connections", "0"), "--connections: '0' is not a number from 1 to 100000"),
        (("--rate", "nan"), "--rate: 'nan' is not a number from 0.01 to 10000"),
        (("--each", "11"), "--each: 11 of 10 symbols"),
        (("--url", "http://example.com"), "--url: example.com is another machine"),
        (("--url", "localhost:8000"), "--url: 'localhost:8000' is not the address"),
        (("--url", "http://[::1"), "--url: 'http://[::1' is not the address"),
    ],
)
def test_what_cannot_be_done_is_named(
    server: LiveServer, arguments: tuple[str, ...], named: str
) -> None:
    result = run_manage(server.directory, "loadtest", *arguments, **server.environment)
    assert result.returncode > 0
    assert named in result.stderr
    assert "Traceback" not in result.stderr


def test_another_machine_is_loaded_over_http_if_that_is_wanted() -> None:
    with pytest.raises(InvalidAim, match="--yes"):
        checked_site("https://example.com/live/", anywhere=False)
    assert checked_site("https://example.com/live/", anywhere=True) == (
        "https://example.com/live",
        False,
    )
    for host in ("localhost", "127.0.0.2", "[::1]", "me.localhost"):
        assert checked_site(f"http://{host}:8000", anywhere=False)[1] is True


def test_more_connections_than_files_are_refused_before_the_first() -> None:
    with pytest.raises(InvalidAim, match="ulimit"):
        allow_files(2**40)


def test_each_symbol_has_as_many_followers_as_the_others() -> None:
    aims = Aims("http://localhost", None, False, 6, 4, 2, 1.0, 1.0, 100)
    followed = [name for number in range(6) for name in aims.followed_by(number)]
    assert sorted(followed) == sorted(3 * aims.names)


def test_lost_folded_and_repeated_updates_are_told_apart() -> None:
    tally = Tally("mine")
    follower = Follower(tally, {"A": 10})
    follower.take(Received(symbol="A", offset=11, data=Sent("mine", 0)), 2_000_000_000)
    follower.take(Received(symbol="A", offset=11), 0)
    follower.take(Received(symbol="A", offset=14, folded=1), 0)
    follower.take(Received(symbol="A", offset=14, snapshot=True), 0)
    assert (tally.received, tally.repeated, tally.folded, tally.lost) == (2, 1, 1, 1)
    assert tally.latency.percentiles(0.5) == [2.0]
    assert follower.missing({"A": 20, "B": 5}) == 6


def test_updates_of_another_load_test_are_not_timed() -> None:
    tally = Tally("mine")
    Follower(tally, {"A": 0}).take(Received(symbol="A", offset=1, data=Sent("yours", 1)), 5)
    assert (tally.received, tally.latency.percentiles(0.5)) == (1, [None])


def test_percentiles_are_values_that_were_measured() -> None:
    samples = Samples()
    for value in range(1, 101):
        samples.add(value)
    assert samples.percentiles(0.5, 0.99, 1.0) == [50, 99, 100]
    assert samples.highest == 100
