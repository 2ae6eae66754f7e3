"""A PostgreSQL cluster for one run of tests, and that run: `python -m tests.postgres [ARGS]`.

`make check-postgres` runs the tests marked `postgres`, with DATABASE_URL and REDIS_URL set to a
PostgreSQL and a redis-server that are started here, as in production. If one of them is not
installed, it says so and does nothing; under STRICT=1 (CI) it fails.
"""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType

import psycopg
from psycopg import sql

from tests.patience import START_SECONDS, STOP_SECONDS
from tests.processes import ROOT, Valkey, free_port

# No data of a test's database needs to survive a crash.
_OPTIONS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "listen_addresses": "127.0.0.1",
}


def find_programs() -> Path | None:
    """The paths of initdb and postgres; Debian has them outside PATH, the newest version last."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: path.parent.name)
    found = shutil.which("initdb")
    if found is not None:
        places.append(Path(found).resolve().parent)
    usable = [
        path for path in places if (path / "initdb").exists() and (path / "postgres").exists()
    ]
    return usable[-1] if usable else None


class Postgres:
    """A cluster with an empty database, which is removed when the context ends."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._directory = Path(tempfile.mkdtemp(prefix="ara-postgres-"))
        password, self._port = secrets.token_hex(16), free_port()
        self.url = f"postgres://ara:{password}@127.0.0.1:{self._port}/postgres"
        self.parameters = {
            "NAME": "postgres",
            "USER": "ara",
            "PASSWORD": password,
            "HOST": "127.0.0.1",
            "PORT": self._port,
        }
        passwords = self._directory / "password"
        passwords.write_text(password)
        # PostgreSQL refuses to run as root.
        self._account = pwd.getpwnam("postgres") if os.geteuid() == 0 else None
        if self._account is not None:
            for path in (self._directory, passwords):
                os.chown(path, self._account.pw_uid, self._account.pw_gid)
        self._server: subprocess.Popen[bytes] | None = None

    def _run(self, program: str, *arguments: str) -> "subprocess.Popen[bytes]":
        account = self._account
        # Not with pg_ctl, whose server is not a child process and would outlive a killed run.
        return subprocess.Popen(
            [str(self._programs / program), "-D", str(self._directory / "data"), *arguments],
            cwd=self._directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            user=account and account.pw_uid, group=account and account.pw_gid,
            extra_groups=account and [],
        )  # fmt: skip

    def __enter__(self) -> "Postgres":
        initialised = self._run(
            "initdb", "--username", "ara", "--pwfile", str(self._directory / "password"),
            "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--no-sync",
        )  # fmt: skip
        try:
            if initialised.wait(START_SECONDS):
                raise RuntimeError(f"initdb failed with {initialised.returncode}")
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def start(self) -> None:
        options = {
            **_OPTIONS,
            "port": str(self._port),
            "unix_socket_directories": str(self._directory),
        }
        arguments = [f"--{name}={value}" for name, value in options.items()]
        self._server = self._run("postgres", *arguments)
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                psycopg.connect(self.url).close()
                return
            except psycopg.OperationalError:
                if self._server.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def stop(self) -> None:
        """End every connection, as a restart or a failover does."""
        if self._server is not None:
            self._server.send_signal(signal.SIGINT)
            self._server.wait(STOP_SECONDS)
            self._server = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            shutil.rmtree(self._directory, ignore_errors=True)


def create_database(template: str | None = None) -> str:
    """The URL of a new database in the cluster of DATABASE_URL, a copy of `template` (a URL)."""
    url = os.environ["DATABASE_URL"]
    name = f"test_{secrets.token_hex(8)}"
    copied = "template1" if template is None else template.rpartition("/")[2]
    with psycopg.connect(url, autocommit=True) as connection:
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        connection.execute(statement.format(sql.Identifier(name), sql.Identifier(copied)))
    return f"{url.rpartition('/')[0]}/{name}"


def main(arguments: list[str]) -> int:
    programs, redis_server = find_programs(), shutil.which("redis-server")
    missing = [
        name
        for name, found in (("postgresql", programs), ("redis-server", redis_server))
        if found is None
    ]
    if programs is None or redis_server is None:
        strict = os.environ.get("STRICT") == "1"
        print(f"{'STRICT=1 and' if strict else 'Skipped:'} {', '.join(missing)} not installed")
        return 1 if strict else 0
    os.environ["TEST_REDIS_SERVER"] = redis_server
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # started servers are stopped
    with (
        tempfile.TemporaryDirectory(prefix="ara-redis-") as directory,
        Valkey(Path(directory), tcp=True) as redis,
        Postgres(programs) as postgres,
    ):
        command = [sys.executable, "-m", "pytest", "-m", "postgres", *arguments]
        environment = {**os.environ, "DATABASE_URL": postgres.url, "REDIS_URL": redis.url}
        process = subprocess.Popen(command, cwd=ROOT, env=environment)
        try:
            return process.wait()
        finally:
            process.terminate()
            process.wait(STOP_SECONDS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
