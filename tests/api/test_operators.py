"""Metrics and statistics: for staff, keys with the scope, and networks that are named."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings
from rest_framework.test import APIClient

from realtime.access.authentication import authenticate
from realtime.access.credentials import credential_from_token
from realtime.models import ApiKey
from tests import personas

pytestmark = pytest.mark.django_db(transaction=True)
PATHS = pytest.mark.parametrize("path", ["/metrics", "/api/v1/connections"])
LOOPBACK = ["127.0.0.0/8", "::1/128"]


def staff() -> User:
    return personas.carol(is_staff=True)


def bearer(user: User) -> dict[str, str]:
    return {"Authorization": f"Bearer {personas.token(user)}"}


def status(path: str, headers: dict[str, str] | None = None, address: str = "192.0.2.1") -> int:
    answer: Any = Client(REMOTE_ADDR=address).get(path, headers=headers or {})
    return int(answer.status_code)


@PATHS
def test_a_customer_may_not_read_them(each_layer: str, path: str) -> None:
    assert status(path) == 401
    for scopes in (personas.READ, ("publish",)):
        key = personas.bob_key(name=scopes[0], scopes=scopes)[1]
        assert status(path, {"X-API-Key": key}) == 403
    assert status(path, bearer(personas.alice())) == 403


@PATHS
def test_staff_and_a_key_with_the_scope_may(each_layer: str, path: str) -> None:
    assert status(path, {"X-API-Key": personas.scraper_key()}) == 200
    assert status(path, {"Authorization": f"Bearer {personas.scraper_key(name='other')}"}) == 200
    assert status(path, bearer(staff())) == 200
    page = Client(REMOTE_ADDR="192.0.2.1")
    page.force_login(personas.olga())
    assert page.get(path).status_code == 200


@PATHS
def test_a_rule_of_the_project_takes_nothing_from_staff(
    each_layer: str, path: str, settings: Settings
) -> None:
    settings.REALTIME_USER_ACCESS = "tests.access.rules.nothing"
    assert status(path, bearer(staff())) == 200
    assert status(path, {"X-API-Key": personas.scraper_key()}) == 200


NETWORKS = [
    # peer, headers, REALTIME_TRUSTED_PROXIES, status
    ("127.0.0.1", {}, [], 200),
    ("::1", {}, [], 200),
    ("::ffff:127.0.0.1", {}, [], 200),
    ("192.0.2.1", {}, [], 401),
    ("", {}, [], 401),
    # A proxy beside the server that is not named.
    ("127.0.0.1", {"X-Forwarded-For": "192.0.2.1"}, [], 401),
    ("127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}, [], 401),
    ("127.0.0.1", {"X-Real-IP": "127.0.0.1"}, [], 401),
    ("127.0.0.1", {"Forwarded": "for=127.0.0.1"}, [], 401),
    ("127.0.0.1", {"Via": "1.1 proxy"}, [], 401),
    ("127.0.0.1", {"X-Forwarded-Proto": "https"}, [], 401),
    # One that is.
    ("127.0.0.1", {"X-Forwarded-For": "192.0.2.1"}, ["127.0.0.1"], 401),
    ("127.0.0.1", {"X-Forwarded-For": "127.0.0.1, 192.0.2.1"}, ["127.0.0.1"], 401),
    ("127.0.0.1", {"X-Forwarded-For": "nonsense"}, ["127.0.0.1"], 401),
    ("127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}, ["127.0.0.1"], 401),
    ("10.0.0.1", {"X-Forwarded-For": "127.0.0.9"}, ["10.0.0.1"], 200),
    ("10.0.0.1", {}, ["10.0.0.1"], 401),
    ("", {"X-Forwarded-For": "127.0.0.1"}, ["unix"], 200),
    ("", {"X-Forwarded-For": "192.0.2.1"}, ["unix"], 401),
    ("", {}, ["unix"], 401),
]


@pytest.mark.parametrize(("peer", "headers", "proxies", "expected"), NETWORKS)
def test_a_named_network_reads_them_without_a_credential(
    settings: Settings, peer: str, headers: dict[str, str], proxies: list[str], expected: int
) -> None:
    settings.REALTIME_METRICS_NETWORKS = LOOPBACK
    settings.REALTIME_TRUSTED_PROXIES = proxies
    assert status("/metrics", headers, peer) == expected


def test_no_network_is_named_by_default() -> None:
    assert status("/metrics", address="127.0.0.1") == 401


def test_a_bad_credential_is_refused_in_a_named_network(settings: Settings) -> None:
    settings.REALTIME_METRICS_NETWORKS = LOOPBACK
    assert status("/metrics", {"X-API-Key": "ara_wrong"}, "127.0.0.1") == 401


# Keys with the scope ----------------------------------------------------------------------------


def reads(raw: str) -> bool:
    return authenticate(credential_from_token(raw, "query")).allows("metrics")


def create(user: User, **fields: Any) -> Any:
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {personas.token(user)}")
    return api.post("/api/v1/keys", {"name": "scraper", **fields}, format="json")


def test_only_staff_make_themselves_such_a_key() -> None:
    assert create(personas.alice(), scopes=["metrics"]).status_code == 403
    assert reads(create(staff(), scopes=["metrics"]).json()["key"])


def test_a_key_loses_the_scope_with_its_owner() -> None:
    carol = staff()
    raw = create(carol, scopes=["metrics"]).json()["key"]
    carol.is_staff = False
    carol.save()
    assert not reads(raw)


def test_a_key_of_an_operators_grant_keeps_it() -> None:
    raw = personas.scraper_key()
    assert reads(raw)
    owner = ApiKey.objects.get().owner
    owner.first_name = "Bob"
    owner.save()
    assert reads(raw)


def test_an_operator_gives_the_scope_in_the_admin(client: Client) -> None:
    client.force_login(personas.olga())
    key, raw = personas.bob_key(scopes=["alerts"])
    form = {"name": key.name, "scopes": ["metrics"], "symbols_predictions": "", "origins": ""}
    answer = client.post(f"/admin/realtime/apikey/{key.pk}/change/", form)
    assert answer.status_code == 302
    assert reads(raw)
