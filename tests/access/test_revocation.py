"""Every change of a credential reaches its open sockets, whichever way it is made."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from django.contrib.auth.models import Group, Permission, User
from django.contrib.auth.models import update_last_login as note_login
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken

from realtime.access.authentication import authenticate
from realtime.access.credentials import credential_from_token
from realtime.access.live_sockets import GROUP
from realtime.access.tokens import SessionRefreshToken
from realtime.models import ApiKey
from tests import personas
from tests.clients import Open
from tests.consumers.conftest import connect, open_socket

__all__ = ["connect", "open_socket"]


@pytest.fixture
def login(transactional_db: None) -> SimpleNamespace:
    alice = personas.alice()
    access, refresh = personas.login(alice)
    key, raw = ApiKey.objects.create_key(alice, "laptop")
    return SimpleNamespace(alice=alice, access=access, refresh=refresh, key=key, raw=raw)


def admin_of_users(login: SimpleNamespace) -> None:
    """An operator takes the tick from Active."""
    client = Client()
    client.force_login(personas.olga())
    user = login.alice
    fields = {"username": user.username, "date_joined_0": "2026-01-01", "date_joined_1": "00:00"}
    answer = client.post(f"/admin/auth/user/{user.pk}/change/", fields)
    assert answer.status_code == 302, answer.context["errors"]
    assert not User.objects.get(pk=user.pk).is_active


def admin_of_keys(login: SimpleNamespace) -> None:
    client = Client()
    client.force_login(personas.olga())
    answer = client.post(f"/admin/realtime/apikey/{login.key.pk}/delete/", {"post": "yes"})
    assert answer.status_code == 302


def blacklist_by_hand(login: SimpleNamespace) -> None:
    """An operator blacklists the refresh token in a shell."""
    jti = SessionRefreshToken(login.refresh)["jti"]
    BlacklistedToken.objects.create(token=OutstandingToken.objects.get(jti=jti))


def save_inactive(login: SimpleNamespace) -> None:
    login.alice.is_active = False
    login.alice.save()


def save_expired(login: SimpleNamespace) -> None:
    login.key.expires_at = timezone.now()
    login.key.save()


def post_refresh(login: SimpleNamespace) -> Any:
    body = {"refresh": login.refresh}
    return APIClient().post("/api/v1/auth/token/refresh", body, format="json")


CHANGES: list[tuple[str, Callable[[SimpleNamespace], Any]]] = [
    ("access", admin_of_users),
    ("raw", admin_of_users),
    ("raw", admin_of_keys),
    ("access", blacklist_by_hand),
    ("access", save_inactive),
    ("access", lambda login: login.alice.delete()),
    ("raw", lambda login: login.alice.delete()),
    ("raw", save_expired),
    ("raw", lambda login: login.key.delete()),
    ("raw", lambda login: ApiKey.objects.filter(pk=login.key.pk).delete()),
    ("raw", lambda login: login.key.rotate()),
]


@pytest.mark.parametrize(("credential", "change"), CHANGES)
async def test_a_change_closes_the_sockets(
    connect: Open,
    login: SimpleNamespace,
    credential: str,
    change: Callable[[SimpleNamespace], Any],
) -> None:
    client = await connect(f"/ws/market-data/AAPL?token={getattr(login, credential)}")
    await sync_to_async(change)(login)
    assert await client.closed() == 4401
    assert client.seen[-1]["code"] == "invalid_token"


def set_password(login: SimpleNamespace) -> None:
    login.alice.set_password("another horse")
    login.alice.save()


async def test_a_new_password_ends_the_logins_and_leaves_the_keys(
    connect: Open, login: SimpleNamespace
) -> None:
    socket = await connect(f"/ws/alerts?token={login.access}")
    with_key = await connect(f"/ws/alerts?token={login.raw}")
    await sync_to_async(set_password)(login)
    assert await socket.closed() == 4401
    assert (await sync_to_async(post_refresh)(login)).status_code == 401
    await with_key.assert_alive()


def test_a_better_hash_of_the_same_password_ends_nothing(login: SimpleNamespace) -> None:
    assert login.alice.check_password(personas.PASSWORD)  # one iteration: it is hashed again
    assert not login.alice.password.startswith("pbkdf2_sha256$1$")
    assert post_refresh(login).status_code == 200


@pytest.mark.parametrize("change", ["set_password", "save_inactive"])
async def test_a_socket_with_the_ticket_of_a_session_ends_with_its_user(
    connect: Open, login: SimpleNamespace, change: str
) -> None:
    def ticket() -> str:
        browser = APIClient()
        browser.force_login(login.alice)
        answer: str = browser.post("/api/v1/auth/ticket").json()["ticket"]
        return answer

    client = await connect(f"/ws/alerts?ticket={await sync_to_async(ticket)()}")
    assert (await client.ask("status"))["credential"]["kind"] == "session"
    login.alice.first_name = "Alice"
    await login.alice.asave()
    await client.assert_alive()
    await sync_to_async(globals()[change])(login)
    assert await client.closed() == 4401


async def announced(change: Callable[[], Any]) -> int:
    """How many announcements a change makes."""
    layer: Any = get_channel_layer()
    channel = await layer.new_channel()
    await layer.group_add(GROUP, channel)
    await sync_to_async(change)()
    await layer.send(channel, {"type": "end"})
    number = 0
    while (await layer.receive(channel))["type"] != "end":
        number += 1
    return number


async def test_what_concerns_nobody_is_not_announced(login: SimpleNamespace) -> None:
    def rename() -> None:
        login.key.name = "other"
        login.key.save(update_fields=["name"])

    def refresh() -> None:
        answer = post_refresh(login)
        assert answer.status_code == 200

    for change in (
        rename,
        refresh,
        lambda: note_login(None, login.alice),
        lambda: ApiKey.objects.touch([login.key], timezone.now()),
        lambda: ApiKey.objects.create_key(login.alice, "new"),
        lambda: User.objects.create_user("newcomer"),
    ):
        assert await announced(change) == 0


async def test_a_change_is_announced_once(login: SimpleNamespace) -> None:
    assert await announced(lambda: save_expired(login)) == 1
    assert await announced(lambda: save_inactive(login)) == 1
    assert await announced(lambda: admin_of_keys(login)) == 1


async def test_a_refresh_token_that_rotation_replaces_leaves_the_login_alone(
    connect: Open, login: SimpleNamespace
) -> None:
    client = await connect(
        "/ws/alerts", headers=[(b"authorization", f"Bearer {login.access}".encode())]
    )
    answer = await sync_to_async(post_refresh)(login)
    assert answer.status_code == 200
    assert await BlacklistedToken.objects.acount() == 1
    await client.assert_alive()
    answer = await sync_to_async(post_refresh)(login)
    assert answer.status_code == 401


def desk_of(user: User) -> Group:
    desk = Group.objects.create(name="desk")
    user.groups.add(desk)
    return desk


# Who holds the permission before, what happens, who may publish then.
PERMISSIONS: list[tuple[list[str], Callable[[User, Group, Permission], Any], bool]] = [
    ([], lambda user, _, may: user.user_permissions.add(may), True),
    ([], lambda _, group, may: group.permissions.add(may), True),
    (["user"], lambda user, _, __: user.user_permissions.clear(), False),
    (["group"], lambda user, group, _: user.groups.remove(group), False),
    (["group"], lambda _, group, __: group.user_set.clear(), False),
    (["group"], lambda _, group, __: group.delete(), False),
]


@pytest.mark.parametrize(("before", "change", "may_publish"), PERMISSIONS)
@pytest.mark.django_db(transaction=True)
def test_a_permission_given_or_taken_counts_at_once(
    before: list[str], change: Callable[[User, Group, Permission], Any], may_publish: bool
) -> None:
    alice = personas.alice()
    publish = Permission.objects.get(content_type__app_label="realtime", codename="publish")
    desk = desk_of(alice)
    for given in before:
        (alice.user_permissions if given == "user" else desk.permissions).add(publish)
    credential = credential_from_token(personas.token(alice), "query")
    authenticate(credential)
    change(alice, desk, publish)
    assert ("publish" in authenticate(credential).scopes) is may_publish
