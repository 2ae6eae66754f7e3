"""The locks against the ranges that they are made from; `make lock` writes them."""

import re

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.processes import ROOT

PIN = re.compile(r"^(?P<name>[\w.-]+)(\[[\w,-]+\])?==(?P<version>\S+)", re.MULTILINE)
PAIRS = [
    ("requirements.txt", "requirements.lock"),
    ("requirements.txt", "requirements-dev.lock"),
    ("requirements-dev.txt", "requirements-dev.lock"),
    ("requirements-forecast.txt", "requirements-dev.lock"),
    ("requirements-plot.txt", "requirements-dev.lock"),
    ("requirements-notify.txt", "requirements-dev.lock"),
]


def pins(lock: str) -> dict[str, set[str]]:
    """The versions of each package: more than one where they depend on the platform."""
    found: dict[str, set[str]] = {}
    for pin in PIN.finditer((ROOT / lock).read_text()):
        found.setdefault(canonicalize_name(pin["name"]), set()).add(pin["version"])
    return found


def ranges(requirements: str) -> list[Requirement]:
    lines = (
        line.partition("#")[0].strip() for line in (ROOT / requirements).read_text().splitlines()
    )
    return [Requirement(line) for line in lines if line and not line.startswith("-")]


@pytest.mark.parametrize(("requirements", "lock"), PAIRS)
def test_each_range_is_locked_to_a_version_within_it(requirements: str, lock: str) -> None:
    locked = pins(lock)
    for requirement in ranges(requirements):
        versions = locked.get(canonicalize_name(requirement.name), set())
        assert versions, f"{requirement} is not in {lock}: run make lock"
        assert all(version in requirement.specifier for version in versions), requirement


def test_development_runs_on_the_versions_of_production() -> None:
    development = pins("requirements-dev.lock")
    for name, versions in pins("requirements.lock").items():
        assert development[name] == versions


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_the_lock_has_hashes_and_no_package_index(lock: str) -> None:
    text = (ROOT / lock).read_text()
    # A pin goes on with its hashes: its line ends in a backslash.
    pinned = [line for line in text.splitlines() if PIN.match(line)]
    assert pinned
    assert all(line.endswith("\\") for line in pinned)
    assert not re.search(r"^-|://", text, re.MULTILINE)
