"""npm packages that tests need, in the versions of tests/js/package-lock.json.

They are installed once per lock file, outside the repository.
"""

import fcntl
import hashlib
import os
import subprocess
from pathlib import Path

from tests.conftest import require, require_program
from tests.processes import ROOT

PROJECT = ROOT / "tests" / "js"
INSTALL_SECONDS = 300


def run(command: list[str | Path], directory: Path, seconds: float = 60) -> str:
    """The output of a program; raises with the output if it fails."""
    result = subprocess.run(
        command, cwd=directory, capture_output=True, text=True, timeout=seconds, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def node_modules() -> Path:
    """The folder with the packages; skips where they cannot be installed."""
    npm = require_program("npm")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    lock = (PROJECT / "package-lock.json").read_bytes()
    directory = cache / f"ara-realtime-js-{hashlib.sha256(lock).hexdigest()[:16]}"
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # one of several test processes
        if not (directory / "complete").exists():
            _install(npm, directory)
    return directory / "node_modules"


def _install(npm: str, directory: Path) -> None:
    for name in ("package.json", "package-lock.json"):
        (directory / name).write_bytes((PROJECT / name).read_bytes())
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
    result = subprocess.run(
        command, cwd=directory, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
    )
    require(result.returncode == 0, f"npm cannot install its packages: {result.stderr[-300:]}")
    (directory / "complete").touch()
