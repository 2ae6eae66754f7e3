"""Bad values of settings: the error names the variable, says what is meant, and leaks nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from ara_project.environment import Environment

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
