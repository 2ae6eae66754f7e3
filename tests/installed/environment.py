"""A virtual environment with the wheel: installed once for all projects that use it."""

import os
import subprocess
import sys
import venv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import require
from tests.distributions import build_distributions
from tests.processes import ROOT, START_SECONDS
from tests.test_locks import pins

# Of the machine, which would reach into a project of somebody else's.
_OURS = ("DJANGO_SETTINGS_MODULE", "PYTHONPATH", "VIRTUAL_ENV", "DATABASE_URL", "REDIS_URL")
INSTALL_SECONDS = 300.0


@dataclass(frozen=True)
class Environment:
    """`directory` is the virtual environment, beside it the constraints of what is installed."""

    directory: Path
    wheel: Path
    name: str = "ara-realtime"

    @property
    def python(self) -> str:
        return str(self.directory / "bin" / "python")

    def install(self, *extras: str, beside: tuple[str, ...] = ()) -> None:
        """`pip install 'ara-realtime[extras]'`, at the versions of the lock."""
        wheel = f"{self.name}[{','.join(extras)}] @ {self.wheel.as_uri()}"
        command = [
            *(
                sys.executable,
                "-m",
                "pip",
                "--python",
                self.python,
                "install",
                "--quiet",
                "--no-compile",
            ),
            *("--disable-pip-version-check", "--constraint", str(self._constraints())),
        ]
        result = subprocess.run(
            [*command, wheel, *beside], capture_output=True, text=True, check=False,
            timeout=INSTALL_SECONDS,
        )  # fmt: skip
        offline = "No matching distribution" in result.stderr or "HTTPSConnection" in result.stderr
        require(not offline, f"pip cannot install: {result.stderr[-300:]}")
        assert result.returncode == 0, result.stderr

    def check(self) -> str:
        """`pip check`: does the metadata name everything, in versions that fit each other?"""
        command = [sys.executable, "-m", "pip", "--python", self.python, "check"]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return result.stdout + result.stderr if result.returncode else ""

    def run(
        self, *arguments: str, cwd: Path, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.python, *arguments], cwd=cwd, env=clean_environment(environment or {}),
            capture_output=True, text=True, timeout=START_SECONDS, check=False,
        )  # fmt: skip

    def _constraints(self) -> Path:
        path = self.directory / "constraints.txt"
        lines = [
            f"{name}=={next(iter(found))}"
            for name, found in pins("requirements-dev.lock").items()
            if len(found) == 1
        ]
        path.write_text("\n".join(lines))
        return path


def clean_environment(more: Mapping[str, str]) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in _OURS and not name.startswith(("REALTIME_", "PYTEST_"))
    }
    return {**kept, "PYTHONUNBUFFERED": "1", **more}


def make_environment(
    directory: Path, source: Path = ROOT, name: str = "ara-realtime"
) -> Environment:
    """An empty one, and the wheel of a source that is to be installed there."""
    wheel = build_distributions(directory / "dist", source).wheel
    venv.create(directory / "venv", with_pip=False, symlinks=True)
    return Environment(directory / "venv", wheel, name)
