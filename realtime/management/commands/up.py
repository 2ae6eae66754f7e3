"""`manage.py up`: everything on one machine, in one terminal, for `make run`."""

import contextlib
import errno
import fcntl
import http.client
import os
import re
import signal
import socket
import sys
import time
from argparse import ArgumentTypeError
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import IO

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from realtime.conf import conf, valkey_directory
from realtime.standalone import valkey
from realtime.standalone.demo import Demo, ensure_demo, project_command
from realtime.standalone.supervisor import Program, Supervisor

_TICK_SECONDS = 0.1
_START_SECONDS = 60.0
# A web server that dies this many times in a row, soon after its start, will not come up.
_MAX_DEATHS = 3

_BANNER = """
ARA Realtime is running. Ctrl-C stops everything.

  Dashboard  {base}/
  Admin      {base}/admin/
             {login}
  API key    {key}

Try it in a second terminal, in this directory:
  {python} -m websockets 'ws://localhost:{port}/ws/market-data/AAPL{token}'
  {python} manage.py broadcast_market_data AAPL '{{"price": 149.5, "volume": 1000000}}'
  {python} -m webbrowser {base}/admin/
"""


def _port(text: str) -> int:
    if not re.fullmatch("[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise ArgumentTypeError(f"{text[:20]!r} is not a valid port; choose one of 1 to 65535")
    return int(text)


class Command(BaseCommand):
    help = (
        "Start everything on this machine: the database's migrations, the embedded Valkey (unless "
        "REDIS_URL is set), the web server, the background work (run_background), the replay of "
        "real market data and a Celery worker. "
        "A process that dies is started again; Ctrl-C stops everything."
    )
    # `migrate` runs the checks; running them twice would only cost time.
    requires_system_checks: list[str] = []

    _stopping = False
    _supervisor: Supervisor | None = None

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--port",
            type=_port,
            default=os.environ.get("PORT") or "8000",
            help="of the web server, on localhost (default: $PORT, else 8000)",
        )
        parser.add_argument(
            "--no-feed",
            action="store_true",
            help="without the replayed market data and its predictions",
        )
        parser.add_argument("--no-worker", action="store_true", help="without the Celery worker")

    def handle(self, *, port: int, no_feed: bool, no_worker: bool, **options: object) -> None:
        lock = _require_alone(conf.REALTIME_VAR_DIR / "up.lock", port)
        _require_free(port)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        with contextlib.ExitStack() as stack:
            stack.enter_context(lock)
            call_command("migrate", verbosity=0, interactive=False)
            if conf.REALTIME_EMBEDDED_VALKEY:
                try:
                    stack.enter_context(valkey.hold(valkey_directory()))
                except valkey.EmbeddedServerError as exc:
                    raise CommandError(str(exc)) from exc
            self._supervisor = supervisor = stack.enter_context(
                Supervisor(cwd=conf.BASE_DIR, environment=_environment(), say=self._say)
            )
            if not no_worker and not _has_celery_app():
                self._say(
                    f"no worker: {celery_app()}.celery is missing; name your Celery "
                    "application in REALTIME_CELERY_APP"
                )
                no_worker = True
            web, *others = _programs(port, feed=not no_feed, worker=not no_worker)
            supervisor.start(web)
            # A production database must not get an account whose password is in a file.
            sqlite = settings.DATABASES["default"]["ENGINE"].endswith("sqlite3")
            demo = _demo(conf.REALTIME_VAR_DIR / "demo.json") if sqlite else None
            if self._wait_until_it_answers(supervisor, web, port):
                for program in others:
                    supervisor.start(program)
                self.stdout.write(_banner(port, demo))
                self.stdout.flush()
            while not self._stopping:
                _tick(supervisor, web)
            self._say("stopping")

    def _wait_until_it_answers(self, supervisor: Supervisor, web: Program, port: int) -> bool:
        """Wait for the web server; False if the command has been stopped meanwhile."""
        deadline = time.monotonic() + _START_SECONDS
        while not self._stopping:
            _tick(supervisor, web)
            if _answers(port):
                return True
            if time.monotonic() > deadline:
                raise CommandError(f"The web server did not answer in {_START_SECONDS:g} seconds.")
        return False

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._stopping and self._supervisor is not None:
            self._supervisor.hurry()  # the second Ctrl-C
        self._stopping = True

    def _say(self, line: str) -> None:
        self.stderr.write(f"up: {line}")


def _tick(supervisor: Supervisor, web: Program) -> None:
    supervisor.tick()
    if supervisor.deaths(web.name) >= _MAX_DEATHS:
        raise CommandError("The web server does not start; its output is above.")
    time.sleep(_TICK_SECONDS)


def _programs(port: int, *, feed: bool, worker: bool) -> list[Program]:
    """The web server, then the programs that need it."""
    manage = _manage()
    programs = [
        Program("web server", [*manage, "serve", "--host", "127.0.0.1", "--port", str(port)])
    ]
    programs.append(Program("background", [*manage, "run_background"]))
    if feed:
        programs.append(Program("feed", [*manage, "run_feed", "--source", "replay"]))
    if worker:
        # Celery's warning about root concerns pickled messages; this project accepts JSON only.
        celery = [sys.executable, "-W", "ignore:You're running the worker", "-m", "celery"]
        celery += ["--quiet", "--app", celery_app(), "worker"]
        # One process with one task at a time; gossip and the like are off, as there are no other
        # workers.
        options = ["--pool", "solo", "--loglevel", "WARNING"]
        options += ["--without-mingle", "--without-gossip", "--without-heartbeat"]
        programs.append(Program("worker", [*celery, *options]))
    return programs


def _manage() -> list[str]:
    script = conf.BASE_DIR / "manage.py"
    return [sys.executable, *([str(script)] if script.exists() else ["-m", "django"])]


def celery_app() -> str:
    """The project's package, where Celery's documentation places the app."""
    return conf.REALTIME_CELERY_APP or conf.ROOT_URLCONF.partition(".")[0]


def _has_celery_app() -> bool:
    with contextlib.suppress(ImportError):
        return bool(conf.REALTIME_CELERY_APP) or find_spec(f"{celery_app()}.celery") is not None
    return False


def _environment() -> dict[str, str]:
    """The environment for a quiet terminal and a Ctrl-C without production's delays."""
    return {"LOG_LEVEL": "WARNING", "REALTIME_DRAIN_SECONDS": "0.5", **os.environ}


def _require_alone(path: Path, port: int) -> IO[str]:
    """Take a lock that ends with this process; raise CommandError while another process holds it.

    Two in one directory would publish two replays into the same streams.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = open(path, "a+", opener=valkey.private_opener)  # noqa: SIM115  # until the end
    except OSError as exc:
        raise CommandError(f"{path} cannot be used: {exc.strerror}; set VAR_DIR") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        address = file.read().strip()
        file.close()
        raise CommandError(
            f"It is already running in {path.parent}{address and ', at '}{address}. Another one "
            "beside it needs a directory of its own: VAR_DIR=var/second PORT=9000 make run"
        ) from None
    file.truncate(0)
    file.write(f"http://localhost:{port}/")
    file.flush()
    return file


def _demo(path: Path) -> Demo:
    try:
        return ensure_demo(path)
    except OSError as exc:
        raise CommandError(f"{path} cannot be used: {exc.strerror}; remove it") from None


def _require_free(port: int) -> None:
    """Raise CommandError unless localhost, in IPv4 and IPv6, can listen on the port."""
    another = "choose another one: PORT=9000 make run (or python manage.py up --port 9000)"
    for family, kind, protocol, _, address in socket.getaddrinfo(
        "localhost", port, type=socket.SOCK_STREAM
    ):
        with socket.socket(family, kind, protocol) as probe:
            # As servers do, to ignore connections of the last run that are still closing.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
            except OSError as exc:
                if exc.errno == errno.EADDRINUSE:
                    raise CommandError(f"Port {port} is in use; {another}") from exc
                if exc.errno == errno.EACCES:
                    raise CommandError(f"Port {port} needs privileges; {another}") from exc


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("localhost", port, timeout=1)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _banner(port: int, demo: Demo | None) -> str:
    if demo is None:
        login = "log in with your account (python manage.py createsuperuser makes one)"
    elif demo.password is None:
        login = f"log in as {demo.username} with the password that you have set"
    else:
        login = f"log in as {demo.username} with password {demo.password}"
    return _BANNER.format(
        base=f"http://localhost:{port}",
        port=port,
        login=login,
        key=demo.api_key if demo else "make one in the admin",
        token=f"?token={demo.api_key}" if demo else "",
        python=project_command(private=True),
    )
