"""The settings of the app: defaults, overrides, and what is said about bad values."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from pytest_django import Settings

from realtime.conf import DECLARED, bad_values, conf, require_valid, spelled
from realtime.management.commands import up
from tests.processes import ROOT, process_environment

BAD: list[tuple[str, Any, str]] = [
    ("REALTIME_ALLOW_ANONYMOUS", "yes", "must be true or false"),
    ("REALTIME_ALLOW_ANONYMOUS", None, "must be true or false"),
    ("REALTIME_MAX_SUBSCRIPTIONS", "many", "must be a whole number, 1 or more"),
    ("REALTIME_MAX_SUBSCRIPTIONS", True, "must be a whole number, 1 or more"),
    ("REALTIME_MAX_SUBSCRIPTIONS", 1.5, "must be a whole number, 1 or more"),
    ("REALTIME_MAX_SUBSCRIPTIONS", 2**31, "2147483647 at most"),
    ("REALTIME_PREDICTION_DAYS", 36_501, "36500 at most"),
    ("REALTIME_HEARTBEAT_INTERVAL", 0, "must be a number, 0.05 or more"),
    ("REALTIME_HEARTBEAT_INTERVAL", float("nan"), "must be a number, 0.05 or more"),
    ("REALTIME_PREDICTION_RUNNER", ["pool"], "must be pool or celery"),
    ("REALTIME_PREDICTOR", print, "must be text"),
    ("REALTIME_ALLOWED_ORIGINS", "https://a.example", "must be a list of texts"),
    ("REALTIME_TRUSTED_PROXIES", ["10.0.0.0/33"], "is not a network"),
    ("REALTIME_WEBHOOK_ALLOWED_HOSTS", ["a b"], "is not a host"),
    ("REALTIME_WEBHOOK_RETRY_DELAYS", [5, -1], "must be seconds"),
    ("REALTIME_WEBHOOK_RETRY_DELAYS", [], "must be seconds"),
    ("REALTIME_CCXT_CONFIG", "{}", "must be a dictionary"),
    ("REALTIME_HISTORY_LENGTH", 1000, "must be a dictionary"),
    ("REALTIME_HISTORY_LENGTH", {"alert": 5}, "'alert' is not a key of it"),
    ("REALTIME_HISTORY_LENGTH", {"alerts": 0}, "['alerts']=0: must be a whole number"),
    ("REALTIME_VAR_DIR", 5, "must be the path of a directory"),
    ("ALPACA_URL", "ftp://u:hunter2@h", "is not a valid URL"),
    ("CHANNEL_LAYERS", ["default"], "must be a dictionary"),
]


@pytest.mark.parametrize(("name", "value", "way_out"), BAD)
def test_a_bad_value_is_named_with_the_way_out(
    settings: Settings, name: str, value: Any, way_out: str
) -> None:
    setattr(settings, name, value)
    (problem,) = bad_values()
    assert problem.startswith(name)
    assert way_out in problem
    assert "hunter2" not in problem


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, value, _ in BAD])
def test_check_says_only_what_is_wrong_with_it(settings: Settings, name: str, value: Any) -> None:
    setattr(settings, name, value)
    found = run_checks(include_deployment_checks=True)
    ours = [message for message in found if (message.id or "").startswith("realtime.")]
    assert [message.id for message in ours] == ["realtime.E013"]
    with pytest.raises(ImproperlyConfigured, match=name):
        require_valid()


def test_every_default_is_one_that_may_be() -> None:
    for name, setting in DECLARED.items():
        setting.check(name, setting.default)


def test_an_override_holds_as_long_as_it_lasts() -> None:
    assert conf.REALTIME_MAX_SUBSCRIPTIONS == 200
    with override_settings(REALTIME_MAX_SUBSCRIPTIONS=7):
        assert conf.REALTIME_MAX_SUBSCRIPTIONS == 7
        with override_settings(REALTIME_MAX_SUBSCRIPTIONS=8):
            assert conf.REALTIME_MAX_SUBSCRIPTIONS == 8
        assert conf.REALTIME_MAX_SUBSCRIPTIONS == 7
    assert conf.REALTIME_MAX_SUBSCRIPTIONS == 200


@override_settings(REALTIME_HISTORY_LENGTH={"alerts": 5})
def test_a_channel_that_is_left_out_keeps_its_default() -> None:
    assert conf.REALTIME_HISTORY_LENGTH["alerts"] == 5
    assert conf.REALTIME_HISTORY_LENGTH["market-data"] == 1000


def test_a_variable_sets_one_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    found = DECLARED["REALTIME_HISTORY_LENGTH"].read({"REALTIME_HISTORY_LENGTH_ALERTS": "5"})
    assert found == {"alerts": 5}


def test_a_slip_in_the_name_of_a_setting_is_noticed(settings: Settings) -> None:
    settings.REALTIME_MAX_SUBSCRIPTION = 5
    found = {message.id: message for message in run_checks()}
    assert "REALTIME_MAX_SUBSCRIPTION " in found["realtime.W011"].msg
    assert found["realtime.W011"].hint == "Did you mean REALTIME_MAX_SUBSCRIPTIONS?"


@pytest.mark.parametrize("module", ["settings", "environment", "files"])
def test_reading_the_settings_makes_nothing(tmp_path: Path, module: str) -> None:
    run(tmp_path / "new", "-c", f"import ara_project.{module}; import django.conf as c; "
        "c.settings.DATABASES")  # fmt: skip
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "start",
    [
        ["manage.py", "check"],
        ["-c", "import ara_project.asgi"],
        ["-c", "import ara_project.wsgi"],
        ["-c", "import django; django.setup()"],
        ["-m", "celery", "-A", "ara_project", "report"],
        ["-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "tests/test_values.py"],
    ],
    ids=str,
)
def test_every_start_makes_what_it_needs(tmp_path: Path, start: list[str]) -> None:
    run(tmp_path / "a" / "new", *start)
    made = {path.name for path in (tmp_path / "a" / "new").iterdir()}
    assert made >= {"secret_key", "db.sqlite3", "static"}


# Of a project that Django has made, with three names more.
BARE = """
INSTALLED_APPS += ["channels", "rest_framework", "realtime"]
"""


@pytest.fixture(scope="module")
def bare_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bare")
    start = [sys.executable, "-m", "django", "startproject", "shop", str(directory)]
    subprocess.run(start, check=True, timeout=60)
    with open(directory / "shop" / "settings.py", "a") as file:
        file.write(BARE)
    return directory


def start_in(directory: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = process_environment(directory, {"PYTHONPATH": str(ROOT)})
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=directory, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def in_bare_project(directory: Path, *arguments: str) -> str:
    result = start_in(directory, *arguments)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


def test_a_project_without_any_setting_is_told_what_to_add(bare_project: Path) -> None:
    said = in_bare_project(bare_project, "check")
    assert re.findall(r"\((\S+)\)", said) == [
        f"realtime.W{number}" for number in ("017", "018", "020")
    ]
    assert said.count("HINT") == 3


def test_a_project_without_any_setting_migrates(bare_project: Path) -> None:
    in_bare_project(bare_project, "migrate", "-v0")
    assert "No changes" in in_bare_project(bare_project, "makemigrations", "--check")
    assert not (bare_project / "var").exists()


def test_there_is_nothing_to_serve_without_an_application(bare_project: Path) -> None:
    result = start_in(bare_project, "serve", "--port", "0")
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("CommandError: ASGI_APPLICATION is not set")


def test_a_bad_setting_stops_a_command_with_one_error(bare_project: Path) -> None:
    settings = bare_project / "shop" / "settings.py"
    before = settings.read_text()
    try:
        settings.write_text(before + 'REALTIME_HISTORY_LENGTH = {"alert": 5}\n')
        for command in (["serve", "--port", "0"], ["run_alerts"], ["run_feed"]):
            result = start_in(bare_project, *command)
            assert result.returncode == 1
            assert "(realtime.E013) REALTIME_HISTORY_LENGTH: 'alert'" in result.stderr
            assert "Traceback" not in result.stderr
    finally:
        settings.write_text(before)


def test_the_worker_of_up_is_that_of_the_project(settings: Settings) -> None:
    assert (up.celery_app(), up._has_celery_app()) == ("ara_project", True)
    settings.ROOT_URLCONF = "tests.urls"
    assert (up.celery_app(), up._has_celery_app()) == ("tests", False)
    settings.REALTIME_CELERY_APP = "shop.work:app"
    assert (up.celery_app(), up._has_celery_app()) == ("shop.work:app", True)


def test_messages_name_what_the_project_has(settings: Settings) -> None:
    assert spelled("REDIS_URL", "CHANNEL_LAYERS") == "REDIS_URL"
    settings.REALTIME_KNOWN_VARIABLES = []
    assert spelled("REDIS_URL", "CHANNEL_LAYERS") == "CHANNEL_LAYERS"


ENDS_LOGINS = """
from django.contrib.auth.models import User
from realtime.access.tokens import SessionRefreshToken, is_blacklisted
user = User.objects.create_user("alice", "", "pw-for-tests-1")
token = SessionRefreshToken.for_user(user)
user.check_password("pw-for-tests-1")
user.save()
print(is_blacklisted(token))
user.set_password("pw-for-tests-2")
user.save()
print(is_blacklisted(token))
"""


def test_a_new_password_ends_logins_without_a_setting(bare_project: Path) -> None:
    settings = bare_project / "shop" / "settings.py"
    before = settings.read_text()
    app = 'INSTALLED_APPS.append("rest_framework_simplejwt.token_blacklist")\n'
    try:
        settings.write_text(before + app)
        in_bare_project(bare_project, "migrate", "-v0")
        assert in_bare_project(bare_project, "shell", "-v0", "-c", ENDS_LOGINS).split() == [
            "False", "True",
        ]  # fmt: skip
    finally:
        settings.write_text(before)


def run(directory: Path, *arguments: str) -> None:
    environment = process_environment(directory, {"DJANGO_SETTINGS_MODULE": "ara_project.settings"})
    result = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
