"""The wheel and the sdist, built as `make dist` builds them, and their contents."""

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from dataclasses import dataclass
from email import message_from_string
from email.message import Message
from pathlib import Path

from tests.processes import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@dataclass(frozen=True)
class Distributions:
    wheel: Path
    sdist: Path

    @property
    def wheel_names(self) -> list[str]:
        with zipfile.ZipFile(self.wheel) as archive:
            return archive.namelist()

    @property
    def sdist_names(self) -> list[str]:
        """The names in the sdist, without its top folder."""
        with tarfile.open(self.sdist) as archive:
            return [member.name.partition("/")[2] for member in archive if member.isfile()]

    @property
    def metadata(self) -> Message:
        name = next(name for name in self.wheel_names if name.endswith("/METADATA"))
        with zipfile.ZipFile(self.wheel) as archive:
            return message_from_string(archive.read(name).decode())


def build_distributions(directory: Path, source: Path = ROOT) -> Distributions:
    """The wheel is built from the sdist, so a file that the sdist lacks is missing in both."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(directory)]
    result = subprocess.run(
        command, cwd=source, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return Distributions(wheel=next(directory.glob("*.whl")), sdist=next(directory.glob("*.gz")))
