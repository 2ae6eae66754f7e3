"""Bad values of settings: the error names the variable, says what is meant, and leaks nothing."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from ara_project.environment import Environment
from realtime.setting_kinds import Choice, Days, Delays, Endpoint, Number, Options
from tests.patience import START_SECONDS
from tests.processes import ROOT, manage, process_environment, run_manage

Read = Callable[[Environment], Any]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Callable[[Read, str], Any]:
    """A setting called NAME, with this value in the environment."""

    def read(setting: Read, value: str) -> Any:
        monkeypatch.setenv("NAME", value)
        return setting(Environment())

    return read


COUNT: Read = lambda env: env.count("NAME", default=7)  # noqa: E731
NUMBER: Read = lambda env: env.read("NAME", Number(1.5))  # noqa: E731
CHOICE: Read = lambda env: env.read("NAME", Choice("iex", "sip", "test"))  # noqa: E731
ZONE: Read = lambda env: env.time_zone("NAME", default="UTC")  # noqa: E731
LEVEL: Read = lambda env: env.log_level("NAME", default="INFO")  # noqa: E731
REDIS: Read = lambda env: env.redis_urls("NAME")  # noqa: E731
BROKER: Read = lambda env: env.broker_url("NAME", default="redis://a")  # noqa: E731
DATABASE: Read = lambda env: env.database("NAME", default=Path("/a"))  # noqa: E731
MAIL: Read = lambda env: env.mail("NAME")  # noqa: E731
HOSTS: Read = lambda env: env.served_hosts("NAME", default=[])  # noqa: E731
ORIGINS: Read = lambda env: env.origins("NAME")  # noqa: E731
API: Read = lambda env: env.read("NAME", Endpoint("wss://a.example", scheme="ws"))  # noqa: E731
DAYS: Read = lambda env: env.read("NAME", Days(7))  # noqa: E731
SECONDS: Read = lambda env: env.read("NAME", Delays((1.0,)))  # noqa: E731
JSON: Read = lambda env: env.read("NAME", Options({}))  # noqa: E731


@pytest.mark.parametrize(
    ("setting", "value", "way_out"),
    [
        (COUNT, "many", "a whole number, 1 or more"),
        (COUNT, "1.5", "a whole number, 1 or more"),
        (COUNT, "0", "a whole number, 1 or more"),
        (COUNT, "2147483648", "2147483647 at most"),
        (COUNT, "9" * 5000, "a whole number, 1 or more"),
        (NUMBER, "nan", "a number, 0 or more"),
        (NUMBER, "1e300", "2147483647 at most"),
        (DAYS, "36501", "36500 at most"),
        (SECONDS, "5,1e300", "seconds, comma-separated"),
        (JSON, "[" * 100_000, "is not JSON"),
        (CHOICE, "otc", "must be iex, sip or test"),
        (ZONE, "Moon/Base", "Europe/Berlin"),
        (ZONE, "../etc/passwd", "Europe/Berlin"),
        (LEVEL, "loud", "DEBUG, INFO, WARNING"),
        (REDIS, "localhost:6379", "redis://host:6379/0"),
        (REDIS, "redis://a,b", "redis://host:6379/0"),
        (REDIS, "redis:///0", "redis://host:6379/0"),
        (BROKER, "localhost", "amqp://host"),
        (DATABASE, "ara.sqlite3", "sqlite:////path/to/file"),
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
    [
        (REDIS, "http://u:hunter2@h"),
        (REDIS, "redis://ara:hunter2#1@localhost:6379/0"),
        (REDIS, "redis://ara:hunter2?1@localhost:6379/0"),
        (REDIS, "redis://ara:hunter2/1@localhost:6379/0"),
        (REDIS, "redis://ara:77?hunter2@localhost:6379/0"),
        (REDIS, "redis://ara:77/hunter2@localhost:6379/0"),
        (REDIS, "redis://ara:77#hunter2@localhost:6379/0"),
        (REDIS, "redis://ara:77,hunter2@localhost:6379/0"),
        (REDIS, "redis://ara:hun[ter2@localhost:6379/0"),
        (REDIS, "redis://ara:hunter2@localhost:99999/0"),
        (REDIS, "redis://ara:hunter2@localhost:6379/zero"),
        (REDIS, "redis://ara:hunter2@localhost:6379/0?no_such_option=1"),
        (REDIS, "redis://ara:hunter2@localhost:6379/0?db"),
        (REDIS, "redis://ara:hunter2 @localhost"),
        (REDIS, "unix://run/hunter2"),
        (BROKER, "u:hunter2@h"),
        (BROKER, "http://u:hunter2@h"),
        (BROKER, "redis://u:hunter2#@h"),
        (BROKER, "amqp://u:77?hunter2@h//"),
        (BROKER, "redis://h/0;amqp://u:hunter2/@h//"),
        (BROKER, "redis://u:hunter2@h/0?no_such_option=1"),
        (BROKER, "redis://h/0;redis://u:hunter2@h/0?no_such_option=1"),
        (BROKER, "amqp://u:hunter2@h//?heartbeat=ten"),
        (BROKER, "redis://u:hunter2@h/zero"),
        (DATABASE, "x://u:hunter2@h/n"),
        (DATABASE, "postgres://u:hunter2?cret@h/n"),
        (DATABASE, "postgres://u:77?hunter2@h/n"),
        (DATABASE, "postgres://u:77/hunter2@h/n"),
        (DATABASE, "postgres://u:hunter2@h:99999/n"),
        (DATABASE, "postgres://u:hunter2@h"),
        (DATABASE, "postgres://u:hunter2@h/n?no_such_option=1"),
        (DATABASE, "postgres://u:hunter2@h/n?conn_max_age=long"),
        (DATABASE, "postgres://u:p@h/n?sslmode=hunter2"),
        (DATABASE, "postgres://u:hunter2@h/n?target_session_attrs=best"),
        (DATABASE, "postgres://u:hunter2@h/n?connect_timeout=soon"),
        (DATABASE, "oracle://u:hunter2@h/n"),
        (DATABASE, "mysql://u:hunter2@h/n"),
        (DATABASE, "postgis://u:hunter2@h/n"),
        (JSON, '{"apiKey": NaN, "secret": "hunter2"}'),
        (JSON, '{"rate": 1e999, "secret": "hunter2"}'),
        (DATABASE, "sqlite://hunter2.sqlite3"),
        (MAIL, "u:hunter2@h"),
        (MAIL, "smtp+tls://u:hunter2#@h:587"),
        (MAIL, "smtp+tls://u:77?hunter2@h:587"),
        (MAIL, "smtp+tls://u:77/hunter2@h:587"),
        (MAIL, "smtp+tls://u:hunter2@h:mail"),
        (MAIL, "smtp+tls://"),
        (HOSTS, "https://u:hunter2@h"),
        (ORIGINS, "https://u:hunter2@h"),
        (API, "https://u:hunter2@h"),
    ],
)
def test_a_value_that_may_hold_a_password_is_named_and_not_repeated(
    read: Callable[[Read, str], Any], setting: Read, value: str
) -> None:
    with pytest.raises(ImproperlyConfigured, match="NAME") as caught:
        read(setting, value)
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("host", ["https://a.example", "a.example:80", "a.example/", "*.b", "::1"])
def test_what_no_host_header_can_match_is_refused(
    read: Callable[[Read, str], Any], host: str
) -> None:
    with pytest.raises(ImproperlyConfigured, match="without scheme, port and path"):
        read(HOSTS, host)


@pytest.mark.parametrize("origin", ["a.example", "https://a.example/", "*", "ftp://a", "https://"])
def test_what_no_origin_header_can_match_is_refused(
    read: Callable[[Read, str], Any], origin: str
) -> None:
    with pytest.raises(ImproperlyConfigured, match="without a path"):
        read(ORIGINS, origin)


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        (HOSTS, "a.example, .b.example,[::1],*", ["a.example", ".b.example", "[::1]", "*"]),
        (
            ORIGINS,
            "https://*.a.example, http://[::1]:80",
            ["https://*.a.example", "http://[::1]:80"],
        ),
        (REDIS, "redis://a, rediss://u:p%23@b:1/2?ssl_cert_reqs=none", None),
        (REDIS, "unix:///run/redis.sock?db=1", None),
        (BROKER, "amqp://", None),
        (BROKER, "amqp://h//?heartbeat=10&ssl=true", None),
        (BROKER, "rediss://h/0?ssl_cert_reqs=CERT_NONE", None),
        (BROKER, "sentinel://a:26379;sentinel://b:26379", None),
        (BROKER, "redis+socket:///run/redis.sock?virtual_host=0", None),
        (BROKER, "sqla+sqlite:////tmp/a.sqlite3", None),
        (API, "ws://localhost:8080/v2", None),
    ],
)
def test_good_addresses_pass(
    read: Callable[[Read, str], Any], setting: Read, value: str, expected: Any
) -> None:
    result = read(setting, value)
    if setting is REDIS:
        expected = [part.strip() for part in value.split(",")]
    assert result == (expected or value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgres://u:se#cret@h:5433/n", {"PASSWORD": "se#cret", "HOST": "h", "PORT": 5433}),
        ("postgres://u:p%40@h/n?sslmode=require", {"PASSWORD": "p@", "NAME": "n"}),
        ("postgres://u:p@h1,h2/n?target_session_attrs=read-write&connect_timeout=3",
         {"OPTIONS": {"target_session_attrs": "read-write", "connect_timeout": 3}}),
        ("postgres://u:p@h1:1,h2:2/n", {"HOST": "h1,h2"}),
        ("postgres://u:p@h/n?conn_max_age=60&atomic_requests=false",
         {"CONN_MAX_AGE": 60, "ATOMIC_REQUESTS": False}),
        ("sqlite:////srv/c++/@a.sqlite3", {"NAME": "/srv/c++/@a.sqlite3"}),
    ],
)  # fmt: skip
def test_a_database_url_is_what_it_says(
    read: Callable[[Read, str], Any], url: str, expected: dict[str, Any]
) -> None:
    assert expected.items() <= read(DATABASE, url).items()


def test_a_blank_broker_is_the_default(tmp_path: Path) -> None:
    code = "from ara_project.celery import app; print(app.conf.broker_url)"
    values = {"REDIS_URL": "redis://h:6379/1", "CELERY_BROKER_URL": " "}
    assert (
        manage(tmp_path, "shell", "-v0", "-c", code, **values).stdout.strip() == values["REDIS_URL"]
    )


@pytest.mark.parametrize("command", [["check"], ["serve", "--port", "0"], ["shell", "-c", "1"]])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDIS_URL", "redis://ara:hunter2#1@localhost:6379/0"),
        ("DATABASE_URL", "postgres://u:hunter2?cret@localhost/db"),
        ("DATABASE_URL", "oracle://u:hunter2@localhost/db"),
        ("EMAIL_URL", "smtp+tls://u:hunter2#cret@localhost:587"),
        ("CELERY_BROKER_URL", "redis://u:hunter2#cret@localhost"),
        ("ALLOWED_HOSTS", "https://realtime.example.com"),
        ("CSRF_TRUSTED_ORIGINS", "realtime.example.com"),
    ],
)
def test_a_bad_address_stops_the_start_with_one_line(
    tmp_path: Path, command: list[str], name: str, value: str
) -> None:
    result = run_manage(tmp_path, *command, **{name: value})
    (line,) = (result.stdout + result.stderr).splitlines()
    assert result.returncode != 0
    assert name in line
    assert "hunter2" not in line


@pytest.mark.parametrize(
    "command",
    [
        ["daphne", "-p", "0", "ara_project.asgi:application"],
        ["uvicorn", "--port", "0", "ara_project.asgi:application"],
        ["celery", "-A", "ara_project", "worker"],
        ["celery", "-A", "ara_project", "beat"],
    ],
)
def test_other_programs_say_it_in_one_line_too(tmp_path: Path, command: list[str]) -> None:
    environment = process_environment(tmp_path, {"EMAIL_URL": "smtp://u:hunter2#@h"})
    result = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
        timeout=START_SECONDS,
    )  # fmt: skip
    (line,) = result.stderr.splitlines()
    assert line.startswith("Bad configuration: EMAIL_URL")
    assert "hunter2" not in line


def test_a_directory_may_have_any_name(tmp_path: Path) -> None:
    directory = tmp_path / "a+b c%41#?;,"
    manage(directory, "migrate", "-v0")
    assert (directory / "db.sqlite3").stat().st_size > 0
    code = """
from channels.layers import get_channel_layer
from ara_project.celery import app
from realtime.conf import valkey_directory
from realtime.standalone import valkey
with valkey.hold(valkey_directory()), app.connection_for_write() as broker:
    print(get_channel_layer().sync_client.ping(), broker.default_channel.client.ping())
"""
    assert manage(directory, "shell", "-v0", "-c", code).stdout.split() == ["True", "True"]


@pytest.mark.parametrize(
    ("setting", "default"),
    [(COUNT, 7), (NUMBER, 1.5), (CHOICE, "iex"), (ZONE, "UTC"), (LEVEL, "INFO"), (REDIS, [])],
)
def test_an_empty_value_is_as_good_as_none(
    read: Callable[[Read, str], Any], setting: Read, default: Any
) -> None:
    assert read(setting, "") == default


def test_seconds_may_have_blanks_and_a_comma_at_the_end(read: Callable[[Read, str], Any]) -> None:
    assert read(SECONDS, " 5, 300 , ") == [5.0, 300.0]


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
            lambda env: env.database("NAME", default=Path("/a"))["PASSWORD"],
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


def test_blanks_around_a_key_or_store_are_not_part_of_it(tmp_path: Path) -> None:
    code = "from django.conf import settings as s; print([s.SECRET_KEY, *s.SECRET_KEY_FALLBACKS, "
    code += "s.ALPACA_API_KEY, s.ALPACA_SECRET_KEY, s.REALTIME_ALERT_STORE])"
    keys = [f"{name}-key-0123456789-abcdefghijklmnopqrstuvwxyz" for name in ("new", "third", "old")]
    values = {
        "SECRET_KEY": f" {keys[0]} ", "SECRET_KEY_FALLBACKS": f" {keys[1]} , {keys[2]}, ,",
        "ALPACA_API_KEY": " id ", "ALPACA_SECRET_KEY": " secret ", "REALTIME_ALERT_STORE": " ",
    }  # fmt: skip
    printed = manage(tmp_path, "shell", "-v0", "-c", code, **values).stdout
    assert printed.strip() == str([*keys, "id", "secret", ""])


@pytest.mark.parametrize("name", ["CHANNEL_LAYER", "REALTIME_PREDICTOR", "REALTIME_FEED"])
def test_an_empty_setting_of_the_project_has_its_default(tmp_path: Path, name: str) -> None:
    code = "from realtime.conf import conf as s; print(s.CHANNEL_LAYERS['default']['BACKEND'], "
    code += "s.REALTIME_PREDICTOR, s.REALTIME_FEED)"
    printed = manage(tmp_path, "shell", "-v0", "-c", code, **{name: " "}).stdout
    layer, predictor, feed = printed.split()
    assert layer.endswith("RedisStreamLayer")
    assert predictor.endswith("random_walk")
    assert feed == "replay"
