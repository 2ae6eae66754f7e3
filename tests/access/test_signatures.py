"""Tokens of an earlier SECRET_KEY, and of a machine whose clock is ahead."""

import time
from collections.abc import Callable
from typing import Any

import httpx
import jwt
import pytest
from django.conf import settings as project
from pytest_django import Settings
from rest_framework.test import APIClient

from realtime.access import signatures
from realtime.access.authentication import InvalidCredential, authenticate
from realtime.access.credentials import credential_from_token
from realtime.access.identity import grant_of, identity_of_user
from realtime.access.signatures import CLOCK_SKEW
from realtime.access.tickets import issue
from tests import personas
from tests.clients import Socket
from tests.processes import LiveServer

pytestmark = pytest.mark.django_db(transaction=True)

FORMER = "an earlier value of SECRET_KEY that is long enough to sign with"
SECOND = "another earlier value of SECRET_KEY that is long enough to sign with"


def accepted(token: str) -> bool:
    try:
        authenticate(credential_from_token(token, "query"))
    except InvalidCredential:
        return False
    return True


def resigned(token: str, key: str, **claims: Any) -> str:
    payload = jwt.decode(token, options={"verify_signature": False})
    return jwt.encode({**payload, **claims}, key, algorithm="HS256")


@pytest.mark.parametrize("key", [FORMER, SECOND])
def test_a_token_of_an_earlier_key_is_good_while_that_is_named(
    key: str, settings: Settings
) -> None:
    token = resigned(personas.token(personas.alice()), key)
    assert not accepted(token)
    settings.SECRET_KEY_FALLBACKS = ["", SECOND, FORMER]
    assert accepted(token)


def test_no_fallback_opens_what_is_signed_with_nothing(settings: Settings) -> None:
    settings.SECRET_KEY_FALLBACKS = [""]
    token = personas.forged_token(personas.alice(), algorithm="none")
    assert not accepted(token)


def test_an_expired_token_of_an_earlier_key_says_so(settings: Settings) -> None:
    settings.SECRET_KEY_FALLBACKS = [FORMER]
    token = resigned(personas.token(personas.alice()), FORMER, exp=int(time.time()) - 1)
    with pytest.raises(InvalidCredential, match="expired"):
        authenticate(credential_from_token(token, "query"))


def test_keys_of_their_own_are_not_those_of_the_project(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SECRET_KEY_FALLBACKS = [FORMER]
    monkeypatch.setattr(signatures.BACKEND, "signing_key", "SIGNING_KEY of the project")
    assert not accepted(resigned(personas.token(personas.alice()), FORMER))


@pytest.mark.parametrize("path", ["token/verify", "token/refresh", "token/blacklist"])
def test_a_login_of_an_earlier_key_goes_on(path: str, settings: Settings) -> None:
    settings.SECRET_KEY_FALLBACKS = [FORMER]
    refresh = resigned(personas.login(personas.alice())[1], FORMER)
    name = "token" if path == "token/verify" else "refresh"
    answer = APIClient().post(f"/api/v1/auth/{path}", {name: refresh}, format="json")
    assert answer.status_code == 200


def test_a_ticket_of_a_session_outlives_the_key(settings: Settings) -> None:
    settings.SECRET_KEY_FALLBACKS = [project.SECRET_KEY]
    ticket = issue(grant_of(identity_of_user(personas.alice())))
    settings.SECRET_KEY = SECOND
    assert accepted(ticket)


@pytest.mark.parametrize("claim", ["iat", "nbf"])
@pytest.mark.parametrize(("ahead", "good"), [(1, True), (5, True), (10 * CLOCK_SKEW, False)])
def test_a_clock_may_be_ahead_a_little(claim: str, ahead: float, good: bool) -> None:
    token = personas.token(personas.alice())
    claims = {claim: int(time.time() + ahead)}
    assert accepted(resigned(token, project.SECRET_KEY, **claims)) is good


@pytest.mark.parametrize("begins", ["soon", None, [], "1e9"])
def test_an_odd_time_of_issue_is_refused(begins: Any) -> None:
    token = personas.token(personas.alice())
    assert not accepted(resigned(token, project.SECRET_KEY, iat=begins))


def test_what_lets_a_token_begin_early_does_not_let_it_end_late() -> None:
    assert not accepted(personas.expired_token(personas.alice()))


async def test_a_server_with_another_key_goes_on(
    start_server: Callable[..., LiveServer],
) -> None:
    before = start_server(SECRET_KEY=FORMER)
    before.shell("from tests import personas; personas.alice()")
    login = {"username": "alice", "password": personas.PASSWORD}
    tokens = _post(before, "auth/token", login).json()
    before.stop()
    after = start_server(SECRET_KEY=SECOND, SECRET_KEY_FALLBACKS=FORMER)
    socket = await Socket.open(f"{after.ws}/ws/alerts?token={tokens['access']}")
    await socket.until("connected", authenticated=True)
    await socket.leave()
    assert _alerts(after, tokens["access"]) == 200
    new = _post(after, "auth/token/refresh", {"refresh": tokens["refresh"]}).json()
    assert _alerts(after, new["access"]) == 200


def _post(server: LiveServer, path: str, body: Any) -> httpx.Response:
    answer = httpx.post(f"{server.http}/api/v1/{path}", json=body)
    assert answer.status_code == 200, answer.text
    return answer


def _alerts(server: LiveServer, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.get(f"{server.http}/api/v1/alerts", headers=headers).status_code
