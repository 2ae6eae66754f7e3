import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings as project
from django.contrib.auth.models import User
from django.core.checks import run_checks
from pytest_django import Settings

from realtime import checks
from realtime.access.identity import ANONYMOUS
from realtime.standalone import demo
from tests.documents import section
from tests.processes import run_manage

OURS = "realtime."


def ids(*, deploy: bool = False) -> list[str]:
    """What our checks say, run as Django runs them."""
    found = run_checks(include_deployment_checks=deploy, tags=["security"])
    return sorted(message.id or "" for message in found if (message.id or "").startswith(OURS))


@pytest.fixture(autouse=True)
def _fresh(settings: Settings, tmp_path: Path, db: None) -> None:
    settings.REALTIME_VAR_DIR = tmp_path
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "realtime.delivery.layers.RedisStreamLayer"}}


def jwt(**lifetimes: timedelta) -> dict[str, Any]:
    return {**project.SIMPLE_JWT, **lifetimes}


def test_times_without_a_zone_are_refused(settings: Settings) -> None:
    settings.USE_TZ = False
    assert "realtime.E020" in {found.id for found in run_checks(tags=["compatibility"])}


def test_the_settings_of_a_newcomer_are_fine() -> None:
    assert ids() == []


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("SECRET_KEY", "short", ["realtime.E001"]),
        ("SECRET_KEY", "django-insecure-" + "x" * 50, ["realtime.E002"]),
        ("SIMPLE_JWT", jwt(ACCESS_TOKEN_LIFETIME=timedelta(days=2)), ["realtime.W001"]),
        ("SIMPLE_JWT", jwt(REFRESH_TOKEN_LIFETIME=timedelta(minutes=1)), ["realtime.W002"]),
        ("ALLOWED_HOSTS", [], ["realtime.E003"]),
        ("REALTIME_ALLOWED_ORIGINS", ["https://a.example", "https://*.b.example", "*"], []),
        ("REALTIME_ALLOWED_ORIGINS", ["a.example", "https://a/b"], ["realtime.E004"] * 2),
        ("REALTIME_ALLOWED_ORIGINS", ["https://bücher.example", "https://*.ü.example"], []),
        ("REALTIME_ALLOWED_ORIGINS", ["https://straße.example"], ["realtime.E004"]),
        ("REALTIME_TRUSTED_PROXIES", ["10.0.0.0/8", "unix"], []),
        ("REALTIME_TRUSTED_PROXIES", ["0.0.0.0/0", "::/0"], ["realtime.W003"] * 2),
        ("LOGGING", {"handlers": {"file": {"class": "x"}}}, ["realtime.W004"]),
    ],
)
def test_what_is_wrong_anywhere_is_said_at_every_start(
    settings: Settings, name: str, value: Any, expected: list[str]
) -> None:
    setattr(settings, name, value)
    assert ids() == expected


def test_a_path_that_cannot_be_loaded_is_named(settings: Settings) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "nowhere.Layer"}}
    settings.REALTIME_ALERT_STORE = "realtime.alerts.inbox.nothing"
    settings.REALTIME_FEED = "nowhere.feed"
    found = {message.id: message.msg for message in checks.check_dotted_paths()}
    assert "REALTIME_FEED='nowhere.feed'" in found["realtime.E018"]
    assert "CHANNEL_LAYER='nowhere.Layer'" in found["realtime.E008"]
    assert "REALTIME_ALERT_STORE" in found["realtime.E009"]


def test_a_slip_in_the_name_of_a_setting_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REALTIME_HEARTBEAT_INTERVALL", "5")
    (message,) = checks.check_names()
    assert message.id == "realtime.W008"
    assert "REALTIME_HEARTBEAT_INTERVAL?" in (message.hint or "")


def test_that_anybody_may_publish_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    open_to_all = replace(ANONYMOUS, scopes=frozenset(["publish"]))
    monkeypatch.setattr(checks, "ANONYMOUS", open_to_all)
    assert ids() == ["realtime.E005"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, []),
        ({"REALTIME_ALLOW_ANONYMOUS": True}, ["realtime.W006"]),
        ({"REALTIME_ALLOWED_ORIGINS": ["*"]}, ["realtime.W007"]),
        ({"ALLOWED_HOSTS": ["*"]}, ["realtime.W007"]),
        ({"ALLOWED_HOSTS": ["*"], "REALTIME_ALLOWED_ORIGINS": ["https://a.example"]}, []),
        ({"REALTIME_ALLOW_ANONYMOUS": True, "DEBUG": True}, []),
        (
            {"CHANNEL_LAYERS": {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}},
            ["realtime.E006"],
        ),
    ],
    ids=str,
)
def test_what_is_wrong_on_the_internet_is_said_before_deployment(
    settings: Settings, values: dict[str, Any], expected: list[str]
) -> None:
    settings.REALTIME_ALLOW_ANONYMOUS = False
    for name, value in values.items():
        setattr(settings, name, value)
    assert ids(deploy=True) == expected
    assert ids() == []


def test_a_secret_key_of_one_machine_is_not_for_several(settings: Settings, tmp_path: Path) -> None:
    settings.REALTIME_ALLOW_ANONYMOUS = False
    settings.REALTIME_VAR_DIR = tmp_path
    settings.REALTIME_EMBEDDED_VALKEY = False
    assert ids(deploy=True) == []
    (tmp_path / "secret_key").write_text(settings.SECRET_KEY)
    assert ids(deploy=True) == ["realtime.W005"]
    settings.REALTIME_EMBEDDED_VALKEY = True
    assert ids(deploy=True) == []


def test_every_message_has_a_hint(settings: Settings) -> None:
    settings.SECRET_KEY = "short"
    settings.LOGGING = {"handlers": {"file": {}}}
    for message in run_checks(include_deployment_checks=True, tags=["security"]):
        assert message.hint or not (message.id or "").startswith(OURS)


def test_a_predictor_that_cannot_be_loaded_is_an_error(settings: Settings) -> None:
    assert list(checks.check_predictor()) == []
    settings.REALTIME_PREDICTOR = "nowhere.predictor"
    (message,) = checks.check_predictor()
    assert message.id == "realtime.E007"
    assert "REALTIME_PREDICTOR='nowhere.predictor'" in message.msg


def test_behind_a_proxy_that_speaks_tls_django_has_little_to_say(tmp_path: Path) -> None:
    result = run_manage(tmp_path, "check", "--deploy", TLS_PROXY="true", HSTS_SECONDS="3600")
    said = re.findall(r"security\.\w+", result.stderr)
    # Subdomains, preloading and redirects are the proxy's.
    assert set(said) <= {"security.W005", "security.W008", "security.W021"}


@pytest.mark.parametrize("name", ["SECRET_KEY", "SECRET_KEY_FALLBACKS"])
def test_the_example_key_of_the_documentation_is_named(settings: Settings, name: str) -> None:
    settings.REALTIME_ALLOW_ANONYMOUS = False
    example = re.findall(r"^SECRET_KEY=(.+)$", section("In production"), re.M)[0]
    setattr(settings, name, example if name == "SECRET_KEY" else ["x" * 50, example])
    assert ids(deploy=True) == ["realtime.E010"]


def test_the_example_password_of_the_documentation_is_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = re.findall(r"^DATABASE_URL=(.+)$", section("In production"), re.M)[0]
    monkeypatch.setitem(settings.DATABASES["default"], "PASSWORD", urlsplit(url).password)
    assert "realtime.W010" in ids(deploy=True)


def test_a_short_earlier_key_is_named(settings: Settings) -> None:
    settings.SECRET_KEY_FALLBACKS = ["short"]
    (message,) = checks.check_secret_key()
    assert message.msg.startswith("SECRET_KEY_FALLBACKS")


def test_the_demo_account_and_its_key_are_named(settings: Settings) -> None:
    demo.ensure_demo(settings.REALTIME_VAR_DIR / "demo.json")
    account, key = checks.check_demo()
    assert account.id == key.id == "realtime.W009"
    assert "'admin'" in account.msg
    assert "ara_" in key.msg
    User.objects.get(username="admin").delete()
    assert list(checks.check_demo()) == []


def test_a_login_in_an_origin_is_not_repeated(settings: Settings) -> None:
    settings.REALTIME_ALLOWED_ORIGINS = ["https://ara:hunter2@a.example/path"]
    (message,) = checks.check_hosts_and_origins()
    assert "a.example" in message.msg
    assert "hunter2" not in message.msg
