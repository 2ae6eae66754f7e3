"""The package of the client, built, and used where nothing else is installed."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
from ara_client import AraError, Client, Event, Refused, SyncClient

from realtime.version import VERSION
from tests.documents import blocks
from tests.installed.environment import Environment, make_environment
from tests.patience import START_SECONDS
from tests.processes import ROOT, LiveServer

pytestmark = pytest.mark.slow

SOURCE = ROOT / "clients" / "python"
README = (SOURCE / "README.md").read_text()
PLAIN = [code for code in blocks(README, "python") if "with SyncClient(" in code]
_INSTALLED = "from importlib.metadata import distributions as d; print(*(x.name for x in d()))"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    directory = tmp_path_factory.mktemp("client")
    environment = make_environment(directory, SOURCE, "ara-realtime-client")
    environment.install()
    return environment


def run(installed: Environment, code: str) -> "subprocess.CompletedProcess[str]":
    return installed.run("-W", "error", "-c", code, cwd=installed.directory)


def test_it_needs_websockets_alone(installed: Environment) -> None:
    assert sorted(run(installed, _INSTALLED).stdout.split()) == [
        "ara-realtime-client", "websockets",
    ]  # fmt: skip
    assert installed.check() == ""


def test_its_types_come_along(installed: Environment) -> None:
    code = "import ara_client, pathlib as p; print(p.Path(ara_client.__file__).parent)"
    package = Path(run(installed, code).stdout.strip())
    assert installed.directory in package.parents
    assert (package / "py.typed").exists()


def test_its_version_is_that_of_the_server() -> None:
    text = (SOURCE / "ara_client" / "version.py").read_text()
    assert f'VERSION = "{VERSION}"' in text
    project = tomllib.loads((SOURCE / "pyproject.toml").read_text())["project"]
    assert project["dependencies"] == ["websockets>=17"]


def fitted(code: str, server: LiveServer, values: Mapping[str, str]) -> str:
    """The code of a page, for this server."""
    for written, value in {"localhost:8000": f"localhost:{server.port}", **values}.items():
        code = code.replace(written, value)
    return code


def test_the_first_example_of_the_readme_prints_prices(
    installed: Environment, server: LiveServer, key: str
) -> None:
    with SyncClient(server.http, api_key=key) as client:
        client.publish("AAPL", {"price": 149.5})
    code = fitted(blocks(README, "python")[0], server, {})
    program = subprocess.Popen(
        [installed.python, "-u", "-c", code], stdout=subprocess.PIPE, text=True
    )
    assert program.stdout is not None
    try:
        assert re.match(r"AAPL \d+ 149\.5\n", program.stdout.readline())
    finally:
        program.kill()
        program.communicate(timeout=START_SECONDS)


@pytest.mark.parametrize(
    ("code", "shown"), [(PLAIN[0], "149.5"), (PLAIN[1], "[]")], ids=["prices", "model"]
)
def test_the_examples_without_await_run(
    server: LiveServer, key: str, code: str, shown: str
) -> None:
    code = fitted(code, server, {"ara_…": key, "timeout=10": "timeout=1"})
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(SOURCE)}, capture_output=True, text=True, check=False,
        timeout=START_SECONDS,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert shown in result.stdout


@pytest.mark.parametrize("code", blocks(README, "python"))
def test_every_example_can_be_compiled(code: str) -> None:
    compile(code, "README.md", "exec")


def public(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def test_the_reference_names_everything() -> None:
    page = (ROOT / "docs" / "reference" / "python-client.md").read_text()
    kinds = (Event.__args__, AraError.__subclasses__(), Refused.__subclasses__())
    names = public(Client) | {kind.__name__ for group in kinds for kind in group} - {"Refused"}
    assert {name for name in names if f"`{name}" not in page} == set()


def test_both_clients_have_the_same_methods() -> None:
    assert public(SyncClient) - {"close"} == public(Client) - {"aclose"}
