"""The right to publish: whose it is, what a key does with that of its owner, and operators."""

import importlib
from collections.abc import Callable
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, Permission, User
from django.core.management import call_command
from django.db import connection
from django.test import Client
from rest_framework.test import APIClient

from realtime.access.authentication import authenticate, forget
from realtime.access.credentials import credential_from_token
from realtime.access.identity import Identity, grant_of
from realtime.access.live_sockets import recheck
from realtime.access.tickets import issue
from realtime.models import ApiKey
from tests import personas

pytestmark = pytest.mark.django_db(transaction=True)

UPDATE = {"type": "alert", "data": {"message": "hello"}}


def present(secret: str) -> Identity:
    return authenticate(credential_from_token(secret, "query"))


def permission() -> Permission:
    return Permission.objects.get(codename="publish", content_type__app_label="realtime")


def by_permission(user: User) -> Callable[[], Any]:
    """Give the right; returns what takes it away."""
    user.user_permissions.add(permission())
    return user.user_permissions.clear


def by_group(user: User) -> Callable[[], Any]:
    group = Group.objects.create(name="publishers")
    group.permissions.add(permission())
    user.groups.add(group)
    return group.delete


def as_superuser(user: User) -> Callable[[], Any]:
    user.is_superuser = True
    user.save()

    def demote() -> None:
        user.is_superuser = False
        user.save()

    return demote


WAYS = pytest.mark.parametrize("give", [by_permission, by_group, as_superuser])


@WAYS
def test_a_key_does_not_outlive_its_owners_right(give: Any) -> None:
    take_away = give(personas.alice())
    _, raw = ApiKey.objects.create_key(personas.alice(), "mine", scopes=["alerts", "publish"])
    identity = present(raw)
    assert identity.allows("publish")
    ticket = issue(grant_of(identity))
    take_away()
    for again in (present(raw), present(ticket), recheck([identity])[identity]):
        assert again is not None
        assert (again.allows("publish"), again.allows("alerts")) == (False, True)


@WAYS
def test_the_right_comes_back_to_the_key_with_the_owners(give: Any) -> None:
    take_away = give(personas.alice())
    _, raw = ApiKey.objects.create_key(personas.alice(), "mine", scopes=["publish"])
    take_away()
    assert not present(raw).allows("publish")
    User.objects.update(is_superuser=True)
    forget()
    assert present(raw).allows("publish")


def test_a_key_over_rest_stops_publishing_at_once() -> None:
    take_away = by_permission(personas.alice())
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {personas.token(personas.alice())}")
    made = api.post("/api/v1/keys", {"name": "mine", "scopes": ["publish"]}, format="json").json()
    with_key = APIClient()
    with_key.credentials(HTTP_X_API_KEY=made["key"])
    assert with_key.post("/api/v1/publish", UPDATE, format="json").status_code == 201
    take_away()
    assert with_key.post("/api/v1/publish", UPDATE, format="json").status_code == 403


def test_a_key_that_learns_to_publish_later_depends_on_the_owner_too() -> None:
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {personas.token(personas.alice())}")
    made = api.post("/api/v1/keys", {"name": "mine"}, format="json").json()
    take_away = by_permission(personas.alice())
    scopes = {"scopes": ["publish"]}
    path = f"/api/v1/keys/{made['prefix']}"
    assert api.patch(path, scopes, format="json").status_code == 200
    assert present(made["key"]).allows("publish")
    take_away()
    assert not present(made["key"]).allows("publish")


def test_what_an_operator_granted_to_a_key_is_the_keys() -> None:
    call = {"scopes": ["publish"]}
    _, raw = ApiKey.objects.create_key(personas.alice(), "granted", **call)
    assert present(raw).allows("publish")


# In the admin -----------------------------------------------------------------------------------

KEYS = "/admin/realtime/apikey/"


def form(owner: User, **more: Any) -> dict[str, Any]:
    empty = {
        "symbols_predictions": "", "symbols_market_data": "", "symbols_publish": "", "origins": "",
    }  # fmt: skip
    return {"owner": owner.pk, "name": "desk", "scopes": ["publish"], **empty, **more}


@pytest.fixture
def clerk(client: Client) -> User:
    """Somebody who looks after keys, and is logged in."""
    clerk = personas.carol(is_staff=True)
    rights = Permission.objects.filter(content_type__model="apikey").exclude(codename="publish")
    clerk.user_permissions.add(*rights)
    client.force_login(clerk)
    return clerk


def test_a_clerk_who_may_not_publish_gives_no_key_that_does(clerk: User, client: Client) -> None:
    page = client.post(f"{KEYS}add/", form(clerk)).content.decode()
    assert "You may not publish" in page
    assert not ApiKey.objects.exists()
    client.post(f"{KEYS}add/", form(clerk, scopes=["alerts"]))
    assert ApiKey.objects.get().scopes == ["alerts"]


def test_a_clerk_who_may_not_publish_takes_over_no_key_that_does(
    clerk: User, client: Client
) -> None:
    key, _ = personas.bob_key(scopes=["publish"], symbols={"publish": ["BTC*"]})
    client.post(f"{KEYS}{key.pk}/change/", form(key.owner))
    assert client.post(f"{KEYS}{key.pk}/rotate/", {"overlap": "0"}).status_code == 403
    key.refresh_from_db()
    assert key.symbols == {"publish": ["BTC*"]}
    client.post(f"{KEYS}{key.pk}/revoke/")
    key.refresh_from_db()
    assert key.status == ApiKey.Status.REVOKED


def test_an_operator_gives_the_right_to_a_key_by_ticking_it(client: Client) -> None:
    client.force_login(personas.olga())
    key, raw = personas.bob_key(scopes=["alerts"])
    client.post(f"{KEYS}{key.pk}/change/", form(key.owner, scopes=["alerts", "publish"]))
    assert present(raw).allows("publish")


def test_an_edit_does_not_give_back_what_the_owner_has_lost(client: Client) -> None:
    client.force_login(personas.olga())
    take_away = by_permission(personas.alice())
    key, raw = ApiKey.objects.create_key(personas.alice(), "mine", scopes=["publish"])
    take_away()
    client.post(f"{KEYS}{key.pk}/change/", form(key.owner, name="renamed"))
    key.refresh_from_db()
    assert key.name == "renamed"
    assert not present(raw).allows("publish")
    assert "its owner may not" in client.get(KEYS).content.decode()


# An upgrade -------------------------------------------------------------------------------------


def test_an_upgrade_takes_no_right_away() -> None:
    clerk = personas.carol(is_staff=True)
    _, mine = ApiKey.objects.create_key(clerk, "mine", scopes=["publish"])
    _, granted = ApiKey.objects.create_key(personas.alice(), "granted", scopes=["publish"])
    ApiKey.objects.get_queryset().update(publish_granted=False)
    migration = importlib.import_module("realtime.migrations.0014_publish_rights")
    with connection.schema_editor() as editor:
        migration.keep_rights(apps, editor)
    assert present(personas.token(clerk)).allows("publish")
    assert present(mine).allows("publish")
    assert present(granted).allows("publish")
    clerk.user_permissions.clear()
    assert not present(mine).allows("publish")
    assert present(granted).allows("publish")


def test_an_upgrade_grants_nothing_to_others() -> None:
    personas.alice()
    olga = personas.olga()
    migration = importlib.import_module("realtime.migrations.0014_publish_rights")
    with connection.schema_editor() as editor:
        migration.keep_rights(apps, editor)
    assert not present(personas.token(personas.alice())).allows("publish")
    assert not olga.user_permissions.exists()


def test_the_command_says_when_a_key_may_more_than_its_owner(
    capsys: pytest.CaptureFixture[str],
) -> None:
    personas.alice()
    call_command("create_api_key", "alice", "granted", "--scope", "publish")
    assert "alice may not publish; the key may, by itself." in capsys.readouterr().err


def test_the_command_makes_a_key_that_depends_on_its_owner(
    capsys: pytest.CaptureFixture[str],
) -> None:
    take_away = by_permission(personas.alice())
    call_command("create_api_key", "alice", "mine", "--scope", "publish")
    raw = capsys.readouterr().out.strip()
    assert present(raw).allows("publish")
    take_away()
    assert not present(raw).allows("publish")
