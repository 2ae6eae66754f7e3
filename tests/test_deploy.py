"""deploy/: each file against what it starts, and a rolling restart behind its proxy."""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ara_client import Client
from django.core.management import get_commands

from tests import documents
from tests.conftest import require_program
from tests.distributions import build_distributions
from tests.live import publish_to
from tests.patience import START_SECONDS, STOP_SECONDS, wait_until
from tests.processes import ROOT, LiveServer, free_port, process_environment
from tests.python_client.conftest import Listener, Publisher
from tests.soak import rolling
from tests.soak.rolling import ready

DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
ROLES = {"web", "background", "feed", "worker", "beat"}


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yml").read_text())
    return loaded


def manifests() -> Iterator[dict[str, Any]]:
    for path in MANIFESTS:
        yield from yaml.safe_load_all(path.read_text())


def containers() -> Iterator[dict[str, Any]]:
    for manifest in manifests():
        if manifest["kind"] in ("Deployment", "Job"):
            yield from manifest["spec"]["template"]["spec"]["containers"]


def documented() -> set[str]:
    cells = [
        *documents.rows("Settings of the app"),
        *documents.rows("Variables of this project"),
    ]
    return {name for row in cells for name in documents.names(row[0])}


# The files against the project -------------------------------------------------------------------


def test_every_variable_is_a_setting() -> None:
    services = compose()["services"]
    example = re.findall(r"^([A-Z_]+)=", (DEPLOY / "compose.env.example").read_text(), re.M)
    named = set(services["web-1"]["environment"]) | set(example)
    for manifest in manifests():
        if manifest["kind"] == "ConfigMap":
            named |= set(manifest["data"])
    # Of the database and of the proxy, which are not ours.
    assert named - documented() == {"POSTGRES_PASSWORD", "LISTEN"}


def test_every_variable_of_the_compose_file_is_in_its_example() -> None:
    used = set(re.findall(r"\$\{([A-Z_]+)", (DEPLOY / "compose.yml").read_text()))
    example = re.findall(r"^([A-Z_]+)=", (DEPLOY / "compose.env.example").read_text(), re.M)
    assert used == set(example)


def test_every_role_runs_in_compose_and_in_kubernetes() -> None:
    services = compose()["services"].values()
    composed = [each["command"][0] for each in services if each["image"] == "ara-realtime"]
    assert set(composed) == ROLES | {"migrate"}
    assert {each["args"][0] for each in containers()} == ROLES | {"migrate"}


def test_every_command_of_the_entrypoint_exists() -> None:
    script = (DEPLOY / "entrypoint").read_text()
    assert set(re.findall(r"manage\.py (\w+)", script)) <= set(get_commands())
    assert os.access(DEPLOY / "entrypoint", os.X_OK)


def test_a_pod_has_time_to_close_its_sockets() -> None:
    config = next(each["data"] for each in manifests() if each["kind"] == "ConfigMap")
    needed = int(config["REALTIME_UNREADY_SECONDS"]) + int(config["REALTIME_DRAIN_SECONDS"])
    web = next(each for each in manifests() if each["metadata"]["name"] == "ara-realtime-web")
    assert web["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > needed + 10


def test_labels_of_a_pod_are_those_that_select_it() -> None:
    for manifest in manifests():
        if manifest["kind"] == "Deployment":
            labels = manifest["spec"]["template"]["metadata"]["labels"]
            assert manifest["spec"]["selector"]["matchLabels"] == labels


def test_the_image_gets_every_file_that_it_copies() -> None:
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    kept = {line[1:] for line in ignored if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (DEPLOY / "Dockerfile").read_text(), re.M)
    assert {name for names in copied for name in names.split()} == kept
    assert all((ROOT / name).exists() for name in kept)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_is_valid(unit: Path, tmp_path: Path) -> None:
    program = require_program("systemd-analyze")
    # Its programs are not on this machine, and an instance needs a name.
    text = unit.read_text().replace("/srv/ara-realtime/.venv/bin", str(Path(sys.executable).parent))
    copy = tmp_path / unit.name.replace("@", "@8000")
    copy.write_text(text.replace("%i", "8000"))
    result = subprocess.run(
        [program, "verify", "--man=no", str(copy)], capture_output=True, text=True, check=False,
        timeout=START_SECONDS,
    )  # fmt: skip
    assert (result.returncode, str(copy) in result.stderr) == (0, False), result.stderr


# The documentation shows the same files ----------------------------------------------------------


def test_the_documented_unit_is_the_file() -> None:
    section = documents.section("Processes")
    assert documents.blocks(section, "ini") == [
        (DEPLOY / "systemd" / "ara-realtime@.service").read_text()
    ]


def test_the_documented_proxy_is_the_file() -> None:
    assert documents.blocks(documents.section("nginx"), "nginx") == [
        (DEPLOY / "nginx" / "ara-realtime.conf").read_text()
    ]


# What the image runs -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory like the image: the project beside the installed wheel, not the sources."""
    directory = tmp_path_factory.mktemp("image")
    wheel = build_distributions(directory / "dist", ROOT).wheel
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"]
    target = ["--disable-pip-version-check", "--target", str(directory / "site"), str(wheel)]
    subprocess.run([*install, *target], check=True, timeout=START_SECONDS)
    shutil.copy(ROOT / "manage.py", directory)
    shutil.copytree(ROOT / "ara_project", directory / "ara_project")
    return directory


@pytest.fixture
def environment(image: Path, tmp_path: Path) -> dict[str, str]:
    return process_environment(
        tmp_path / "var",
        {
            "PYTHONPATH": str(image / "site"),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        },
    )


def start(image: Path, environment: dict[str, str], *arguments: str) -> "subprocess.Popen[bytes]":
    command = [str(DEPLOY / "entrypoint"), *arguments]
    return subprocess.Popen(command, cwd=image, env=environment, stderr=subprocess.DEVNULL)


def test_the_image_serves_and_stops_on_a_signal(image: Path, environment: dict[str, str]) -> None:
    assert start(image, environment, "migrate", "-v0").wait(START_SECONDS) == 0
    port = free_port()
    server = start(image, environment, "web", "--host", "127.0.0.1", "--port", str(port))
    try:
        assert wait_until(lambda: ready(f"http://127.0.0.1:{port}"), seconds=60)
        probe = start(image, environment, "healthcheck", "web", "--port", str(port))
        assert probe.wait(START_SECONDS) == 0
        server.send_signal(signal.SIGTERM)
        assert server.wait(STOP_SECONDS) == 0
    finally:
        server.kill()
        server.wait(STOP_SECONDS)
    probe = start(image, environment, "healthcheck", "web", "--port", str(port))
    assert probe.wait(START_SECONDS) == 1


# A rolling restart behind the proxy of compose.yml -----------------------------------------------


@pytest.fixture
def proxy(tmp_path: Path, servers: list[LiveServer]) -> Iterator[str]:
    """The URL of nginx with compose.conf in front of the servers."""
    with rolling.proxy(tmp_path, servers) as url:
        yield url


@pytest.fixture(scope="module")
def servers(module_servers: Callable[..., LiveServer]) -> list[LiveServer]:
    first = module_servers(REALTIME_TRUSTED_PROXIES="127.0.0.1")
    return [first, module_servers(REALTIME_TRUSTED_PROXIES="127.0.0.1")]


@pytest.mark.slow
async def test_a_rolling_restart_costs_no_update(
    servers: list[LiveServer], proxy: str, settings: Any
) -> None:
    publish_to(servers[0], settings)
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Client(proxy)) for _ in range(6)]
        listeners = [Listener(client.market_data("ROLLING")) for client in clients]
        publisher = Publisher("ROLLING")
        for listener in listeners:
            await listener.until(lambda listener=listener: len(listener.offsets) > 3)
        for server in servers:
            await asyncio.to_thread(server.restart)
        total = await publisher.stop()
        for listener in listeners:
            await listener.until(lambda listener=listener: listener.offsets[-1] == total)
            first = listener.offsets[0]
            assert first is not None
            assert listener.offsets == list(range(first, total + 1))


# Probes of what has no port ----------------------------------------------------------------------

_PROBE = """
from django.core.management import CommandError, call_command
try:
    call_command("healthcheck", "background")
except CommandError as exc:
    print("red:", exc)
"""


@pytest.mark.slow
def test_a_background_process_that_hangs_is_red(servers: list[LiveServer]) -> None:
    server = servers[0]
    assert "red: no background worker" in server.shell(_PROBE)
    command = [sys.executable, "manage.py", "run_background"]
    process = subprocess.Popen(
        command, cwd=ROOT, env=process_environment(server.directory, server.environment),
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert wait_until(lambda: "all alive" in server.shell(_PROBE), seconds=60)
        process.send_signal(signal.SIGSTOP)
        assert wait_until(lambda: "red: silent: " in server.shell(_PROBE))
        process.send_signal(signal.SIGCONT)
        assert wait_until(lambda: "all alive" in server.shell(_PROBE))
        process.terminate()
        process.wait(STOP_SECONDS)
        assert "red: no background worker" in server.shell(_PROBE)
    finally:
        process.kill()
        process.wait(STOP_SECONDS)
