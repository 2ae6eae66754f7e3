import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group, Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import DjangoAssertNumQueries, Settings
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken

from realtime.access import authentication
from realtime.access.authentication import (
    InvalidCredential,
    aauthenticate,
    authenticate,
    forget,
)
from realtime.access.credentials import Credential, credential_from_token
from realtime.access.identity import (
    ANONYMOUS,
    Identity,
    identity_of_user,
    with_publish_permission,
)
from realtime.access.tokens import SessionRefreshToken, end_session, ended_sessions
from realtime.models import ApiKey
from tests import personas

pytestmark = pytest.mark.django_db


def present(token: str) -> Identity:
    return authenticate(credential_from_token(token, "query"))


def refused(token: str) -> str:
    with pytest.raises(InvalidCredential) as caught:
        present(token)
    return str(caught.value)


# Who it is ------------------------------------------------------------------------------------


def test_no_credential_is_anonymous() -> None:
    assert authenticate(None) is ANONYMOUS
    assert ANONYMOUS.credential_id == "anonymous"
    assert not ANONYMOUS.is_authenticated


def test_alice_is_known_by_her_token() -> None:
    alice = personas.alice()
    identity = present(personas.token(alice))
    assert (identity.kind, identity.user) == ("jwt", alice)
    assert identity.credential_id.startswith("jwt:")
    assert identity.expires_at is not None
    assert identity.expires_at > timezone.now()


def test_the_tokens_of_one_login_share_a_session() -> None:
    refresh = SessionRefreshToken.for_user(personas.alice())
    one, two = present(str(refresh.access_token)), present(str(refresh.access_token))
    assert one.session_id == two.session_id == refresh["sid"]
    assert one.credential_id != two.credential_id


def test_a_blacklisted_access_token_is_refused() -> None:
    access = SessionRefreshToken.for_user(personas.alice()).access_token
    BlacklistedToken.objects.create(
        token=OutstandingToken.objects.create(
            jti=access["jti"], token="", expires_at=timezone.now()
        )
    )
    refused(str(access))


def test_the_members_of_sessions_that_ended_are_found_with_one_query(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    first, second = (SessionRefreshToken.for_user(personas.alice()) for _ in range(2))
    members = [present(str(refresh.access_token)) for refresh in (first, first, second)]
    with django_assert_num_queries(1):
        assert not ended_sessions(members)
    end_session(first["sid"])
    assert ended_sessions(members) == set(members[:2])


def test_an_identity_follows_its_user() -> None:
    alice = personas.alice()
    identity = present(personas.token(alice))
    User.objects.filter(pk=alice.pk).update(is_superuser=True)
    changed = identity.for_user(with_publish_permission(User.objects).get(pk=alice.pk))
    assert changed.allows("publish")
    assert changed.credential_id == identity.credential_id


def test_bob_is_known_by_his_key() -> None:
    key, raw = personas.bob_key(allowed_origins=["https://example.com"])
    identity = present(raw)
    assert (identity.kind, identity.user.get_username()) == ("api_key", "bob")
    assert identity.key_id == key.pk
    assert identity.credential_id == f"key:{key.pk}"
    assert identity.allowed_origins == ("https://example.com",)
    assert identity.expires_at is None


# What is refused ------------------------------------------------------------------------------


def test_refusals_of_keys_read_the_same() -> None:
    _, mallory = personas.mallory_key()
    _, bob = personas.bob_key()
    _, expired = personas.bob_key(name="old", expires_at=timezone.now() - timedelta(seconds=1))
    wrong = bob[:-1] + ("a" if bob[-1] != "a" else "b")
    unknown = "ara_00000000_" + bob.split("_")[2]
    texts = {refused(raw) for raw in (mallory, expired, wrong, unknown, "ara_", "undefined")}
    assert texts == {"The credential is invalid, expired or revoked. Obtain a new one."}


def test_the_key_of_an_inactive_owner_is_refused() -> None:
    _, raw = personas.bob_key()
    User.objects.filter(username="bob").update(is_active=False)
    refused(raw)


def test_an_expired_token_may_say_so() -> None:
    assert refused(personas.expired_token(personas.alice())) == (
        "The token has expired. Refresh it, or obtain a new one."
    )


@pytest.mark.parametrize(
    "forgery",
    [
        {"key": "another key of a sufficient length for HS256"},
        {"algorithm": "HS512"},
        {"algorithm": "none"},
        {"token_type": "refresh"},
        {"token_type": None},
        {"exp": None},
        {"exp": "tomorrow"},
        {"exp": 10**20},
        {"jti": None},
        {"user_id": None},
        {"user_id": "alice"},
        {"user_id": [1]},
        {"user_id": str(10**30)},
        {"user_id": "0"},
    ],
    ids=str,
)
def test_a_forged_token_is_refused(forgery: dict[str, Any]) -> None:
    refused(personas.forged_token(personas.alice(), **forgery))


def test_a_refresh_token_does_not_open_anything() -> None:
    refused(str(RefreshToken.for_user(personas.alice())))


def test_a_tampered_token_is_refused() -> None:
    header, _, signature = personas.token(personas.alice()).split(".")
    claims = personas.token(personas.olga()).split(".")[1]
    refused(f"{header}.{claims}.{signature}")


@pytest.mark.parametrize("change", [{"is_active": False}, None], ids=["inactive", "deleted"])
def test_the_token_of_a_user_who_left_is_refused(change: dict[str, Any] | None) -> None:
    alice = personas.alice()
    token = personas.token(alice)
    if change is None:
        alice.delete()
    else:
        User.objects.filter(pk=alice.pk).update(**change)
    refused(token)


def test_a_header_nested_beyond_the_parser_is_refused() -> None:
    # base64url of `[[[[…`: what a JSON parser recurses into before any signature is checked.
    refused("W1tb" * 1000 + ".e30.e30")


def test_a_credential_of_any_length_is_refused_cheaply(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    with django_assert_num_queries(0):
        refused("ara_" + "a" * 100_000)


@given(st.text(), st.sampled_from(["jwt", "api_key", "ticket"]))
def test_no_text_is_a_credential(secret: str, kind: Any) -> None:
    with suppress(InvalidCredential):
        authenticate(Credential(kind, secret, "message"))
        pytest.fail("accepted")


@given(st.lists(st.from_regex(r"[\w-]{0,40}", fullmatch=True), min_size=3, max_size=3))
def test_nothing_of_the_shape_of_a_token_is_one(parts: list[str]) -> None:
    with suppress(InvalidCredential):
        present("eyJ" + ".".join(parts))
        pytest.fail("accepted")


# What it costs --------------------------------------------------------------------------------


@pytest.mark.parametrize("persona", ["alice", "bob"])
def test_a_credential_costs_one_query_cold_and_none_warm(
    persona: str, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    raw = personas.token(personas.alice()) if persona == "alice" else personas.bob_key()[1]
    # When it was used is noted once a minute; that write is not part of the look-up.
    ApiKey.objects.update(last_used_at=timezone.now())
    with django_assert_num_queries(1):
        first = present(raw)
    with django_assert_num_queries(0):
        assert present(raw) is first


def test_a_forged_token_costs_no_query(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    token = personas.forged_token(personas.alice(), key="another key, of a sufficient length")
    with django_assert_num_queries(0):
        refused(token)


def test_the_cache_holds_no_secret() -> None:
    _, raw = personas.bob_key()
    present(raw)
    assert raw not in str(vars(authentication._recent))


def test_a_cached_identity_ends_with_its_token(monkeypatch: pytest.MonkeyPatch) -> None:
    _, raw = personas.bob_key(expires_at=timezone.now() + timedelta(seconds=1))
    present(raw)
    later = timezone.now() + timedelta(seconds=2)
    monkeypatch.setattr(timezone, "now", lambda: later)
    refused(raw)


def change_key(raw: str, key: ApiKey) -> None:
    key.revoke()
    forget(credential_id=f"key:{key.pk}")


def change_owner(raw: str, key: ApiKey) -> None:
    User.objects.filter(pk=key.owner_id).update(is_active=False)
    forget(user_id=key.owner_id)


def change_all(raw: str, key: ApiKey) -> None:
    key.delete()
    forget()


@pytest.mark.parametrize("change", [change_key, change_owner, change_all])
def test_what_is_forgotten_is_looked_up_again(change: Callable[[str, ApiKey], None]) -> None:
    key, raw = personas.bob_key()
    present(raw)
    change(raw, key)
    refused(raw)


def test_the_use_of_a_key_is_noted() -> None:
    key, raw = personas.bob_key()
    present(raw)
    key.refresh_from_db()
    assert key.last_used_at is not None


# What it allows -------------------------------------------------------------------------------


def test_a_user_reads_and_does_not_publish() -> None:
    identity = present(personas.token(personas.alice()))
    assert [identity.allows(scope) for scope in personas.READ] == [True] * 3
    assert not identity.allows("publish")


def test_staff_do_not_publish_as_such() -> None:
    alice = personas.alice(is_staff=True)
    assert not present(personas.token(alice)).allows("publish")
    assert not identity_of_user(alice).allows("publish")


@pytest.mark.parametrize("way", ["superuser", "permission", "group"])
def test_a_user_publishes_as_superuser_or_with_the_permission(
    way: str, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    alice = personas.alice(is_superuser=way == "superuser")
    permission = Permission.objects.get(codename="publish", content_type__app_label="realtime")
    if way == "permission":
        alice.user_permissions.add(permission)
    if way == "group":
        group = Group.objects.create(name="publishers")
        group.permissions.add(permission)
        alice.groups.add(group)
    with django_assert_num_queries(1):
        identity = present(personas.token(alice))
    assert identity.allows("publish", "AAPL")
    assert identity_of_user(alice).allows("publish", "AAPL")


def test_a_key_has_the_scopes_that_it_lists() -> None:
    _, raw = personas.bob_key(scopes=["market-data", "publish"])
    identity = present(raw)
    allowed = [scope for scope in (*personas.READ, "publish") if identity.allows(scope)]
    assert allowed == ["market-data", "publish"]


def test_a_key_is_limited_to_the_symbols_of_its_patterns() -> None:
    _, raw = personas.bob_key(symbols={"market-data": ["BTC*", "AAPL"]})
    identity = present(raw)
    symbols = ("AAPL", "BTC-USD", "ETH-USD", "*", None)
    assert [identity.allows("market-data", symbol) for symbol in symbols] == [
        True,
        True,
        False,
        False,
        True,
    ]
    assert identity.allows("predictions", "*")


def test_anonymous_reads_as_long_as_the_setting_says(settings: Settings) -> None:
    assert ANONYMOUS.allows("market-data", "AAPL")
    assert not ANONYMOUS.allows("publish")
    settings.REALTIME_ALLOW_ANONYMOUS = False
    assert not ANONYMOUS.allows("market-data", "AAPL")


def test_a_session_that_is_not_logged_in_is_anonymous() -> None:
    assert identity_of_user(ANONYMOUS.user) is ANONYMOUS


# On an event loop -----------------------------------------------------------------------------


def crowd() -> tuple[list[str], list[str]]:
    """Twenty keys and twenty tokens, each of a user of its own."""
    users = User.objects.bulk_create([User(username=f"user {n}") for n in range(20)])
    raws = [ApiKey.objects.create_key(user, "desk")[1] for user in users]
    return raws, [personas.token(user) for user in users]


def ended_token() -> str:
    """An access token whose session has been ended."""
    access, refresh = personas.login(personas.alice())
    end_session(RefreshToken(refresh)["sid"])
    return access


async def together(tokens: list[str]) -> list[Any]:
    asked = [aauthenticate(credential_from_token(token, "query")) for token in tokens]
    return await asyncio.gather(*asked, return_exceptions=True)


async def queries_of(token: str) -> int:
    """Queries of one aauthenticate() in the thread that it uses."""
    context = CaptureQueriesContext(connection)
    await sync_to_async(context.__enter__)()
    await aauthenticate(credential_from_token(token, "query"))
    await sync_to_async(context.__exit__)(None, None, None)
    # In that thread again: a context reads the connection of its caller.
    return await sync_to_async(context.__len__)()


@pytest.mark.django_db(transaction=True)
async def test_on_a_loop_a_credential_costs_one_query_cold_and_none_warm() -> None:
    alice = await sync_to_async(personas.alice)()
    token = personas.token(alice)
    assert await queries_of(token) == 1
    assert await queries_of(token) == 0


@pytest.mark.django_db(transaction=True)
async def test_on_a_loop_no_thread_is_asked_for_anonymous_or_warm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, raw = await sync_to_async(personas.bob_key)()
    credential = credential_from_token(raw, "query")
    first = await aauthenticate(credential)

    def no_thread(*args: Any) -> Any:
        raise AssertionError("asked a thread")

    monkeypatch.setattr(authentication, "database_sync_to_async", no_thread)
    assert await aauthenticate(credential) is first
    assert await aauthenticate(None) is ANONYMOUS


@pytest.mark.django_db(transaction=True)
async def test_on_a_loop_the_use_of_a_key_is_noted_behind_the_answer() -> None:
    key, raw = await sync_to_async(personas.bob_key)()
    await aauthenticate(credential_from_token(raw, "query"))
    await authentication._look_ups[asyncio.get_running_loop()].finished()
    await key.arefresh_from_db()
    assert key.last_used_at is not None


@pytest.mark.django_db(transaction=True)
async def test_on_a_loop_a_crowd_of_keys_and_tokens_costs_three_queries() -> None:
    raws, tokens = await sync_to_async(crowd)()
    context = CaptureQueriesContext(connection)
    await sync_to_async(context.__enter__)()
    identities = await together([*raws, *tokens])
    await authentication._look_ups[asyncio.get_running_loop()].finished()
    await sync_to_async(context.__exit__)(None, None, None)
    assert [each.kind for each in identities] == ["api_key"] * 20 + ["jwt"] * 20
    assert len({each.credential_id for each in identities}) == 40
    # the keys, the users, what is blacklisted; and that the keys were used
    assert await sync_to_async(context.__len__)() == 3 + 1


@pytest.mark.django_db(transaction=True)
async def test_on_a_loop_a_bad_credential_in_a_crowd_spoils_no_other_one() -> None:
    raws, tokens = await sync_to_async(crowd)()
    _, revoked = await sync_to_async(personas.mallory_key)()
    bad = [revoked, raws[0][:-1] + "!", await sync_to_async(ended_token)()]
    answers = await together([*raws[:3], *bad, *tokens[:3]])
    refusals = [isinstance(answer, InvalidCredential) for answer in answers]
    assert refusals == [False] * 3 + [True] * 3 + [False] * 3


@pytest.mark.parametrize("user_id", ["no number", "9" * 40, None, [1]])
@pytest.mark.django_db(transaction=True)
async def test_on_a_loop_a_token_of_an_odd_user_spoils_no_other_one(user_id: Any) -> None:
    _, tokens = await sync_to_async(crowd)()
    odd = AccessToken()
    odd["user_id"] = user_id
    *good, refused = await together([*tokens, str(odd)])
    assert [each.kind for each in good] == ["jwt"] * 20
    assert isinstance(refused, InvalidCredential)


@pytest.mark.django_db(transaction=True)
async def test_on_a_loop_a_revoked_key_is_refused() -> None:
    _, raw = await sync_to_async(personas.mallory_key)()
    with pytest.raises(InvalidCredential):
        await aauthenticate(credential_from_token(raw, "query"))
