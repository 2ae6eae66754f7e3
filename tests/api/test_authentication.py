from typing import Any

import pytest
from django.contrib.auth.models import User
from hypothesis import given, settings
from hypothesis import strategies as st
from rest_framework.test import APIClient

from tests import personas

pytestmark = pytest.mark.django_db
URL = "/api/v1/alerts"


def get(headers: dict[str, str] | None = None, query: str = "") -> Any:
    return APIClient().get(URL + query, headers=headers or {})


def test_a_token_is_accepted() -> None:
    token = personas.token(personas.alice())
    assert get({"Authorization": f"Bearer {token}"}).status_code == 200


def test_a_key_is_accepted_in_each_of_its_places() -> None:
    _, raw = personas.bob_key()
    for headers in (
        {"Authorization": f"Api-Key {raw}"},
        {"Authorization": f"Bearer {raw}"},
        {"X-API-Key": raw},
    ):
        assert get(headers).status_code == 200


def test_without_a_credential_the_answer_says_how_to_send_one() -> None:
    answer = get()
    assert answer.status_code == 401
    assert answer["WWW-Authenticate"] == 'Bearer realm="api"'


def test_the_query_string_is_no_place_for_a_credential() -> None:
    _, raw = personas.bob_key()
    assert get(query=f"?token={raw}").status_code == 401


def test_refusals_read_the_same() -> None:
    _, mallory = personas.mallory_key()
    _, bob = personas.bob_key()
    User.objects.filter(username="bob").update(is_active=False)
    answers = [get({"X-API-Key": raw}) for raw in (mallory, bob, "ara_00000000_x", "nonsense")]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.content for answer in answers}) == 1


def test_a_bad_credential_is_not_saved_by_a_session() -> None:
    client = APIClient()
    client.force_login(personas.olga())
    assert client.get(URL).status_code == 200
    assert client.get(URL, headers={"X-API-Key": "nonsense"}).status_code == 401


@settings(max_examples=30)
@given(
    st.sampled_from(["Authorization", "X-API-Key"]),
    st.sampled_from(["", "Bearer ", "Api-Key ", "ara_"]),
    st.text(alphabet=st.characters(max_codepoint=255)),
)
def test_no_header_is_our_fault(name: str, scheme: str, text: str) -> None:
    assert get({name: scheme + text}).status_code == 401
