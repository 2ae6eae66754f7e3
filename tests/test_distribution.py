"""The wheel and the sdist: what they contain, and what they say that they need."""

import re
import subprocess
import sys
import zipfile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from realtime.version import VERSION
from tests.distributions import PROJECT, Distributions, build_distributions
from tests.processes import ROOT
from tests.test_locks import pins, ranges

VENDORED = "realtime/static/realtime/vendor/lightweight-charts"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    return build_distributions(tmp_path_factory.mktemp("dist"))


def files_of_the_app() -> set[str]:
    """What is in the repository, or will be with the next commit."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "realtime"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {name for name in listed.split("\0") if name and (ROOT / name).exists()}


def test_the_package_index_would_take_both(built: Distributions) -> None:
    command = [sys.executable, "-m", "twine", "check", "--strict", built.wheel, built.sdist]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stdout
    assert result.stdout.count("PASSED") == 2


def test_the_wheel_holds_the_app_and_nothing_else(built: Distributions) -> None:
    information = f"ara_realtime-{VERSION}.dist-info/"
    names = [name for name in built.wheel_names if not name.startswith(information)]
    assert sorted(names) == sorted(files_of_the_app())
    assert {"realtime/py.typed", "realtime/migrations/0001_api_keys.py"} < set(names)


def test_the_sdist_holds_the_app_and_what_describes_it(built: Distributions) -> None:
    described_by = {".gitignore", "CHANGELOG.md", "LICENSE", "PKG-INFO", "README.md"}
    assert sorted(built.sdist_names) == sorted(
        files_of_the_app() | described_by | {"pyproject.toml"}
    )


def test_nothing_is_packed_twice(built: Distributions) -> None:
    packed = [name for name in built.wheel_names if name.endswith((".gz", ".br", ".zip"))]
    assert packed == ["realtime/feeds/data/stocks.csv.gz"]


def test_the_metadata_says_what_it_is(built: Distributions) -> None:
    metadata = built.metadata
    assert metadata["Name"] == "ara-realtime"
    assert metadata["Version"] == VERSION
    assert metadata["License-Expression"] == "MIT AND Apache-2.0"
    assert metadata["Requires-Python"] == PROJECT["requires-python"]
    assert metadata.get_payload() == (ROOT / "README.md").read_text()
    with zipfile.ZipFile(built.wheel) as archive:
        licences = f"ara_realtime-{VERSION}.dist-info/licenses"
        for name in ("LICENSE", f"{VENDORED}/LICENSE", f"{VENDORED}/NOTICE"):
            assert archive.read(f"{licences}/{name}") == (ROOT / name).read_bytes()


def test_the_wheel_holds_the_library_for_charts_once(built: Distributions) -> None:
    held = [name for name in built.wheel_names if name.endswith("lightweight-charts.js")]
    assert held == [f"{VENDORED}/lightweight-charts.js"]


def test_the_versions_of_python_are_those_that_are_tested() -> None:
    named = {name.rpartition(" ")[2] for name in PROJECT["classifiers"] if ":: 3." in name}
    workflow = (ROOT / ".github" / "workflows" / "check.yml").read_text()
    assert named == set(re.findall(r'"(3\.\d+)"', workflow))


def needed() -> list[Requirement]:
    """What the app needs with all of its extras, but for those that name other extras."""
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    found = [Requirement(text) for group in groups for text in group]
    return [requirement for requirement in found if requirement.name != PROJECT["name"]]


def files_of_requirements() -> dict[str, list[Requirement]]:
    found: dict[str, list[Requirement]] = {}
    for path in ROOT.glob("requirements*.txt"):
        for requirement in ranges(path.name):
            found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return found


@pytest.mark.parametrize("requirement", needed(), ids=str)
def test_the_project_is_tested_with_what_the_app_needs(requirement: Requirement) -> None:
    name = canonicalize_name(requirement.name)
    for version in pins("requirements-dev.lock")[name]:
        assert version in requirement.specifier
    # The ready-made project stays on a Django with long-term support, and on one ccxt.
    for written in () if name in ("django", "ccxt") else files_of_requirements().get(name, ()):
        assert written.specifier == requirement.specifier
        assert requirement.extras <= written.extras


def test_the_extra_all_has_all_extras() -> None:
    extras = PROJECT["optional-dependencies"]
    [everything] = map(Requirement, extras["all"])
    assert everything.extras == extras.keys() - {"all"}
