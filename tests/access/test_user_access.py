"""REALTIME_USER_ACCESS: what the project's function says, and what becomes of its faults."""

import logging
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.checks import run_checks
from django.db import transaction
from django.test import Client
from pytest_django import Settings
from rest_framework.test import APIClient

from realtime.access.authentication import authenticate, forget
from realtime.access.credentials import credential_from_token
from realtime.access.identity import Identity, grant_of, identity_of_user
from realtime.access.live_sockets import recheck
from realtime.access.tickets import issue
from realtime.access.user_access import Access, UserAccessFailed, access_of
from realtime.limits.policy import connection_limits, max_subscriptions, message_rate
from realtime.models import ApiKey
from realtime.scopes import InvalidScope
from tests import personas
from tests.documents import block

pytestmark = pytest.mark.django_db(transaction=True)
RULES = "tests.access.rules"
FAULTY = (
    "broken", "bad_query", "forgetful", "text", "unknown_scope", "asynchronous", "NOT_A_FUNCTION",
    "not_there",
)  # fmt: skip


@pytest.fixture
def rule(settings: Settings) -> Any:
    """A function that sets the rule by its name."""

    def choose(name: str) -> None:
        settings.REALTIME_USER_ACCESS = f"{RULES}.{name}"
        forget()

    return choose


def present(secret: str) -> Identity:
    return authenticate(credential_from_token(secret, "query"))


def identities(**key: Any) -> dict[str, Identity]:
    """Alice's, by what she presents."""
    alice = personas.alice()
    token, raw = personas.token(alice), ApiKey.objects.create_key(alice, "mine", **key)[1]
    found = {"jwt": present(token), "key": present(raw), "session": identity_of_user(alice)}
    tickets = {f"ticket of {kind}": present(issue(grant_of(each))) for kind, each in found.items()}
    again = {f"{kind}, again": recheck([each])[each] for kind, each in found.items()}
    return found | tickets | again  # type: ignore[operator]


def test_by_default_every_active_user_reads_everything() -> None:
    for identity in identities().values():
        assert all(identity.allows(scope, "*") for scope in personas.READ)


def test_every_credential_of_a_user_keeps_to_the_rule(rule: Any) -> None:
    rule("by_last_name")
    personas.alice(last_name="BTC*")
    for kind, identity in identities().items():
        allowed = [identity.allows("market-data", each) for each in ("BTC-USD", "AAPL", "*")]
        assert allowed == [True, False, False], kind
        assert identity.allows("market-data"), kind


def test_a_user_without_any_scope_reads_nothing(rule: Any) -> None:
    rule("nothing")
    for kind, identity in identities().items():
        assert not any(identity.allows(scope) for scope in personas.READ), kind


def test_a_key_reads_what_both_it_and_its_owner_may(rule: Any) -> None:
    rule("by_last_name")
    personas.alice(last_name="BTC* ETH*")
    key = identities(scopes=["market-data"], symbols={"market-data": ["*USD"]})["key"]
    read = [s for s in ("BTC-USD", "BTC-EUR", "SOL-USD", "*") if key.allows("market-data", s)]
    assert read == ["BTC-USD"]
    assert not key.allows("predictions")


def test_publishing_takes_the_permission_and_the_scope(rule: Any) -> None:
    olga = personas.olga(last_name="BTC*")
    rule("without_publish")
    assert not present(personas.token(olga)).allows("publish")
    rule("by_last_name")
    assert present(personas.token(olga)).allows("publish", "BTC-USD")
    assert not present(personas.token(olga)).allows("publish", "AAPL")
    assert not present(personas.token(personas.alice())).allows("publish")


def test_a_key_that_an_operator_lets_publish_does_so_by_itself(rule: Any) -> None:
    rule("without_publish")
    _, raw = personas.bob_key(scopes=["market-data", "publish"])
    assert present(raw).allows("publish", "AAPL")


def test_limits_of_a_user_go_before_those_of_the_server(rule: Any) -> None:
    rule("limited")
    found = identities()
    for kind, identity in found.items():
        assert connection_limits(identity, lambda: None)[f"user:{identity.user_id}"] == 2, kind
        assert max_subscriptions(identity) == 3, kind
        assert message_rate(identity)[0] == 7, kind


def test_a_key_has_the_smaller_one_of_two_limits(rule: Any) -> None:
    rule("limited")
    _, raw = personas.bob_key(max_subscriptions=50, messages_per_second=1, max_connections=9)
    key = present(raw)
    assert (key.max_subscriptions, key.messages_per_second) == (3, 1)
    limits = connection_limits(key, lambda: None)
    assert limits == {f"key:{key.key_id}": 9, f"user:{key.user_id}": 2}


# What a rule may return -------------------------------------------------------------------------


def test_an_empty_list_of_symbols_is_for_none() -> None:
    access = Access(["market-data", "alerts"], {"market-data": []})
    assert not access.allows("market-data")
    assert access.allows("alerts")


def test_patterns_may_be_in_any_collection_and_any_case() -> None:
    access = Access({"market-data"}, {"market-data": {"btc*"}})
    assert access.allows("market-data", "BTC-USD")


def test_a_user_may_have_more_patterns_than_a_key() -> None:
    patterns = [f"S{number}" for number in range(1000)]
    assert Access(["market-data"], {"market-data": patterns}).allows("market-data", "S999")


@pytest.mark.parametrize(
    ("scopes", "symbols", "limits"),
    [
        ("market-data", None, {}),
        (["everything"], None, {}),
        ([None], None, {}),
        (["market-data"], {"market-data": "BTC*"}, {}),
        (["market-data"], {"market-data": ["ä"]}, {}),
        (["market-data"], {"alerts": ["BTC*"]}, {}),
        (["market-data"], ["BTC*"], {}),
        (["market-data"], None, {"max_connections": -1}),
        (["market-data"], None, {"max_connections": True}),
    ],
)
def test_access_that_cannot_be_is_refused(scopes: Any, symbols: Any, limits: Any) -> None:
    with pytest.raises(InvalidScope):
        Access(scopes, symbols, **limits)


def test_a_limit_that_is_not_known_is_named() -> None:
    with pytest.raises(TypeError, match=r"'max_sockets' is not a limit; choose max_connections"):
        Access([], max_sockets=1)


# Faults -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAULTY)
def test_a_faulty_rule_lets_nobody_in_and_is_logged_in_one_line(
    rule: Any, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    rule(name)
    alice = personas.alice(first_name=name)
    for _ in range(3):
        with pytest.raises(UserAccessFailed):
            access_of(alice)
    (record,) = [each for each in caplog.records if "REALTIME_USER_ACCESS" in each.getMessage()]
    assert record.levelno == logging.ERROR
    assert record.exc_info is None
    assert record.getMessage().count("\n") == 0
    assert f"{RULES}.{name} failed for user {alice.pk}" in record.getMessage()


@pytest.mark.parametrize("name", FAULTY)
def test_rest_answers_503_while_the_rule_is_faulty(rule: Any, name: str) -> None:
    token = personas.token(personas.alice())
    rule(name)
    answer = APIClient().get("/api/v1/predictions", HTTP_AUTHORIZATION=f"Bearer {token}")
    assert answer.status_code == 503
    assert list(answer.json()) == ["detail"]


def test_a_page_with_a_session_is_answered_503_as_well(rule: Any) -> None:
    client = Client()
    client.force_login(personas.alice())
    rule("broken")
    assert client.get("/api/v1/predictions").status_code == 503


@pytest.mark.parametrize("name", ["broken", "bad_query", "forgetful"])
def test_a_faulty_rule_ends_no_transaction_of_the_caller(rule: Any, name: str) -> None:
    rule(name)
    with transaction.atomic():
        alice = personas.alice()
        with pytest.raises(UserAccessFailed):
            access_of(alice)
        alice.refresh_from_db()


def test_one_user_whose_rule_fails_is_not_everybody(rule: Any) -> None:
    alice, carol = (present(personas.token(user())) for user in (personas.alice, personas.carol))
    rule("broken_for_alice")
    answers = recheck([alice, carol])
    assert isinstance(answers[alice], UserAccessFailed)
    assert isinstance(answers[carol], Identity)


def check_ids() -> list[str]:
    return [message.id or "" for message in run_checks(tags=["security"])]


@pytest.mark.parametrize("name", ["not_there", "asynchronous", "NOT_A_FUNCTION"])
def test_the_check_names_a_rule_that_cannot_be_used(rule: Any, name: str) -> None:
    rule(name)
    (found,) = [each for each in run_checks(tags=["security"]) if each.id == "realtime.E021"]
    assert f"{RULES}.{name}" in found.msg


def test_the_check_warns_of_anonymous_clients_who_read_more_than_users(
    rule: Any, settings: Settings
) -> None:
    rule("nothing")
    assert "realtime.W021" in check_ids()
    settings.REALTIME_ALLOW_ANONYMOUS = False
    assert "realtime.W021" not in check_ids()


def test_groups_need_users_that_have_them(settings: Settings) -> None:
    settings.REALTIME_USER_ACCESS = "realtime.access.groups.of_user"
    assert "realtime.E022" not in check_ids()
    settings.AUTH_USER_MODEL = "contenttypes.ContentType"
    assert "realtime.E022" in check_ids()


def test_the_function_in_the_documentation_is_one() -> None:
    names: dict[str, Any] = {}
    exec(block("By a function of your own", "python"), names)
    alice = personas.alice()
    assert names["of_user"](alice).scopes == frozenset()
    alice.groups.add(Group.objects.create(name="crypto"))
    access = names["of_user"](alice)
    assert access.allows("market-data", "BTC-USD")
    assert not access.allows("market-data", "AAPL")
    assert names["of_user"](personas.olga()).allows("publish", "*")
