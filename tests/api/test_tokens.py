import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient
from rest_framework_simplejwt.token_blacklist.models import OutstandingToken
from rest_framework_simplejwt.tokens import RefreshToken

from realtime.access.revocation import log_out_everywhere
from realtime.models import ApiKey
from tests import personas
from tests.conftest import REDIS
from tests.processes import free_port

# Without transactions around them, changes are known when an answer comes.
pytestmark = pytest.mark.django_db(transaction=True)
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


def login() -> tuple[str, str]:
    """Alice's access and refresh token."""
    return personas.login(personas.alice())


def opens(access: str) -> bool:
    headers = {"Authorization": f"Bearer {access}"}
    return client.get("/api/v1/predictions", headers=headers).status_code == 200


def refreshed(refresh: str) -> tuple[str, str] | None:
    answer = post("token/refresh", refresh=refresh)
    if answer.status_code != 200:
        assert answer.status_code == 401
        return None
    return answer.json()["access"], answer.json()["refresh"]


def test_a_refresh_token_gives_the_next_two_tokens_once() -> None:
    _, refresh = login()
    tokens = refreshed(refresh)
    assert tokens is not None
    assert opens(tokens[0])
    assert refreshed(refresh) is None
    assert refreshed(tokens[1]) is not None


def test_of_those_who_refresh_at_once_one_gets_the_next_tokens() -> None:
    _, refresh = login()

    def post_refresh(_: int) -> int:
        try:
            body = {"refresh": refresh}
            path = "/api/v1/auth/token/refresh"
            return int(APIClient().post(path, body, format="json").status_code)
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(post_refresh, range(8))) == [200] + [401] * 7


def test_so_many_passwords_may_be_tried(each_layer: str, settings: Any) -> None:
    settings.REALTIME_LOGINS_PER_IP_PER_MINUTE = 2
    personas.alice()
    for _ in range(2):
        assert post("token", username="alice", password="wrong").status_code == 401
    answer = post("token", username="alice", password=personas.PASSWORD)
    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 60
    elsewhere = client.post(
        "/api/v1/auth/token",
        {"username": "alice", "password": personas.PASSWORD},
        format="json",
        REMOTE_ADDR="192.0.2.7",
    )
    assert elsewhere.status_code == 200


def test_clients_behind_a_proxy_that_names_ports_are_told_apart(settings: Any) -> None:
    settings.REALTIME_LOGINS_PER_IP_PER_MINUTE = 2
    settings.REALTIME_TRUSTED_PROXIES = ["127.0.0.1"]
    personas.alice()

    def code(address: str, password: str) -> int:
        login = {"username": "alice", "password": password}
        headers = {"X-Forwarded-For": address}
        return int(client.post("/api/v1/auth/token", login, "json", headers=headers).status_code)

    for port in (40001, 40002, 40003):
        last = code(f"203.0.113.5:{port}", "wrong")
    assert last == 429
    assert code("198.51.100.7:51000", personas.PASSWORD) == 200


def test_a_header_does_not_make_another_address(each_layer: str, settings: Any) -> None:
    settings.REALTIME_LOGINS_PER_IP_PER_MINUTE = 1
    codes = [
        client.post("/api/v1/auth/token", {}, format="json", HTTP_X_FORWARDED_FOR=f"192.0.2.{n}")
        for n in range(2)
    ]
    assert [answer.status_code for answer in codes] == [400, 429]


def test_without_redis_each_process_counts(settings: Any) -> None:
    config = {"hosts": [f"redis://127.0.0.1:{free_port()}/0"]}
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": REDIS, "CONFIG": config}}
    settings.REALTIME_LOGINS_PER_IP_PER_MINUTE = 1
    assert [post("token").status_code for _ in range(2)] == [400, 429]


def test_the_admin_limits_passwords_too(settings: Any) -> None:
    settings.REALTIME_LOGINS_PER_IP_PER_MINUTE = 1
    personas.olga()
    browser = Client()
    browser.post("/admin/login/", {"username": "olga", "password": "wrong"})
    fields = {"username": "olga", "password": personas.PASSWORD}
    answer = browser.post("/admin/login/", fields)
    assert b"Too many logins from your address. Try again in" in answer.content
    settings.REALTIME_LOGINS_PER_IP_PER_MINUTE = 0
    assert browser.post("/admin/login/?next=/admin/", fields).status_code == 302


def test_a_rotation_leaves_the_access_token_alone() -> None:
    access, refresh = login()
    refreshed(refresh)
    assert opens(access)


def test_no_answer_with_tokens_is_cached() -> None:
    assert post("token/refresh", refresh=login()[1])["Cache-Control"] == "no-store"


def test_logging_out_ends_every_token_of_the_login() -> None:
    first, refresh = login()
    second, latest = refreshed(refresh) or ("", "")
    assert opens(first)
    assert opens(second)
    assert post("token/blacklist", refresh=latest).status_code == 200
    assert not opens(first)
    assert not opens(second)
    assert refreshed(latest) is None
    for token in (first, latest):
        assert post("token/verify", token=token).status_code == 401


def test_logging_out_leaves_other_logins_alone() -> None:
    (mine, _), (other, _) = login(), login()
    refresh = login()[1]
    post("token/blacklist", refresh=refresh)
    assert opens(mine)
    assert opens(other)


def test_logging_out_everywhere_ends_every_login_but_no_key() -> None:
    logins = [login() for _ in range(3)]
    _, key = ApiKey.objects.create_key(personas.alice(), "laptop")
    olga = personas.token(personas.olga())
    assert all(opens(access) for access, _ in logins)
    everywhere = "/api/v1/auth/logout-everywhere"
    headers = {"Authorization": f"Bearer {logins[0][0]}"}
    assert client.post(everywhere, headers=headers).status_code == 204
    assert not [access for access, _ in logins if opens(access)]
    assert not [refresh for _, refresh in logins if refreshed(refresh)]
    assert opens(key)
    assert opens(olga)
    assert opens(login()[0])


def test_a_key_does_not_log_anybody_out() -> None:
    _, raw = personas.bob_key()
    answer = client.post("/api/v1/auth/logout-everywhere", headers={"X-API-Key": raw})
    assert answer.status_code == 403
    assert client.post("/api/v1/auth/logout-everywhere").status_code == 401


def test_the_database_holds_no_token() -> None:
    _, refresh = login()
    refreshed(refresh)
    assert OutstandingToken.objects.count() == 3  # the session, and two refresh tokens
    assert not OutstandingToken.objects.filter(token__contains=".")
    assert not OutstandingToken.objects.filter(expires_at__lt=timezone.now())


def test_a_token_of_no_session_is_refreshed_and_blacklisted_too() -> None:
    # As simplejwt itself makes them, in a script of an operator.
    tokens = refreshed(str(RefreshToken.for_user(personas.alice())))
    assert tokens is not None
    assert post("token/blacklist", refresh=tokens[1]).status_code == 200
    assert refreshed(tokens[1]) is None


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
@pytest.mark.parametrize(
    ("path", "field"), [("refresh", "refresh"), ("verify", "token"), ("blacklist", "refresh")]
)
def test_a_bad_token_is_refused(path: str, field: str, bad: Any) -> None:
    # As JSON text: the test client's own encoder does not write half a surrogate pair.
    answer = client.post(
        f"/api/v1/auth/token/{path}", json.dumps({field: bad}), content_type="application/json"
    )
    assert answer.status_code in (400, 401)


def test_an_access_token_is_not_a_refresh_token() -> None:
    access = personas.token(personas.alice())
    assert post("token/refresh", refresh=access).status_code == 401


def deactivate(user: User) -> None:
    user.is_active = False
    user.save()


def delete(user: User) -> None:
    user.delete()


def set_password(user: User) -> None:
    user.set_password("another horse altogether")
    user.save()


def log_out(user: User) -> None:
    log_out_everywhere(user.pk)


@pytest.mark.parametrize("change", [deactivate, delete, set_password, log_out])
@pytest.mark.parametrize("which", [0, 1], ids=["access", "refresh"])
def test_a_token_whose_user_is_gone_is_not_verified(change: Any, which: int) -> None:
    token = login()[which]
    assert post("token/verify", token=token).status_code == 200
    change(User.objects.get())
    assert post("token/verify", token=token).status_code == 401


def test_a_token_that_names_no_user_is_not_verified() -> None:
    nobody = RefreshToken()
    odd = RefreshToken()
    odd["user_id"] = ["x"]
    for token in (nobody, odd, nobody.access_token):
        assert post("token/verify", token=str(token)).status_code == 401
