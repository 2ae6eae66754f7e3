import argparse
import json
import re
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from realtime.management.keys import duration, moment, symbols
from realtime.models import ApiKey
from tests import personas

pytestmark = pytest.mark.django_db


def run(command: str, *arguments: str) -> tuple[str, str]:
    """What it wrote to standard output and to standard error."""
    out, err = StringIO(), StringIO()
    call_command(command, *arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def test_a_key_is_created_and_printed_alone() -> None:
    personas.alice()
    out, err = run("create_api_key", "alice", "laptop")
    key = ApiKey.objects.find(out.strip())
    assert key is not None
    assert (key.name, key.owner.username) == ("laptop", "alice")
    assert key.scopes == ["predictions", "market-data", "alerts"]
    assert out.strip().split("_")[2] not in err


def test_a_key_is_created_with_all_limits() -> None:
    personas.alice()
    out, _ = run(
        "create_api_key", "alice", "laptop", "--scope=publish", "--scope=alerts",
        "--symbols=publish=btc*,AAPL", "--origin=https://a.example", "--expires=30d", "--json",
        "--max-connections=3", "--publish-per-second=20",
    )  # fmt: skip
    facts = json.loads(out)
    key = ApiKey.objects.find(facts["secret"])
    assert key is not None
    assert key.scopes == facts["scopes"] == ["alerts", "publish"]
    assert key.symbols == {"publish": ["BTC*", "AAPL"]}
    assert key.allowed_origins == ["https://a.example"]
    assert (key.max_connections, facts["max_connections"], key.max_subscriptions) == (3, 3, 0)
    assert key.publish_per_second == 20
    assert key.expires_at is not None
    assert timedelta(days=29) < key.expires_at - timezone.now() < timedelta(days=31)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nobody", "x"], "There is no user 'nobody'"),
        (["alice", ""], "name: This field cannot be blank."),
        (["alice", "x", "--scope=admin"], "invalid choice: 'admin'"),
        (["alice", "x", "--symbols=alerts=AAPL"], "symbols: 'alerts' cannot be limited"),
        (["alice", "x", "--symbols=AAPL"], "write SCOPE=PATTERN"),
        (["alice", "x", "--origin=a"], "allowed_origins: 'a' is not an origin"),
        (["alice", "x", "--expires=tomorrow"], "'tomorrow' is not a time; write 2030-01-31"),
        (["alice", "x", "--expires=999999w"], "'999999w' is not a time"),
        (["alice", "x", "--expires=9999-12-31T23:59:59-12:00"], "is not a time"),
        (["alice", "x", "--expires=0001-01-01T00:00:00+12:00"], "is not a time"),
        (["\udcff", "x"], "is not UTF-8"),
        (["alice", "x", "--expires=2030-02-31"], "'2030-02-31': day is out of range"),
        (["alice", "x", "--max-connections=-1"], "max_connections: Ensure this value"),
        (["alice", "taken"], "This owner has a key of this name"),
    ],
)
def test_what_cannot_be_created_is_said_in_a_line(arguments: list[str], message: str) -> None:
    ApiKey.objects.create_key(personas.alice(), "taken")
    with pytest.raises(CommandError, match=re.escape(message)):
        run("create_api_key", *arguments)


def test_keys_are_revoked_by_their_visible_part_or_whole() -> None:
    one, raw = personas.bob_key(name="one")
    two, _ = personas.bob_key(name="two")
    three, _ = personas.bob_key(name="three")
    out, _ = run("revoke_api_key", raw, two.visible, three.prefix)
    assert out.count("Revoked: ") == 3
    assert raw.split("_")[2] not in out
    assert not ApiKey.objects.get_queryset().active()
    assert "Already revoked: one" in run("revoke_api_key", one.visible)[0]


def test_if_one_key_does_not_exist_none_is_revoked() -> None:
    key, _ = personas.bob_key()
    with pytest.raises(CommandError, match="There is no key ara_00000000"):
        run("revoke_api_key", key.visible, "ara_00000000")
    assert ApiKey.objects.get_queryset().active()


def test_a_key_is_rotated() -> None:
    key, old = personas.bob_key()
    out, err = run("rotate_api_key", key.visible, "--overlap=12h")
    assert ApiKey.objects.find(out.strip()) == ApiKey.objects.find(old) == key
    assert "The old secret works until" in err
    newest, err = run("rotate_api_key", key.visible, "--overlap=0")
    assert ApiKey.objects.find(out.strip()) is None
    assert ApiKey.objects.find(newest.strip()) == key
    assert "no longer works" in err


def test_a_revoked_key_is_not_rotated() -> None:
    key, _ = personas.mallory_key()
    with pytest.raises(CommandError, match="is revoked"):
        run("rotate_api_key", key.visible)


def test_keys_are_listed_in_a_table() -> None:
    key, raw = personas.bob_key(symbols={"market-data": ["BTC*"]})
    personas.mallory_key()
    out, _ = run("list_api_keys")
    header, stolen, desk = out.splitlines()
    assert header.split() == ["KEY", "NAME", "OWNER", "STATUS", "SCOPES", "EXPIRES", "LAST", "USED"]
    assert "revoked" in stolen
    assert desk.split()[:4] == [key.visible, "desk", "bob", "active"]
    assert "market-data(BTC*)" in desk
    assert header.index("OWNER") == desk.index("bob")
    assert raw.split("_")[2] not in out


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ([], ["stolen", "desk"]),
        (["--owner=bob"], ["desk"]),
        (["--owner=nobody"], []),
        (["--status=active"], ["desk"]),
        (["--status=revoked"], ["stolen"]),
        (["--status=expired"], []),
    ],
)
def test_keys_are_listed_as_json(arguments: list[str], names: list[str]) -> None:
    personas.bob_key()
    personas.mallory_key()
    keys = json.loads(run("list_api_keys", "--json", *arguments)[0])
    assert [key["name"] for key in keys] == names
    assert not [key for key in keys if "hash" in key]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", timedelta(0)),
        ("90s", timedelta(seconds=90)),
        ("45m", timedelta(minutes=45)),
        ("12h", timedelta(hours=12)),
        ("30d", timedelta(days=30)),
        ("8w", timedelta(weeks=8)),
    ],
)
def test_a_duration_has_a_unit(text: str, expected: timedelta) -> None:
    assert duration(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2030-01-31", datetime(2030, 1, 31, tzinfo=UTC)),
        ("2030-01-31T12:00", datetime(2030, 1, 31, 12, tzinfo=UTC)),
        ("2030-01-31T12:00+02:00", datetime(2030, 1, 31, 10, tzinfo=UTC)),
    ],
)
def test_a_time_is_a_date_with_or_without_a_clock(text: str, expected: datetime) -> None:
    assert moment(text) == expected


@given(st.text())
def test_any_argument_is_read_or_refused(text: str) -> None:
    for parse in (duration, moment, symbols):
        value: Any = None
        try:
            value = parse(text)
        except argparse.ArgumentTypeError:
            continue
        assert value is not None
