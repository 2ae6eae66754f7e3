"""nginx processes on loopback, each in a directory of its own."""

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.conftest import require_program
from tests.patience import STOP_SECONDS, wait_until

_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@contextlib.contextmanager
def nginx(directory: Path, http: str, answers: Callable[[], bool]) -> Iterator[None]:
    """Run nginx with the contents of an `http` block, from when `answers` returns true."""
    program = require_program("nginx")
    places = "".join(f"{name}_temp_path {directory}/{name};" for name in _TEMPORARY)
    (directory / "nginx.conf").write_text(
        f"daemon off; pid {directory}/pid; error_log {directory}/log; events {{}}\n"
        f"http {{ access_log off; {places}\n{http} }}"
    )
    process = subprocess.Popen([program, "-c", str(directory / "nginx.conf")])
    try:
        assert wait_until(answers), (directory / "log").read_text()
        yield
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)
