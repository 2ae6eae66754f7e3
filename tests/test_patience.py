"""TIMEOUT_SCALE reaches every wait of the tests."""

import re
import subprocess
import sys

from tests.processes import ROOT

# A second and more, in figures: what waits for less waits for something that must not come.
BARE = re.compile(
    r"(?:asyncio\.timeout\(|asyncio\.wait_for\(.*, |\.wait\(|\bjoin\(|communicate\(timeout="
    r"|urlopen\(.*timeout=|get_message\(timeout=|monotonic\(\) \+ |- began < )[1-9][\d_.]*\b"
)


def test_no_wait_is_written_in_figures_alone() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in (ROOT / "tests").rglob("*.py")
        if path.relative_to(ROOT).parts[1] not in ("bench", "soak")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if BARE.search(line)
    ]
    assert found == [], "these bounds do not scale: take PATIENCE or scaled() of tests.patience"


def test_one_variable_makes_every_wait_longer() -> None:
    code = "from tests.patience import PATIENCE, scaled; print(PATIENCE, scaled(2))"
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT, env={"TIMEOUT_SCALE": "3"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert result.stdout.split() == ["90.0", "6.0"]
