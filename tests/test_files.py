"""The files in VAR_DIR: private in any directory, and one line where one cannot be used."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import require_program
from tests.patience import START_SECONDS
from tests.processes import ROOT, manage, process_environment, run_manage

HOLD = """
from realtime.conf import valkey_directory
from realtime.standalone import valkey
with valkey.hold(valkey_directory()):
    from channels.layers import get_channel_layer
    get_channel_layer().sync_client.save()
"""
SCHEDULE = """
import shelve
from django.conf import settings
shelve.open(settings.CELERY_BEAT_SCHEDULE_FILENAME, writeback=True).close()
"""


def open_to_others(directory: Path) -> set[str]:
    """Files that somebody else could read."""
    files = (path for path in directory.rglob("*") if not path.is_symlink())
    return {path.name for path in files if path.is_file() and path.stat().st_mode & 0o077}


def test_nothing_that_is_made_is_for_others(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    manage(tmp_path, "migrate", "-v0")
    manage(tmp_path, "shell", "-v0", "-c", HOLD + SCHEDULE)
    made = {path.name.partition(".")[0] for path in tmp_path.rglob("*")}
    assert made >= {"db", "secret_key", "celerybeat-schedule", "dump", "valkey", "static"}
    assert open_to_others(tmp_path) == set()


def test_a_database_from_before_is_taken_from_others(tmp_path: Path) -> None:
    manage(tmp_path, "migrate", "-v0")
    (tmp_path / "db.sqlite3").chmod(0o644)
    manage(tmp_path, "check")
    assert (tmp_path / "db.sqlite3").stat().st_mode & 0o777 == 0o640


def test_source_code_is_for_everybody(tmp_path: Path) -> None:
    manage(tmp_path, "startapp", "shop", str(_made(tmp_path / "shop")))
    assert (tmp_path / "shop" / "models.py").stat().st_mode & 0o044 == 0o044
    assert open_to_others(tmp_path) & {"db.sqlite3", "secret_key"} == set()


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("secret_key", "check"),
        ("db.sqlite3", "check"),
        ("up.lock", "up"),
        ("demo.json", "up"),
        ("valkey/start.lock", "serve"),
        ("valkey/guard.lock", "serve"),
        ("valkey/valkey.log", "serve"),
    ],
)
def test_a_directory_in_place_of_a_file_is_one_line(
    tmp_path: Path, name: str, command: str
) -> None:
    (tmp_path / name).mkdir(parents=True)
    _one_line(run_manage(tmp_path, command), name)


@pytest.mark.parametrize(("name", "command"), [("static", "check"), ("valkey", "serve")])
def test_a_file_in_place_of_a_directory_is_one_line(
    tmp_path: Path, name: str, command: str
) -> None:
    (tmp_path / name).touch()
    _one_line(run_manage(tmp_path, command), name)


def test_a_directory_that_cannot_be_made_is_one_line() -> None:
    _one_line(run_manage(Path("/proc/none"), "check"), "set VAR_DIR")


@pytest.mark.parametrize(
    "command",
    [
        ["uvicorn", "--port", "0", "ara_project.asgi:application"],
        ["celery", "-A", "ara_project", "worker"],
        ["celery", "-A", "ara_project", "beat"],
    ],
    ids=str,
)
def test_other_programs_say_it_in_one_line_too(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "secret_key").mkdir()
    result = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT, env=process_environment(tmp_path, {}), capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    _one_line(result, "secret_key")


def test_an_empty_secret_key_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "secret_key").touch()
    _one_line(run_manage(tmp_path, "check"), "secret_key is empty")


def _one_line(result: "subprocess.CompletedProcess[str]", name: str) -> None:
    others = ("up: ", "The database lacks tables")
    said = [line for line in result.stderr.splitlines() if not line.startswith(others)]
    assert result.returncode != 0
    assert len(said) == 1, result.stderr
    assert re.search(rf"{name}\b", said[0])


def _without_rights_over_all_files(*command: str) -> list[str]:
    """The command as somebody whom permissions bind; root passes them."""
    if os.geteuid() != 0:
        return [*command]
    return [require_program("setpriv"), "--bounding-set=-dac_override,-dac_read_search", *command]


@pytest.mark.parametrize(
    ("path", "mode"), [("", 0o500), ("secret_key", 0o000), ("db.sqlite3", 0o400)]
)
def test_what_may_not_be_used_is_one_line(tmp_path: Path, path: str, mode: int) -> None:
    directory = tmp_path / "var"
    directory.mkdir()
    if path:
        (directory / path).write_text("x" * 50)
    (directory / path).chmod(mode)
    command = _without_rights_over_all_files(sys.executable, "manage.py", "check")
    result = subprocess.run(
        command,
        cwd=ROOT, env=process_environment(directory, {}), capture_output=True, text=True,
        timeout=START_SECONDS, check=False,
    )  # fmt: skip
    directory.chmod(0o700)
    _one_line(result, str(directory / path))
    assert "Permission denied" in result.stderr
