"""Every server that is measured: how it starts, how it is published to, what it can take."""

import json
import os
import shutil
import string
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.packages import NODE_MODULES, PYTHON_PACKAGES, fastapi_missing, ws_missing
from tests.bench.processes import BenchError, Process, free_port
from tests.processes import Valkey

RIVALS = Path(__file__).parent / "rivals"
NCHAN_MODULE = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")


@dataclass(frozen=True)
class Cores:
    """Where things run: the server on the first, the load generator and Redis on the second."""

    server: int
    load: int


@dataclass
class Place:
    """What the servers of one run share."""

    directory: Path
    valkey: Valkey
    cores: Cores
    api_keys: Sequence[str] = ()
    attack_key: str = ""  # one with every scope
    publish_key: str = ""

    def environment(self) -> dict[str, str]:
        """Of this project's processes."""
        return {
            "VAR_DIR": str(self.directory),
            "REDIS_URL": self.valkey.url,
            "REALTIME_DRAIN_SECONDS": "0.2",
            "REALTIME_PREDICTIONS_PER_MINUTE": "1000000",
            "DJANGO_SETTINGS_MODULE": "ara_project.settings",
        }


@dataclass
class Running:
    """A server that answers."""

    process: Process
    port: int
    publisher: str  # a KIND of publisher.py
    target: str
    environment: dict[str, str]


def _never() -> None:
    return None


@dataclass(frozen=True)
class Kind:
    """`most` is how many deliveries a second it takes on one core without falling behind.

    A slow server is measured at a rate that it can serve: what a lost message costs says nothing.
    `burst` is the same for many updates at once.
    """

    name: str
    label: str
    start: Callable[[Place], Running]
    most: int
    burst: int
    greets: bool = True  # with a message `connected`
    subscribes: bool = False  # to many symbols by a message; others by their path
    cores: int = 1
    missing: Callable[[], str | None] = _never

    @property
    def ours(self) -> bool:
        return self.name.startswith("ara")

    def path(self, symbols: Sequence[str]) -> str:
        if self.subscribes and len(symbols) > 1:
            return "/ws/market-data"
        return f"/ws/market-data/{','.join(symbols)}"

    def opening(self, symbols: Sequence[str]) -> tuple[bytes, bytes]:
        """What a client sends first, and what it waits for before it counts as connected."""
        if self.subscribes and len(symbols) > 1:
            text = json.dumps({"type": "subscribe", "symbols": list(symbols)})
            return text.encode(), b'"subscribed"'
        return b"", b'"connected"' if self.greets else b""


# This project -----------------------------------------------------------------------------------


def start_ara(
    place: Place, *program: str, cores: Sequence[int] = (), **environment: str
) -> Running:
    """Any program that serves this project; `{port}` in it is the port."""
    port = free_port()
    environment = {**place.environment(), **environment}
    process = Process(
        [sys.executable, *(part.format(port=port) for part in program)],
        cores=cores or [place.cores.server], environment=environment,
        log=place.directory / f"{port}.log",
    )  # fmt: skip
    process.wait_for_port(port, "/healthz")
    return Running(process, port, "ara", "-", environment)


def start_ara_uvicorn(place: Place) -> Running:
    return start_ara(place, "manage.py", "serve", "--port", "{port}")


def start_ara_two_workers(place: Place) -> Running:
    both = [place.cores.server, place.cores.load]
    return start_ara(place, "manage.py", "serve", "--port", "{port}", "--workers", "2", cores=both)


def start_ara_daphne(place: Place) -> Running:
    application = "ara_project.asgi:application"
    return start_ara(place, "-m", "daphne", "-b", "127.0.0.1", "-p", "{port}", application)


# Others -----------------------------------------------------------------------------------------


def _start(place: Place, *command: str, **environment: str) -> Running:
    """A program that publishes from inside; `{port}` in its arguments is the port."""
    port, control = free_port(), free_port()
    environment = {"CONTROL_PORT": str(control), "PORT": str(port), **environment}
    process = Process(
        [part.format(port=port) for part in command],
        cores=[place.cores.server], environment=environment, log=place.directory / f"{port}.log",
    )  # fmt: skip
    process.wait_for_port(port)
    return Running(process, port, "control", str(control), environment)


def start_loop(place: Place) -> Running:
    return _start(
        place, sys.executable, "-m", "uvicorn", "--port", "{port}", "--log-level", "warning",
        "tests.bench.rivals.loop_app:app",
    )  # fmt: skip


def start_fastapi(place: Place) -> Running:
    return _start(
        place, sys.executable, "-m", "uvicorn", "--port", "{port}", "--log-level", "warning",
        "tests.bench.rivals.fastapi_app:app", PYTHONPATH=str(PYTHON_PACKAGES),
    )  # fmt: skip


def start_fastapi_publish(place: Place) -> Running:
    return _start(
        place, sys.executable, "-m", "uvicorn", "--port", "{port}", "--log-level", "warning",
        "tests.bench.rivals.fastapi_publish:app", PYTHONPATH=str(PYTHON_PACKAGES),
        REDIS_URL=place.valkey.url,
    )  # fmt: skip


def _start_channels(place: Place, **environment: str) -> Running:
    return _start(
        place, sys.executable, "-m", "daphne", "-b", "127.0.0.1", "-p", "{port}",
        "tests.bench.rivals.channels_app:application",
        DJANGO_SETTINGS_MODULE="tests.bench.rivals.channels_settings", **environment,
    )  # fmt: skip


def start_channels_memory(place: Place) -> Running:
    return _start_channels(place, REDIS_URL="")


def start_channels_redis(place: Place) -> Running:
    running = _start_channels(place, REDIS_URL=place.valkey.url)
    running.publisher = "channel-layer"
    return running


def start_ws(place: Place) -> Running:
    return _start(place, "node", str(RIVALS / "ws_server.js"), NODE_PATH=str(NODE_MODULES))


def nginx() -> str | None:
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/sbin")


def nchan_missing() -> str | None:
    if nginx() is None or not NCHAN_MODULE.exists():
        return "nginx with Nchan is not installed (Debian: apt install nginx libnginx-mod-nchan)"
    return None


def start_nchan(place: Place) -> Running:
    port = free_port()
    binary = nginx()
    if binary is None:
        raise BenchError("nginx is not installed")
    template = string.Template((RIVALS / "nginx.conf").read_text())
    # As root, nginx gives its worker to another user, who may not write here.
    user = "user root;" if os.geteuid() == 0 else ""
    path = place.directory / f"nginx-{port}.conf"
    path.write_text(
        template.substitute(module=NCHAN_MODULE, user=user, directory=place.directory, port=port)
    )
    process = Process(
        [binary, "-c", str(path), "-p", str(place.directory)],
        cores=[place.cores.server], log=place.directory / f"{port}.log",
    )  # fmt: skip
    process.wait_for_port(port)
    return Running(process, port, "nchan", str(port), {})


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("ara", "this project, uvicorn", start_ara_uvicorn, 50_000, 250_000, subscribes=True),
        Kind(
            "ara-2", "this project, uvicorn, 2 workers on both cores", start_ara_two_workers,
            50_000, 250_000, subscribes=True, cores=2,
        ),
        Kind("ara-daphne", "this project, daphne", start_ara_daphne, 10_000, 10_000,
             subscribes=True),
        Kind("channels", "Channels, in-memory layer, daphne", start_channels_memory, 2_000, 2_000),
        Kind("channels-redis", "Channels, Redis pub/sub layer, daphne", start_channels_redis,
             2_000, 2_000),
        Kind("fastapi", "FastAPI, send_json in a loop, uvicorn", start_fastapi, 15_000, 15_000,
             missing=fastapi_missing),
        Kind("loop", "the same loop on bare ASGI, uvicorn", start_loop, 15_000, 15_000),
        Kind("ws", "Node ws", start_ws, 50_000, 50_000, missing=ws_missing),
        Kind("nchan", "nginx + Nchan", start_nchan, 50_000, 50_000, greets=False,
             missing=nchan_missing),
    )
}  # fmt: skip
