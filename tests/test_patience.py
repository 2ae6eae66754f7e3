"""TIMEOUT_SCALE reaches every wait of the tests."""

import subprocess
import sys

from tests.processes import ROOT


def test_one_variable_makes_every_wait_longer() -> None:
    code = "from tests.patience import PATIENCE, scaled; print(PATIENCE, scaled(2))"
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT, env={"TIMEOUT_SCALE": "3"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert result.stdout.split() == ["90.0", "6.0"]
