"""Bad values of settings: the error names the variable, says what is meant, and leaks nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from ara_project.environment import Environment
from tests.processes import manage

Read = Callable[[Environment], Any]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Callable[[Read, str], Any]:
    """A setting called NAME, with this value in the environment."""

    def read(setting: Read, value: str) -> Any:
        monkeypatch.setenv("NAME", value)
        return setting(Environment())

    return read


COUNT: Read = lambda env: env.count("NAME", default=7)  # noqa: E731
NUMBER: Read = lambda env: env.number("NAME", default=1.5)  # noqa: E731
CHOICE: Read = lambda env: env.choice("NAME", "iex", "sip", "test")  # noqa: E731
ZONE: Read = lambda env: env.time_zone("NAME", default="UTC")  # noqa: E731
LEVEL: Read = lambda env: env.log_level("NAME", default="INFO")  # noqa: E731
REDIS: Read = lambda env: env.redis_urls("NAME")  # noqa: E731
BROKER: Read = lambda env: env.broker_url("NAME", default="redis://a")  # noqa: E731
DATABASE: Read = lambda env: env.database("NAME", default="sqlite:////a")  # noqa: E731
DIRECTORY: Read = lambda env: env.directory("NAME", default=Path("/tmp"))  # noqa: E731


@pytest.mark.parametrize(
    ("setting", "value", "way_out"),
    [
        (COUNT, "many", "a whole number, 1 or more"),
        (COUNT, "1.5", "a whole number, 1 or more"),
        (COUNT, "0", "a whole number, 1 or more"),
        (NUMBER, "nan", "a number, 0 or more"),
        (CHOICE, "otc", "must be iex, sip or test"),
        (ZONE, "Moon/Base", "Europe/Berlin"),
        (ZONE, "../etc/passwd", "Europe/Berlin"),
        (LEVEL, "loud", "DEBUG, INFO, WARNING"),
        (REDIS, "localhost:6379", "redis://host:6379/0"),
        (REDIS, "redis://a,b", "redis://host:6379/0"),
        (REDIS, "redis:///0", "redis://host:6379/0"),
        (BROKER, "localhost", "amqp://host"),
        (DATABASE, "ara.sqlite3", "sqlite:////path/to/file"),
        (DIRECTORY, "/proc/none", "name a directory"),
    ],
)
def test_a_bad_value_is_one_line_with_its_name_and_the_way_out(
    read: Callable[[Read, str], Any], setting: Read, value: str, way_out: str
) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        read(setting, value)
    message = str(caught.value)
    assert message.startswith("NAME")
    assert way_out in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("setting", "value"),
    [(REDIS, "http://u:hunter2@h"), (BROKER, "u:hunter2@h"), (DATABASE, "x://u:hunter2@h/n")],
)
def test_a_value_that_may_hold_a_password_is_not_repeated(
    read: Callable[[Read, str], Any], setting: Read, value: str
) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        read(setting, value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "default"),
    [(COUNT, 7), (NUMBER, 1.5), (CHOICE, "iex"), (ZONE, "UTC"), (LEVEL, "INFO"), (REDIS, [])],
)
def test_an_empty_value_is_as_good_as_none(
    read: Callable[[Read, str], Any], setting: Read, default: Any
) -> None:
    assert read(setting, "") == default


def test_a_level_may_be_written_small(read: Callable[[Read, str], Any]) -> None:
    assert read(LEVEL, "debug") == "DEBUG"


def test_the_names_that_were_asked_for_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAME", "1")
    env = Environment()
    env.flag("A", default=True)
    env.list("B", default=[])
    COUNT(env)
    assert env.names == {"A", "B", "NAME"}


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        (lambda env: env.str("NAME"), "$k3y", "$k3y"),
        (lambda env: env.str("NAME", default=""), r"\$HOME$$", r"\$HOME$$"),
        (lambda env: env.text("NAME"), "$HOME", "$HOME"),
        (lambda env: env.list("NAME", default=[]), "$HOME,$b", ["$HOME", "$b"]),
        (lambda env: env.tuple("NAME"), "$HOME,b", ("$HOME", "b")),
        (lambda env: env.dict("NAME"), "a=$HOME,b=c", {"a": "$HOME", "b": "c"}),
        (lambda env: env("NAME", default="x"), "$HOME", "$HOME"),
        (lambda env: env("ABSENT", default="$HOME"), "", "$HOME"),
        (lambda env: env.json("NAME"), '"$HOME"', "$HOME"),
        (lambda env: env.url("NAME").geturl(), "$HOME", "$HOME"),
        (
            lambda env: env.database("NAME", default="")["PASSWORD"],
            "postgres://u:$HOME@h/n",
            "$HOME",
        ),
    ],
)
def test_a_dollar_sign_is_a_dollar_sign(
    read: Callable[[Read, str], Any], setting: Read, value: str, expected: Any
) -> None:
    assert read(setting, value) == expected


def test_a_value_that_cannot_be_converted_is_not_repeated(
    read: Callable[[Read, str], Any],
) -> None:
    with pytest.raises(ImproperlyConfigured, match="NAME") as caught:
        read(lambda env: env.int("NAME"), "hunter2")
    assert "hunter2" not in str(caught.value)


def test_secrets_that_begin_with_a_dollar_sign_are_taken_as_they_stand(tmp_path: Path) -> None:
    key, older = "$k3y-that-begins-with-a-dollar-0123456789-abcdefghijklm", "$older,$HOME"
    code = "from django.conf import settings as s; print(s.SECRET_KEY, s.SECRET_KEY_FALLBACKS)"
    values = {"SECRET_KEY": key, "SECRET_KEY_FALLBACKS": older}
    printed = manage(tmp_path, "shell", "-v0", "-c", code, **values).stdout
    assert printed.strip() == f"{key} {older.split(',')}"


@pytest.mark.parametrize("name", ["CHANNEL_LAYER", "REALTIME_PREDICTOR", "REALTIME_FEED"])
def test_an_empty_setting_of_the_project_has_its_default(tmp_path: Path, name: str) -> None:
    code = "from django.conf import settings as s; print(s.CHANNEL_LAYERS['default']['BACKEND'], "
    code += "s.REALTIME_PREDICTOR, s.REALTIME_FEED)"
    printed = manage(tmp_path, "shell", "-v0", "-c", code, **{name: " "}).stdout
    layer, predictor, feed = printed.split()
    assert layer.endswith("RedisStreamLayer")
    assert predictor.endswith("random_walk")
    assert feed == "replay"
