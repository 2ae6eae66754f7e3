"""The app in projects unlike ours: each runs its cases with settings of its own."""

import subprocess
import sys

import pytest

from tests.processes import ROOT

pytestmark = pytest.mark.slow

HOSTS = [
    ("own_rest", "rest_cases"),
    ("bare", "bare_cases"),
    ("office", "office_cases"),
    ("settings", "url_cases"),
    ("behind_proxy", "url_cases"),
]


@pytest.mark.parametrize(("host", "cases"), HOSTS)
def test_the_app_fits_into_a_project(host: str, cases: str) -> None:
    arguments = ["-q", "-n", "0", "-p", "no:cacheprovider", f"--ds=tests.hosts.{host}"]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments, f"tests/hosts/{cases}.py"],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
