"""Every server that is measured: how it starts, how it is published to, what it can take."""

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.processes import ROOT, BenchError, Process, free_port
from tests.processes import Valkey, manage


@dataclass(frozen=True)
class Cores:
    """Where things run: the server on the first, the load generator and Redis on the second."""

    server: int
    load: int


@dataclass
class Place:
    """What the servers of one round share."""

    directory: Path
    valkey: Valkey
    cores: Cores

    def environment(self) -> dict[str, str]:
        return {
            "VAR_DIR": str(self.directory),
            "REDIS_URL": self.valkey.url,
            "REALTIME_DRAIN_SECONDS": "0.2",
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


@dataclass(frozen=True)
class Kind:
    """`most` is how many deliveries a second it takes without falling behind, on one core.

    A slow server is measured at a rate that it can serve; what a lost message costs says nothing.
    """

    name: str
    label: str
    start: Callable[[Place], Running]
    most: int
    greets: bool = True
    subscribes: bool = False  # by messages instead of by path
    redis: bool = False
    both_cores: bool = False
    missing: Callable[[], str | None] = lambda: None

    def path(self, symbols: Sequence[str]) -> str:
        if self.subscribes and len(symbols) > 1:
            return "/ws/market-data"
        return f"/ws/market-data/{','.join(symbols)}"


def _ara(place: Place, command: Sequence[str], port: int, cores: Sequence[int]) -> Running:
    environment = place.environment()
    process = Process(
        command, cores=cores, environment=environment, log=place.directory / f"{port}.log"
    )
    process.wait_for_port(port, "/healthz")
    return Running(process, port, "ara", "-", environment)


def start_ara_uvicorn(place: Place, workers: int = 1) -> Running:
    port = free_port()
    cores = [place.cores.server] if workers == 1 else [place.cores.server, place.cores.load]
    command = [sys.executable, "manage.py", "serve", "--port", str(port)]
    return _ara(place, [*command, "--workers", str(workers)], port, cores)


def start_loop(place: Place) -> Running:
    port, control = free_port(), free_port()
    environment = {"CONTROL_PORT": str(control)}
    process = Process(
        [sys.executable, "-m", "uvicorn", "--port", str(port), "--log-level", "warning",
         "tests.bench.rivals.loop_app:app"],
        cores=[place.cores.server], environment=environment, log=place.directory / f"{port}.log",
    )  # fmt: skip
    process.wait_for_port(port)
    return Running(process, port, "control", str(control), environment)


NCHAN_CONF = """\
load_module {module}; {user}
daemon off; pid {directory}/nginx-{port}.pid; error_log stderr warn;
worker_processes 1; worker_rlimit_nofile 20000;
events {{ worker_connections 16000; }}
http {{
  access_log off; nchan_shared_memory_size 128m; keepalive_requests 100000000; keepalive_timeout 1h;
  client_body_temp_path {directory}/t1; proxy_temp_path {directory}/t2;
  fastcgi_temp_path {directory}/t3; uwsgi_temp_path {directory}/t4; scgi_temp_path {directory}/t5;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location ~ ^/pub/(.+)$ {{ nchan_publisher; nchan_channel_id $1; nchan_message_buffer_length 1000; }}
    location ~ ^/ws/market-data/(.+)$ {{
      nchan_subscriber websocket; nchan_channel_id $1; nchan_channel_id_split_delimiter ",";
      nchan_subscriber_first_message newest;
    }}
  }}
}}
"""
NCHAN_MODULE = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")


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
    path = place.directory / f"nginx-{port}.conf"
    # As root, nginx gives its workers away to another user, who may not write here.
    user = "user root;" if os.geteuid() == 0 else ""
    path.write_text(
        NCHAN_CONF.format(module=NCHAN_MODULE, user=user, directory=place.directory, port=port)
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
        Kind("ara", "ARA on uvicorn", start_ara_uvicorn, 60_000, subscribes=True, redis=True),
        Kind("loop", "loop over sockets (as FastAPI), uvicorn", start_loop, 30_000),
        Kind("nchan", "nginx + Nchan", start_nchan, 60_000, greets=False, missing=nchan_missing),
    )
}


def prepare(directory: Path) -> None:
    """Tables for this project's servers; they share one database."""
    manage(directory, "migrate", "-v0", REDIS_URL="redis://127.0.0.1:1")


__all__ = ["KINDS", "ROOT", "Cores", "Kind", "Place", "Running", "prepare"]
