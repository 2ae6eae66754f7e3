from contextlib import suppress
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import DjangoAssertNumQueries

from realtime.models import ApiKey, hash_secret, validate_origins

pytestmark = pytest.mark.django_db


@pytest.fixture
def bob() -> User:
    return User.objects.create_user("bob")


def test_a_key_has_a_visible_part_and_a_secret_of_190_bits(bob: User) -> None:
    key, raw = ApiKey.objects.create_key(bob, "desk")
    ara, visible, secret = raw.split("_")
    assert (ara, visible) == ("ara", key.prefix)
    assert len(visible) == 8
    assert 62 ** len(secret) >= 2**190


def test_only_a_hash_of_the_key_is_stored(bob: User) -> None:
    key, raw = ApiKey.objects.create_key(bob, "desk")
    row = ApiKey.objects.filter(pk=key.pk).values().get()
    assert raw.split("_")[2] not in str(row)
    assert len(row["hash"]) == 128
    assert str(key) == f"desk (ara_{key.prefix})"


def test_a_key_reads_every_channel_and_does_not_publish_by_default(bob: User) -> None:
    key, _ = ApiKey.objects.create_key(bob, "desk")
    assert sorted(key.scopes) == ["alerts", "market-data", "predictions"]


def test_scopes_and_symbols_are_kept_as_they_are_compared(bob: User) -> None:
    key, _ = ApiKey.objects.create_key(
        bob, "desk", scopes=["publish", "alerts", "alerts"], symbols={"publish": ["btc*"]}
    )
    key.refresh_from_db()
    assert key.scopes == ["alerts", "publish"]
    assert key.symbols == {"publish": ["BTC*"]}


def test_a_key_is_found_with_one_query_owner_included(
    bob: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    _, raw = ApiKey.objects.create_key(bob, "desk")
    with django_assert_num_queries(1):
        found = ApiKey.objects.find(raw)
        assert found is not None
        assert found.owner.username == "bob"


def test_a_wrong_secret_an_unknown_key_and_no_key_are_not_found(bob: User) -> None:
    _, raw = ApiKey.objects.create_key(bob, "desk")
    wrong = raw[:-1] + ("a" if raw[-1] != "a" else "b")
    unknown = raw.replace(raw.split("_")[1], "00000000")
    for text in (wrong, unknown, "", "ara_", "ara__", raw[:-1], raw + "a", raw.upper(), " " + raw):
        assert ApiKey.objects.find(text) is None


@given(st.text() | st.builds(lambda text: f"ara_{text}", st.text()))
def test_no_text_raises_when_it_is_looked_up(text: str) -> None:
    assert ApiKey.objects.find(text) is None


def test_a_revoked_key_is_found_and_says_so(bob: User) -> None:
    key, raw = ApiKey.objects.create_key(bob, "desk")
    assert key.revoke() is True
    found = ApiKey.objects.find(raw)
    assert found is not None
    assert found.status == ApiKey.Status.REVOKED
    assert found.revoke() is False


def test_an_expired_key_says_so(bob: User) -> None:
    key, _ = ApiKey.objects.create_key(bob, "desk", expires_at=timezone.now() + timedelta(hours=1))
    assert key.status == ApiKey.Status.ACTIVE
    assert key.status_at(timezone.now() + timedelta(hours=1)) == ApiKey.Status.EXPIRED


def test_every_key_is_in_exactly_one_state(bob: User) -> None:
    now = timezone.now()
    live, _ = ApiKey.objects.create_key(bob, "live", expires_at=now + timedelta(hours=1))
    forever, _ = ApiKey.objects.create_key(bob, "forever")
    expired, _ = ApiKey.objects.create_key(bob, "expired", expires_at=now - timedelta(hours=1))
    revoked, _ = ApiKey.objects.create_key(bob, "revoked", expires_at=now - timedelta(hours=1))
    revoked.revoke()
    keys = ApiKey.objects.get_queryset()
    assert set(keys.active()) == {live, forever}
    assert set(keys.expired()) == {expired}
    assert set(keys.revoked()) == {revoked}


def test_a_rotated_key_has_a_new_secret_under_the_same_visible_part(bob: User) -> None:
    key, old = ApiKey.objects.create_key(bob, "desk")
    new = key.rotate()
    assert new.split("_")[1] == old.split("_")[1]
    assert ApiKey.objects.find(new) == key
    assert ApiKey.objects.find(old) is None


def test_the_old_secret_stays_good_for_the_overlap(bob: User) -> None:
    key, old = ApiKey.objects.create_key(bob, "desk")
    new = key.rotate(timedelta(hours=1))
    found = ApiKey.objects.find(old)
    assert found is not None
    ends = found.expiry_of(hash_secret(old))
    assert ends is not None
    assert timedelta(minutes=59) < ends - timezone.now() <= timedelta(hours=1)
    assert found.expiry_of(hash_secret(new)) is None


def test_the_old_secret_does_not_outlive_the_key(bob: User) -> None:
    soon = timezone.now() + timedelta(minutes=1)
    key, old = ApiKey.objects.create_key(bob, "desk", expires_at=soon)
    key.rotate(timedelta(hours=1))
    assert key.expiry_of(hash_secret(old)) == soon


def test_a_second_rotation_ends_the_first_secret(bob: User) -> None:
    key, first = ApiKey.objects.create_key(bob, "desk")
    second = key.rotate(timedelta(hours=1))
    key.rotate(timedelta(hours=1))
    assert ApiKey.objects.find(first) is None
    assert ApiKey.objects.find(second) == key


def test_use_is_written_at_most_once_a_minute_by_any_process(bob: User) -> None:
    key, _ = ApiKey.objects.create_key(bob, "desk")
    elsewhere = ApiKey.objects.get(pk=key.pk)
    now = timezone.now()
    assert ApiKey.objects.touch([key], now) == 1
    assert ApiKey.objects.touch([elsewhere], now + timedelta(seconds=30)) == 0
    elsewhere.refresh_from_db()
    assert elsewhere.last_used_at == now
    assert ApiKey.objects.touch([elsewhere], now + timedelta(seconds=61)) == 1


def test_use_within_the_minute_costs_no_query(
    bob: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    key, _ = ApiKey.objects.create_key(bob, "desk")
    now = timezone.now()
    ApiKey.objects.touch([key], now)
    key.refresh_from_db()
    with django_assert_num_queries(0):
        ApiKey.objects.touch([key], now + timedelta(seconds=59))


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("scopes", {"scopes": ["admin"]}),
        ("scopes", {"scopes": []}),
        ("symbols", {"symbols": {"alerts": ["AAPL"]}}),
        ("symbols", {"symbols": {"publish": ["A PL"]}}),
        ("name", {"name": "desk\nara_k3f9a2bc"}),
        ("name", {"name": "\x1b[31mdesk"}),
        ("allowed_origins", {"allowed_origins": ["example.com"]}),
        ("allowed_origins", {"allowed_origins": ["https://" + "a" * 300]}),
        ("allowed_origins", {"allowed_origins": ["https://example.com"] * 101}),
        ("name", {"name": ""}),
        ("name", {"name": "x" * 101}),
    ],
)
def test_a_key_that_cannot_be_is_refused_with_the_field(
    bob: User, field: str, arguments: dict[str, object]
) -> None:
    with pytest.raises(ValidationError) as caught:
        ApiKey.objects.create_key(bob, **{"name": "desk", **arguments})  # type: ignore[arg-type]
    assert list(caught.value.message_dict) == [field]


def test_an_owner_has_one_live_key_of_a_name(bob: User) -> None:
    key, _ = ApiKey.objects.create_key(bob, "desk")
    with pytest.raises(ValidationError, match="has a key of this name"):
        ApiKey.objects.create_key(bob, "desk")
    twin = ApiKey(owner=bob, name="desk", scopes=["alerts"])
    twin.issue()
    with pytest.raises(IntegrityError), transaction.atomic():
        twin.save()
    key.revoke()
    ApiKey.objects.create_key(bob, "desk")


@pytest.mark.parametrize(
    "origin",
    ["example.com", "https://", "https://a/b", "ftp://a", "https://a:b", "null", 7, "https://a/"],
)
def test_what_no_browser_sends_is_no_origin(origin: object) -> None:
    with pytest.raises(ValidationError):
        validate_origins([origin])


@pytest.mark.parametrize(
    "origin", ["https://example.com", "http://localhost:5173", "https://[::1]:8"]
)
def test_what_a_browser_sends_is_an_origin(origin: str) -> None:
    validate_origins([origin])


@given(st.lists(st.text()))
def test_any_origins_are_accepted_or_refused(origins: list[str]) -> None:
    with suppress(ValidationError):
        validate_origins(origins)
