from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st
from rest_framework.test import APIClient

from realtime.access.authentication import InvalidCredential, authenticate
from realtime.access.credentials import credential_from_token
from realtime.api import keys as keys_module
from realtime.models import ApiKey
from tests import personas

# Without transactions around them, changes are known when an answer comes.
pytestmark = pytest.mark.django_db(transaction=True)
KEYS = "/api/v1/keys"


@pytest.fixture
def alice() -> APIClient:
    """Alice's program, with her token."""
    return with_token(personas.token(personas.alice()))


def with_token(token: str) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client


def create(client: APIClient, **fields: Any) -> Any:
    return client.post(KEYS, {"name": "laptop", **fields}, format="json")


def opens(raw: str) -> bool:
    try:
        authenticate(credential_from_token(raw, "query"))
    except InvalidCredential:
        return False
    return True


def test_alice_creates_a_key_and_sees_it_once(alice: APIClient) -> None:
    answer = create(alice, symbols={"market-data": ["btc*"]})
    assert answer.status_code == 201
    assert answer["Cache-Control"] == "no-store"
    body = answer.json()
    assert body["scopes"] == ["predictions", "market-data", "alerts"]
    assert body["symbols"] == {"market-data": ["BTC*"]}
    shown = alice.get(f"{KEYS}/{body['prefix']}").json()
    assert shown == {name: value for name, value in body.items() if name != "key"}
    assert "hash" not in str(shown)
    assert alice.get(KEYS).json()["results"] == [shown]
    assert opens(body["key"])


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": None}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["admin"]}, "scopes"),
        ({"scopes": "alerts"}, "scopes"),
        ({"symbols": {"alerts": ["AAPL"]}}, "symbols"),
        ({"symbols": {"market-data": "AAPL"}}, "symbols"),
        ({"symbols": []}, "symbols"),
        ({"allowed_origins": ["a.example"]}, "allowed_origins"),
        ({"expires_at": "tomorrow"}, "expires_at"),
    ],
    ids=str,
)
def test_a_key_that_cannot_be_is_refused_with_the_field(
    alice: APIClient, fields: dict[str, Any], named: str
) -> None:
    answer = create(alice, **fields)
    assert (answer.status_code, list(answer.json())) == (400, [named])


def test_a_name_is_taken_until_its_key_is_revoked(alice: APIClient) -> None:
    prefix = create(alice).json()["prefix"]
    answer = create(alice)
    assert (answer.status_code, list(answer.json())) == (400, ["name"])
    assert alice.delete(f"{KEYS}/{prefix}").status_code == 204
    assert create(alice).status_code == 201


def test_alice_changes_her_key(alice: APIClient) -> None:
    body = create(alice).json()
    assert authenticate(credential_from_token(body["key"], "query")).allows("alerts")
    later = timezone.now() + timedelta(days=30)
    answer = alice.patch(
        f"{KEYS}/{body['prefix']}",
        {"scopes": ["market-data"], "expires_at": later.isoformat()},
        format="json",
    )
    assert answer.status_code == 200
    assert answer.json()["name"] == "laptop"
    identity = authenticate(credential_from_token(body["key"], "query"))
    assert not identity.allows("alerts")
    assert identity.expires_at == later


def test_what_no_key_may_be_no_key_becomes(alice: APIClient) -> None:
    prefix = create(alice).json()["prefix"]
    bad: list[dict[str, Any]] = [
        {"scopes": []},
        {"name": ""},
        {"symbols": {"x": ["A"]}},
        {"expires_at": "x"},
    ]
    for fields in bad:
        answer = alice.patch(f"{KEYS}/{prefix}", fields, format="json")
        assert (answer.status_code, list(answer.json())) == (400, list(fields))


def test_alice_rotates_her_key(alice: APIClient) -> None:
    body = create(alice).json()
    rotated = alice.post(f"{KEYS}/{body['prefix']}/rotate", {"overlap_seconds": 60}, format="json")
    assert rotated.status_code == 200
    assert opens(rotated.json()["key"])
    assert opens(body["key"])
    again = alice.post(f"{KEYS}/{body['prefix']}/rotate")
    assert opens(again.json()["key"])
    assert not opens(rotated.json()["key"])
    assert not opens(body["key"])


def test_an_overlap_has_bounds(alice: APIClient) -> None:
    prefix = create(alice).json()["prefix"]
    for overlap in (-1, 10**9, "x"):
        answer = alice.post(f"{KEYS}/{prefix}/rotate", {"overlap_seconds": overlap}, format="json")
        assert (answer.status_code, list(answer.json())) == (400, ["overlap_seconds"])


def test_alice_revokes_her_key_and_still_sees_it(alice: APIClient) -> None:
    body = create(alice).json()
    assert opens(body["key"])
    assert alice.delete(f"{KEYS}/{body['prefix']}").status_code == 204
    assert not opens(body["key"])
    assert alice.get(f"{KEYS}/{body['prefix']}").json()["status"] == "revoked"
    for answer in (
        alice.patch(f"{KEYS}/{body['prefix']}", {"name": "x"}, format="json"),
        alice.post(f"{KEYS}/{body['prefix']}/rotate"),
    ):
        assert answer.status_code == 403


def test_the_keys_of_others_are_not_found(alice: APIClient) -> None:
    key, raw = personas.bob_key()
    url = f"{KEYS}/{key.prefix}"
    assert alice.get(KEYS).json()["results"] == []
    for answer in (
        alice.get(url),
        alice.patch(url, {"name": "x"}, format="json"),
        alice.delete(url),
        alice.post(f"{url}/rotate"),
        alice.get(f"{KEYS}/00000000"),
    ):
        assert answer.status_code == 404
    assert opens(raw)


def test_a_prefix_that_no_database_takes_is_no_fault_of_ours(alice: APIClient) -> None:
    assert alice.get(f"{KEYS}/a%00b").status_code in (400, 404)


def test_a_key_makes_no_keys() -> None:
    client = APIClient()
    client.credentials(HTTP_X_API_KEY=personas.bob_key()[1])
    assert create(client).status_code == 403
    assert client.get(KEYS).status_code == 403
    assert APIClient().get(KEYS).status_code == 401


def test_who_may_not_publish_makes_no_key_that_may(alice: APIClient) -> None:
    assert create(alice, scopes=["publish"]).status_code == 403
    olga = with_token(personas.token(personas.olga()))
    assert create(olga, scopes=["publish"]).status_code == 201


def test_who_may_not_publish_widens_no_key_that_may(alice: APIClient) -> None:
    granted, _ = ApiKey.objects.create_key(
        personas.alice(), "granted", scopes=["publish"], symbols={"publish": ["BTC*"]}
    )
    plain = create(alice).json()["prefix"]
    for prefix, fields in (
        (granted.prefix, {"symbols": {}}),
        (granted.prefix, {"expires_at": None}),
        (plain, {"scopes": ["publish"]}),
    ):
        assert alice.patch(f"{KEYS}/{prefix}", fields, format="json").status_code == 403
    granted.refresh_from_db()
    assert granted.symbols == {"publish": ["BTC*"]}


def test_nobody_fills_the_table(alice: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_module, "MAX_KEYS", 2)
    answers = [create(alice, name=str(number)).status_code for number in range(3)]
    assert answers == [201, 201, 403]


@settings(max_examples=30)
@given(
    st.dictionaries(
        st.sampled_from(["name", "scopes", "symbols", "allowed_origins", "expires_at", "prefix"]),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=5,
        ),
    )
)
def test_no_body_is_our_fault(body: dict[str, Any]) -> None:
    client = APIClient()
    client.force_authenticate(personas.olga())
    answer = client.post(KEYS, body, format="json")
    assert answer.status_code in (201, 400)
    if answer.status_code == 201:
        client.delete(f"{KEYS}/{answer.json()['prefix']}")


def test_nobody_raises_the_limits_of_an_own_key(alice: APIClient) -> None:
    body = create(alice, max_connections=1000).json()
    assert body["max_connections"] == 0
    changed = alice.patch(f"{KEYS}/{body['prefix']}", {"publish_per_second": 9}, format="json")
    assert changed.json()["publish_per_second"] == 0
