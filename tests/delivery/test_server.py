"""`manage.py serve` as an operator starts and stops it."""

import asyncio
import contextlib
import json
import resource
import signal
import socket as network
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import websockets
from django.core.management import CommandError, call_command
from websockets.asyncio.client import ClientConnection
from websockets.protocol import State

from realtime.broadcast import abroadcast_market_data
from tests.delivery.waiting import until
from tests.patience import PATIENCE, START_SECONDS, scaled
from tests.processes import (  # fmt: skip
    ROOT,
    LiveServer,
    Valkey,
    free_port,
    process_environment,
    run_manage,
    start_live_server,
)

Start = Callable[..., LiveServer]

HANDSHAKE = (
    b"GET /ws/market-data/AAPL HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAECAwQFBgcICQoLDA0ODw==\r\n\r\n"
)
BUNDLE = (
    b"GET /static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js HTTP/1.1\r\n"
    b"Host: localhost\r\n\r\n"
)
STATUS = b"\x81\x91\0\0\0\0" + b'{"type":"status"}'
# What peers send that answer no goodbye, each in its way.
STUBBORN = {
    "silent": HANDSHAKE,
    "deaf": HANDSHAKE + STATUS * 190,
    "half a request": b"POST /api/v1/publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"
    b"Expect: 100-continue\r\n\r\n{",
    "an answer unread": BUNDLE * 9,
}


def status_of(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            status: int = answer.status
            return status
    except urllib.error.HTTPError as exc:
        return exc.code


async def connect(server: LiveServer, path: str = "/ws/market-data/AAPL") -> ClientConnection:
    ws = await websockets.connect(server.ws + path, compression=None, ping_interval=None)
    assert json.loads(await asyncio.wait_for(ws.recv(), PATIENCE))["type"] == "connected"
    return ws


class Leaving:
    """What a client hears and sees while its server stops."""

    def __init__(self, ws: ClientConnection) -> None:
        self.ws = ws
        self.goodbye: dict[str, Any] | None = None
        self.closed_at = 0.0

    async def watch(self) -> None:
        with contextlib.suppress(websockets.ConnectionClosed):
            while True:
                message = json.loads(await self.ws.recv())
                if message["type"] == "server_shutdown":
                    assert self.goodbye is None, "once"
                    self.goodbye = message
        self.closed_at = time.monotonic()

    def assert_goodbye(self, most_ms: int) -> None:
        assert self.goodbye is not None
        assert 0 <= self.goodbye["reconnect_in_ms"] <= most_ms
        assert self.ws.close_code == 1012


async def ended(process: "subprocess.Popen[bytes]", seconds: float) -> int:
    return await asyncio.to_thread(process.wait, seconds)


# Stopping -----------------------------------------------------------------------------------------


async def test_first_not_ready_then_goodbye_spread_over_time_then_gone(
    start_server: Start,
) -> None:
    server = start_server("uvicorn", REALTIME_UNREADY_SECONDS="1", REALTIME_DRAIN_SECONDS="1.5")
    leaving = [Leaving(await connect(server)) for _ in range(20)]
    watching = [asyncio.ensure_future(each.watch()) for each in leaving]
    assert await asyncio.to_thread(status_of, f"{server.http}/readyz") == 200
    began = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(PATIENCE):
        while await asyncio.to_thread(status_of, f"{server.http}/readyz") != 503:
            pass
    assert await asyncio.to_thread(status_of, f"{server.http}/healthz") == 200
    late = Leaving(await connect(server))
    assert all(each.goodbye is None for each in leaving), "it still serves"
    assert time.monotonic() - began < scaled(1)
    leaving.append(late)
    watching.append(asyncio.ensure_future(late.watch()))
    await asyncio.wait_for(asyncio.gather(*watching), PATIENCE)
    for each in leaving:
        each.assert_goodbye(1500)
    waits = {each.goodbye["reconnect_in_ms"] for each in leaving if each.goodbye}
    assert len(waits) > 15, "each has its own time to come back"
    closes = [each.closed_at for each in leaving]
    assert max(closes) - min(closes) > 0.5, "they do not all go at once"
    assert max(closes) - began < scaled(1 + 1.5 + 2)
    assert await ended(server.process, 10) == 0
    with pytest.raises(OSError, match=r"[Cc]onnect"):
        await asyncio.to_thread(status_of, f"{server.http}/healthz")
    assert "Traceback" not in server.log


async def test_ctrl_c_stops_it_in_the_same_way(start_server: Start) -> None:
    server = start_server("uvicorn", REALTIME_DRAIN_SECONDS="0.2")
    leaving = Leaving(await connect(server, "/ws/alerts"))
    server.process.send_signal(signal.SIGINT)
    await asyncio.wait_for(leaving.watch(), PATIENCE)
    leaving.assert_goodbye(200)
    assert await ended(server.process, 10) == 0
    assert "Traceback" not in server.log


@pytest.mark.usefixtures("redis_layer")
async def test_a_reader_that_stalls_does_not_keep_it_from_ending(start_server: Start) -> None:
    server = start_server("uvicorn", REALTIME_DRAIN_SECONDS="0.2")
    raw = network.socket()
    raw.setsockopt(network.SOL_SOCKET, network.SO_RCVBUF, 4096)
    raw.connect(("127.0.0.1", server.port))
    ws = await websockets.connect(
        f"{server.ws}/ws/market-data/AAPL", sock=raw, compression=None, ping_interval=None
    )
    await ws.recv()
    ws.transport.pause_reading()
    healthy = Leaving(await connect(server))
    for _ in range(50):
        await abroadcast_market_data("AAPL", {"padding": "x" * 60_000})
    watching = asyncio.ensure_future(healthy.watch())
    began = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    assert await ended(server.process, 20) == 0
    assert time.monotonic() - began < scaled(12)
    await asyncio.wait_for(watching, PATIENCE)
    healthy.assert_goodbye(200)
    ws.transport.abort()


@pytest.mark.parametrize("kind", ["silent", "deaf", "half a request", "an answer unread"])
async def test_peers_that_do_not_answer_do_not_hold_a_drain_up(
    start_server: Start, kind: str
) -> None:
    server = start_server("uvicorn", REALTIME_DRAIN_SECONDS="0.5")
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
    writer.write(STUBBORN[kind])
    if kind == "silent":
        while b"connected" not in await reader.read(1024):
            pass
    else:
        await reader.read(1)
    server.process.send_signal(signal.SIGTERM)
    assert await ended(server.process, 20) == 0
    assert " ERROR " not in server.log
    writer.transport.abort()


def test_probes_of_a_process_that_is_not_ready_are_no_errors_in_the_log(
    start_server: Start, tmp_path: Path
) -> None:
    with Valkey(tmp_path / "valkey") as valkey:
        server = start_server("uvicorn", REDIS_URL=valkey.url)
    assert [status_of(f"{server.http}/readyz") for _ in range(3)] == [503, 503, 503]
    assert " ERROR django.request" not in server.log


def test_a_file_limit_that_is_reached_is_logged_once_with_the_way_out(start_server: Start) -> None:
    server = start_server("uvicorn")
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (120, 120))
    peers = [network.create_connection(("127.0.0.1", server.port)) for _ in range(150)]
    assert b" 503 " in peers[-1].recv(1024)
    for peer in peers:
        peer.close()
    while status_of(f"{server.http}/readyz") != 200:
        pass
    [line] = server.log.splitlines()[1:]
    assert "LimitNOFILE" in line


# Several processes --------------------------------------------------------------------------------


@pytest.fixture
def start(tmp_path: Path, valkey: Valkey, migrated_database: Path) -> Iterator[Start]:
    """`start(*arguments, **environment)`: serve with these arguments."""
    (tmp_path / "db.sqlite3").write_bytes(migrated_database.read_bytes())
    servers: list[tuple[LiveServer, list[psutil.Process]]] = []

    def start(*arguments: str, **environment: str) -> LiveServer:
        environment = {"REDIS_URL": valkey.url, "REALTIME_DRAIN_SECONDS": "0.2", **environment}
        port, log = free_port(), tmp_path / "log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "manage.py", "serve", "--port", str(port), *arguments],
                cwd=ROOT, env=process_environment(tmp_path, environment),
                stdout=file, stderr=subprocess.STDOUT,
            )  # fmt: skip
        server = LiveServer("serve", port, tmp_path, environment, log, process)
        deadline = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(OSError):
                status_of(f"{server.http}/healthz")
                break
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise AssertionError(server.log)
            time.sleep(0.05)
        servers.append((server, psutil.Process(process.pid).children(recursive=True)))
        return server

    yield start
    for server, children in servers:
        server.stop()
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()


def _living(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [each for each in processes if each.is_running() and each.status() != "zombie"]


async def server_of(ws: ClientConnection) -> str:
    await ws.send('{"type":"status"}')
    while True:
        message = json.loads(await asyncio.wait_for(ws.recv(), PATIENCE))
        if message["type"] == "status":
            server: str = message["server"]["id"]
            return server


async def sockets_of_both(
    server: LiveServer, known: Iterable[str] = ()
) -> dict[str, ClientConnection]:
    """A socket on each of two processes, or on each that is not known yet."""
    sockets: dict[str, ClientConnection] = {}
    async with asyncio.timeout(START_SECONDS):
        while len({*sockets, *known}) < 2:
            ws = await connect(server)
            name = await server_of(ws)
            if name in sockets or name in known:
                await ws.close()
            else:
                sockets[name] = ws
    return sockets


@pytest.mark.slow
@pytest.mark.usefixtures("redis_layer")
async def test_two_workers_serve_are_replaced_and_say_goodbye(start: Start) -> None:
    server = start("--workers", "2")
    sockets = await sockets_of_both(server)
    await abroadcast_market_data("AAPL", {"price": 7})
    for ws in sockets.values():
        message = json.loads(await asyncio.wait_for(ws.recv(), PATIENCE))
        assert (message["data"], message["offset"]) == ({"price": 7}, 1)

    supervisor = psutil.Process(server.process.pid)
    workers = [each for each in supervisor.children() if serves(each)]
    assert len(workers) == 2
    workers[0].kill()
    await until(lambda: any(ws.state is State.CLOSED for ws in sockets.values()))
    sockets = {name: ws for name, ws in sockets.items() if ws.state is State.OPEN}
    assert len(sockets) == 1, "the other one serves on"
    sockets |= await sockets_of_both(server, known=sockets)

    leaving = [Leaving(ws) for ws in sockets.values()]
    watching = [asyncio.ensure_future(each.watch()) for each in leaving]
    server.process.send_signal(signal.SIGTERM)
    await asyncio.wait_for(asyncio.gather(*watching), PATIENCE)
    for each in leaving:
        each.assert_goodbye(200)
    assert await ended(server.process, 20) == 0
    assert "Traceback" not in server.log


def serves(process: psutil.Process) -> bool:
    """A worker, and not the helper that multiprocessing starts beside them."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() != "zombie" and "spawn_main" in " ".join(process.cmdline())
    return False


async def test_workers_end_when_their_supervisor_is_killed(start: Start) -> None:
    server = start("--workers", "2")
    sockets = await sockets_of_both(server)
    family = psutil.Process(server.process.pid).children(recursive=True)
    leaving = [Leaving(ws) for ws in sockets.values()]
    watching = [asyncio.ensure_future(each.watch()) for each in leaving]
    server.process.kill()
    await asyncio.wait_for(asyncio.gather(*watching), PATIENCE)
    for each in leaving:
        each.assert_goodbye(200)
    await until(lambda: not _living(family))


# Starting -----------------------------------------------------------------------------------------


@pytest.fixture
def taken_port() -> Iterator[int]:
    with network.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_port_that_is_taken_is_one_line(tmp_path: Path, taken_port: int) -> None:
    result = run_manage(
        tmp_path, "serve", "--port", str(taken_port), REDIS_URL="redis://127.0.0.1:1"
    )
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr == (
        f"CommandError: Port {taken_port} is taken; choose another one with --port.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--workers", "0"], "--workers must be at least 1"),
        (["--port", "70000"], "--port must be 0 to 65535, not 70000"),
        (["--port", "-1"], "--port must be 0 to 65535, not -1"),
        (["--host", "no.such.host.invalid"], "Cannot listen on no.such.host.invalid:8000"),
    ],
)
def test_a_bad_argument_is_named(arguments: list[str], reason: str) -> None:
    with pytest.raises(CommandError, match=reason):
        call_command("serve", *arguments, skip_checks=True)


def test_a_port_is_also_taken_for_two_workers(taken_port: int) -> None:
    with pytest.raises(CommandError, match=f"Port {taken_port} is taken"):
        call_command("serve", "--workers", "2", "--port", str(taken_port), skip_checks=True)


def test_a_database_without_tables_is_told_in_a_log_that_is_no_terminal(
    start: Start, tmp_path: Path
) -> None:
    server = start(DATABASE_URL=f"sqlite:///{tmp_path}/new.sqlite3")
    assert f"Serving on http://127.0.0.1:{server.port}/" in server.log
    assert "run python manage.py migrate" in server.log


# The log ------------------------------------------------------------------------------------------


async def test_no_credential_is_ever_in_the_log(start: Start) -> None:
    """With every request logged, and with the log at its most talkative."""
    server = start("--access-log", LOG_LEVEL="DEBUG")
    secret = "ara_verysecretverysecret"
    alerts = f"{server.ws}/ws/alerts"
    for options in (
        {"uri": f"{alerts}?token={secret}"},
        {"uri": f"{alerts}?a=1&ticket={secret}"},
        {"uri": alerts, "additional_headers": {"Authorization": f"Bearer {secret}"}},
        {"uri": alerts, "additional_headers": {"X-API-Key": secret}},
        {"uri": alerts, "subprotocols": ["ara.v1", f"ara.token.{secret}"]},
    ):
        async with websockets.connect(**options, compression=None) as ws:
            await asyncio.wait_for(ws.wait_closed(), PATIENCE)
            assert ws.close_code == 4401
    async with websockets.connect(alerts, compression=None) as ws:
        await ws.send(json.dumps({"type": "auth", "token": secret}))
        await asyncio.wait_for(ws.wait_closed(), PATIENCE)
    await asyncio.to_thread(status_of, f"{server.http}/healthz?token={secret}")
    await asyncio.to_thread(server.stop)
    assert secret[4:] not in server.log
    assert "/ws/alerts" in server.log, "the requests themselves are there"
    assert "/healthz" in server.log


def test_it_may_hold_as_many_sockets_as_the_system_lets_it() -> None:
    code = (
        "import resource as r; from realtime.delivery.server import allow_many_sockets;"
        "_, hard = r.getrlimit(r.RLIMIT_NOFILE); r.setrlimit(r.RLIMIT_NOFILE, (64, hard));"
        "allow_many_sockets(); print(r.getrlimit(r.RLIMIT_NOFILE) == (hard, hard))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "True"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDIS_URL", "redis://127.0.0.1:1/0"),
        ("DATABASE_URL", "postgres://u:hunter2@127.0.0.1:1/none"),
    ],
)
def test_what_does_not_answer_at_the_start_is_told(tmp_path: Path, name: str, value: str) -> None:
    server = start_live_server("uvicorn", tmp_path, {name: value})
    server.stop()
    assert f"({name}) does not answer: /readyz says 503 until it does" in server.log
    assert "hunter2" not in server.log
