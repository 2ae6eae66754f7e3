from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings
from rest_framework.test import APIClient

from realtime.access import tickets
from realtime.access.authentication import InvalidCredential, authenticate
from realtime.access.credentials import Credential
from realtime.access.identity import Identity, grant_of, identity_of_user
from realtime.access.revocation import key_changed, log_out
from realtime.access.tickets import TICKET_SECONDS, MemoryStore, issue, redeem
from realtime.models import ApiKey
from tests import personas
from tests.processes import Valkey, free_port

pytestmark = pytest.mark.django_db


def identity(persona: str) -> Identity:
    """Whom a ticket is to stand for."""
    if persona == "session":
        return identity_of_user(personas.olga())
    if persona == "key":
        _, raw = personas.bob_key(symbols={"market-data": ["BTC*"]})
        return authenticate(Credential("api_key", raw, "query"))
    access = personas.login(personas.alice())[0] if persona == "login" else ""
    return authenticate(
        Credential("jwt", access or personas.token(personas.alice()), "authorization")
    )


def present(ticket: str) -> Identity:
    return authenticate(Credential("ticket", ticket, "ticket"))


def refused(ticket: str) -> bool:
    with pytest.raises(InvalidCredential):
        present(ticket)
    return True


@pytest.mark.parametrize("persona", ["key", "token", "login", "session"])
def test_a_ticket_is_as_good_as_its_credential_once(each_layer: str, persona: str) -> None:
    whom = identity(persona)
    ticket = issue(grant_of(whom))
    assert present(ticket) == whom
    assert refused(ticket)


@pytest.mark.parametrize("persona", ["key", "token"])
def test_a_ticket_costs_one_query(
    persona: str, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    ticket = issue(grant_of(identity(persona)))
    with django_assert_num_queries(1):
        present(ticket)


def test_what_is_no_ticket_is_refused(each_layer: str) -> None:
    for text in ("arat_", "arat_unknown", "", "\x00", "ara_k3f9a2bc_x"):
        assert refused(text)


def revoke(whom: Identity) -> None:
    key = ApiKey.objects.get()
    key.revoke()
    key_changed(key)


def rotate(whom: Identity) -> None:
    ApiKey.objects.get().rotate()


def deactivate(whom: Identity) -> None:
    User.objects.update(is_active=False)


def delete(whom: Identity) -> None:
    User.objects.all().delete()


def set_password(whom: Identity) -> None:
    user = User.objects.get(pk=whom.user_id)
    user.set_password("another horse")
    user.save()


def end(whom: Identity) -> None:
    log_out(whom.session_id or "")


@pytest.mark.parametrize(
    ("persona", "change"),
    [
        ("key", revoke),
        ("key", rotate),
        ("key", deactivate),
        ("key", delete),
        ("token", deactivate),
        ("login", end),
        ("session", deactivate),
        ("session", set_password),
    ],
)
def test_a_ticket_is_worth_nothing_once_its_credential_is_not(
    persona: str, change: Callable[[Identity], None]
) -> None:
    whom = identity(persona)
    ticket = issue(grant_of(whom))
    change(whom)
    assert refused(ticket)


def test_a_ticket_is_worth_nothing_once_its_session_of_django_has_ended(client: Client) -> None:
    client.force_login(personas.olga())
    ticket, other = (client.post("/api/v1/auth/ticket").json()["ticket"] for _ in range(2))
    assert present(other).user == personas.olga()
    client.logout()
    assert refused(ticket)


def test_a_ticket_of_another_session_of_the_user_stays(client: Client) -> None:
    client.force_login(personas.olga())
    ticket = client.post("/api/v1/auth/ticket").json()["ticket"]
    elsewhere = Client()
    elsewhere.force_login(personas.olga())
    elsewhere.logout()
    assert present(ticket).user == personas.olga()


def test_a_ticket_does_not_outlive_its_token(monkeypatch: pytest.MonkeyPatch) -> None:
    ticket = issue(grant_of(identity("token")))
    later = timezone.now() + timedelta(days=1)
    monkeypatch.setattr(timezone, "now", lambda: later)
    assert refused(ticket)


def test_a_ticket_expires_in_redis(redis_layer: None, valkey: Valkey) -> None:
    ticket = issue({"session_of": 1})
    (key,) = valkey.client().keys("*ticket*")
    assert ticket.encode() not in key
    assert 0 < valkey.client().ttl(key) <= TICKET_SECONDS
    assert redeem(ticket) == {"session_of": 1}
    assert not valkey.client().keys("*ticket*")


def test_a_ticket_expires_in_memory() -> None:
    now = 0.0
    store = MemoryStore(lambda: now)
    store.put("old", "1")
    now = 20.0
    store.put("new", "2")
    now = float(TICKET_SECONDS)
    store.put("newest", "3")
    assert len(store._values) == 2
    assert [store.take(key) for key in ("old", "new", "new", "newest")] == [None, "2", None, "3"]


def test_memory_holds_a_bounded_number_of_tickets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tickets, "_MOST_IN_MEMORY", 3)
    store = MemoryStore()
    for number in range(10):
        store.put(str(number), "x")
    assert list(store._values) == ["7", "8", "9"]


# Over REST ------------------------------------------------------------------------------------


def ask(**credentials: Any) -> Any:
    client = APIClient()
    client.credentials(**credentials)
    return client.post("/api/v1/auth/ticket")


def test_a_ticket_is_issued_to_whoever_has_a_credential(each_layer: str) -> None:
    _, raw = personas.bob_key()
    answer = ask(HTTP_X_API_KEY=raw)
    assert answer.status_code == 201
    assert answer["Cache-Control"] == "no-store"
    assert answer.json()["expires_in"] == TICKET_SECONDS
    assert present(answer.json()["ticket"]).user.get_username() == "bob"


def test_a_ticket_is_issued_to_nobody_else() -> None:
    assert ask().status_code == 401
    assert ask(HTTP_X_API_KEY=personas.mallory_key()[1]).status_code == 401


def test_without_redis_there_are_no_tickets(settings: Settings) -> None:
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "realtime.delivery.layers.RedisStreamLayer",
            "CONFIG": {"hosts": [f"redis://127.0.0.1:{free_port()}"]},
        }
    }
    answer = ask(HTTP_X_API_KEY=personas.bob_key()[1])
    assert answer.status_code == 503
    assert "Redis" in answer.json()["detail"]
    with pytest.raises(tickets.TicketsUnavailable):
        present("arat_any")
