"""Runs `manage.py doctor` in a process of its own, and reads what it found."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from realtime.doctor.findings import Finding
from tests.patience import START_SECONDS
from tests.processes import ROOT, process_environment


@dataclass
class Report:
    code: int
    text: str
    errors: str

    @property
    def findings(self) -> dict[str, Finding]:
        return {each["subject"]: Finding(**each) for each in json.loads(self.text)["findings"]}

    def level(self, subject: str) -> str:
        return self.findings[subject].level


def doctor(directory: Path, *arguments: str, files: int = 0, **environment: str) -> Report:
    """`files`: the limit of open files of the process."""
    limit = f"ulimit -n {files}; " if files else ""
    result = subprocess.run(
        ["sh", "-c", f'{limit}exec "$@"', "sh", sys.executable, "manage.py", "doctor", *arguments],
        cwd=ROOT, env=process_environment(directory, environment), capture_output=True, text=True,
        timeout=START_SECONDS, check=False,
    )  # fmt: skip
    return Report(result.returncode, result.stdout, result.stderr)
