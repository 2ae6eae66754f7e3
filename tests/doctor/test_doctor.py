"""`manage.py doctor` finds what was planted, and says the way out."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from realtime import workers
from realtime.doctor.clocks import clock_finding
from realtime.doctor.findings import Finding, Probe, ok
from realtime.doctor.host import disk_finding, examine_disk
from realtime.doctor.layer import examine_layer
from realtime.doctor.redis_server import redis_probes
from realtime.doctor.running import run_probes
from realtime.doctor.workers import examine_workers
from realtime.management.commands.run_background import WORKS
from tests.conftest import MEMORY, REDIS, NewDatabase
from tests.doctor.planted import Report, doctor
from tests.patience import PATIENCE
from tests.processes import Valkey, free_port

PASSWORD = "hidden-river"


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Much is wrong at once: each finding must be there in spite of the others."""
    return doctor(
        tmp_path_factory.mktemp("broken"), "--json", files=128, DEBUG="true", ALLOWED_HOSTS="*",
        SECRET_KEY="django-insecure-" + 40 * "x", REALTIME_ALLOW_ANONYMOUS="true",
        REDIS_URL=f"redis://:{PASSWORD}@127.0.0.1:{free_port()}/0",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("subject", "level", "way_out"),
    [
        ("DEBUG", "error", "DEBUG=false"),
        ("ALLOWED_HOSTS", "warning", "realtime.example.com"),
        ("SECRET_KEY", "warning", "50 random characters"),
        ("migrations", "error", "manage.py migrate"),
        ("redis", "error", "REDIS_URL"),
        ("channel layer", "error", "Redis"),
        ("history", "error", "Redis"),
        ("open files", "error", "LimitNOFILE"),
    ],
)
def test_what_is_planted_is_found(broken: Report, subject: str, level: str, way_out: str) -> None:
    finding = broken.findings[subject]
    assert finding.level == level
    assert way_out in finding.way_out


def test_no_secret_is_shown(broken: Report) -> None:
    assert PASSWORD not in broken.text + broken.errors
    assert "Traceback" not in broken.errors
    assert broken.code == 1


@pytest.fixture(scope="module")
def healthy(
    tmp_path_factory: pytest.TempPathFactory, new_database: NewDatabase
) -> Iterator[Callable[..., Report]]:
    directory = tmp_path_factory.mktemp("healthy")
    database = new_database(directory)
    with Valkey(directory / "valkey", arguments=("--appendonly", "yes")) as valkey:
        yield lambda *arguments, **environment: doctor(
            directory, *arguments, REDIS_URL=valkey.url, **{**database, **environment}
        )


def test_a_healthy_deployment_passes(healthy: Callable[..., Report]) -> None:
    report = healthy("--json")
    errors = [each for each in report.findings.values() if each.level == "error"]
    assert (errors, report.code, report.errors) == ([], 0, "")
    for subject in ("database", "migrations", "redis persistence", "channel layer", "history"):
        assert report.level(subject) == "ok", subject


def test_warnings_fail_if_asked(healthy: Callable[..., Report]) -> None:
    report = healthy("--fail-level", "warning")
    assert report.code == 1
    assert "no background worker is running" in report.text
    assert "-> Run python manage.py run_background." in report.text


def test_a_url_that_is_not_one_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Exception, match="'example' is not a URL such as"):
        call_command("doctor", "--url", "example")


# One Redis ------------------------------------------------------------------------------------


@pytest.fixture
def plant(settings: Any, tmp_path: Path) -> Iterator[Callable[..., Valkey]]:
    """A function that starts a Valkey with arguments, and makes it the one of the layer."""
    started: list[Valkey] = []

    def start(*arguments: str) -> Valkey:
        valkey = Valkey(tmp_path / str(len(started)), arguments=arguments)
        started.append(valkey)
        valkey.start()
        hosts = {"hosts": [valkey.url]}
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": REDIS, "CONFIG": hosts}}
        return valkey

    yield start
    for valkey in started:
        valkey.kill()


def of_redis() -> dict[str, Finding]:
    found = [each for _, findings in run_probes(redis_probes()) for each in findings]
    return {finding.subject: finding for finding in found}


@pytest.mark.parametrize(
    ("arguments", "subject", "level"),
    [
        (["--maxmemory-policy", "allkeys-lru", "--maxmemory", "90mb"], "maxmemory-policy", "error"),
        (["--maxmemory-policy", "allkeys-lru"], "maxmemory-policy", "warning"),
        ([], "maxmemory-policy", "ok"),
        ([], "persistence", "warning"),
        (["--appendonly", "yes"], "persistence", "ok"),
        (["--save", "60", "1"], "persistence", "ok"),
        (["--replicaof", "127.0.0.1", "1"], "role", "error"),
        (["--cluster-enabled", "yes", "--port", "0"], "role", "error"),
        (["--maxmemory", "100kb"], "memory", "error"),
    ],
)
def test_the_configuration_of_redis_is_judged(
    plant: Callable[..., Valkey], arguments: list[str], subject: str, level: str
) -> None:
    plant(*arguments)
    finding = of_redis()[f"redis {subject}"]
    assert finding.level == level
    assert bool(finding.way_out) == (level != "ok")


def test_a_frozen_redis_stops_nothing(plant: Callable[..., Valkey]) -> None:
    plant().signal(signal.SIGSTOP)
    assert of_redis()["redis"].level == "error"


def test_a_round_trip_leaves_nothing_behind(plant: Callable[..., Valkey]) -> None:
    valkey = plant()
    assert [finding.level for finding in examine_layer()] == ["ok", "ok"]
    with valkey.client() as client:
        assert client.keys("*") == []


def test_a_layer_of_one_process_is_found(settings: Any) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": MEMORY}}
    (finding,) = examine_layer()
    assert (finding.level, MEMORY in finding.text) == ("error", True)


# Workers ----------------------------------------------------------------------------------------


def put_notes(valkey: Valkey, worker: str, step_age: float, lag: float) -> None:
    note = workers._Note(worker, 1, 0, lag, step_age, 0.0)
    text = workers.msgspec.json.encode(workers._Notes("host", 1, [note]))
    with valkey.client() as client:
        client.set("asgi:worker:w", text, px=60_000)
        client.zadd("asgi:workers", {"w": time.time() + 60})


def test_a_worker_that_hangs_and_those_that_are_missing_are_found(
    plant: Callable[..., Valkey],
) -> None:
    put_notes(plant(), "run_alerts", workers.HUNG_SECONDS + 1, 0.0)
    missing, hanging = examine_workers()
    assert all(name in missing.text for name in WORKS if name != "run_alerts")
    assert (hanging.level, hanging.subject) == ("error", "worker run_alerts")


def test_a_worker_that_is_behind_is_found(plant: Callable[..., Valkey]) -> None:
    put_notes(plant(), "run_alerts", 0.0, 75.0)
    _, late = examine_workers()
    assert (late.level, "75 s behind" in late.text) == ("warning", True)


# Host -------------------------------------------------------------------------------------------


def test_a_directory_that_is_missing_is_found(settings: Any, tmp_path: Path) -> None:
    settings.REALTIME_VAR_DIR = tmp_path / "absent"
    found = next(iter(examine_disk()))
    assert (found.subject, found.level) == ("VAR_DIR", "error")


def test_little_space_is_found(tmp_path: Path) -> None:
    free = [2 << 30, 500 << 20, 50 << 20]
    levels = [disk_finding("VAR_DIR", tmp_path, each).level for each in free]
    assert levels == ["ok", "warning", "error"]


def test_a_clock_that_differs_is_found() -> None:
    levels = [clock_finding("redis", skew).level for skew in (0.2, -2.0, 60.0)]
    assert levels == ["ok", "warning", "error"]


# Probes that fail -------------------------------------------------------------------------------


def test_a_probe_that_hangs_or_fails_stops_no_other() -> None:
    never = threading.Event()

    def hang() -> Iterator[Finding]:
        yield ok("first", "is kept")
        never.wait(PATIENCE)

    def fail() -> Iterator[Finding]:
        raise ValueError(f"redis://:{PASSWORD}@host is wrong")

    probes = [Probe("hangs", hang, 0.2), Probe("fails", fail), Probe("good", lambda: [ok("g", "")])]
    found = {probe.name: findings for probe, findings in run_probes(probes)}
    never.set()
    assert [each.level for each in found["hangs"]] == ["ok", "error"]
    assert [each.level for each in found["good"]] == ["ok"]
    assert found["fails"][0].level == "error"
    assert PASSWORD not in found["fails"][0].text
