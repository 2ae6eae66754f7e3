import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient
from rest_framework_simplejwt.tokens import RefreshToken

from tests import personas

pytestmark = pytest.mark.django_db
client = APIClient()


def post(path: str, **body: Any) -> Any:
    return client.post(f"/api/v1/auth/{path}", body, format="json")


def test_alice_exchanges_her_password_for_tokens() -> None:
    personas.alice()
    answer = post("token", username="alice", password=personas.PASSWORD)
    assert answer.status_code == 200
    assert set(answer.json()) == {"access", "refresh"}
    assert post("token/verify", token=answer.json()["access"]).status_code == 200


@pytest.mark.parametrize("who", [("alice", "wrong"), ("nobody", personas.PASSWORD)])
def test_a_wrong_password_and_an_unknown_user_read_the_same(who: tuple[str, str]) -> None:
    personas.alice()
    answer = post("token", username=who[0], password=who[1])
    assert answer.status_code == 401
    assert answer.json() == {"detail": "No active account found with the given credentials"}


def test_a_missing_field_is_named() -> None:
    answer = post("token", username="alice")
    assert (answer.status_code, list(answer.json())) == (400, ["password"])


def test_a_refresh_token_gives_a_new_access_token() -> None:
    refresh = str(RefreshToken.for_user(personas.alice()))
    access = post("token/refresh", refresh=refresh).json()["access"]
    headers = {"Authorization": f"Bearer {access}"}
    assert client.get("/api/v1/connections", headers=headers).status_code == 200


@pytest.mark.parametrize("change", ["inactive", "deleted"])
def test_the_refresh_token_of_a_user_who_left_gives_nothing(change: str) -> None:
    alice = personas.alice()
    refresh = str(RefreshToken.for_user(alice))
    if change == "deleted":
        alice.delete()
    else:
        User.objects.update(is_active=False)
    assert post("token/refresh", refresh=refresh).status_code == 401


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "nonsense",
        "a.b.c",
        "W1tb" * 1000 + ".e30.e30",
        "\u0000",
        "\ud800",
        "é" * 9,
        7,
        None,
        [],
        {},
        "x" * 100_000,
    ],
    ids=lambda bad: ascii(bad)[:12],
)
@pytest.mark.parametrize(("path", "field"), [("refresh", "refresh"), ("verify", "token")])
def test_a_bad_token_is_refused(path: str, field: str, bad: Any) -> None:
    # As JSON text: the test client's own encoder does not write half a surrogate pair.
    answer = client.post(
        f"/api/v1/auth/token/{path}", json.dumps({field: bad}), content_type="application/json"
    )
    assert answer.status_code in (400, 401)


def test_an_access_token_is_not_a_refresh_token() -> None:
    access = personas.token(personas.alice())
    assert post("token/refresh", refresh=access).status_code == 401
