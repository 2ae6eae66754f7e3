"""Access by groups: the union of their rows, and changes that reach open sockets."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.test import Client
from pytest_django import DjangoAssertNumQueries, Settings

from realtime.access.authentication import forget
from realtime.access.groups import of_user
from realtime.models import GroupAccess
from tests import personas
from tests.clients import Open, Socket
from tests.consumers.conftest import connect, open_socket, people
from tests.processes import LiveServer

__all__ = ["connect", "open_socket", "people"]

pytestmark = pytest.mark.django_db(transaction=True)
ADMIN = "/admin/realtime/groupaccess/"


@pytest.fixture(autouse=True)
def _by_groups(settings: Settings) -> None:
    settings.REALTIME_USER_ACCESS = "realtime.access.groups.of_user"
    forget()


def group(name: str, *members: User, **fields: Any) -> GroupAccess:
    row = GroupAccess(group=Group.objects.create(name=name), **fields)
    row.full_clean()
    row.save()
    row.group.user_set.add(*members)
    return row


def test_a_user_without_a_group_reads_nothing_and_a_superuser_everything() -> None:
    assert of_user(personas.alice()).scopes == frozenset()
    assert of_user(personas.olga()).allows("market-data", "*")


def test_a_user_has_what_each_group_has() -> None:
    alice = personas.alice()
    group("crypto", alice, scopes=["market-data"], symbols={"market-data": ["btc*"]})
    group("shares", alice, scopes=["market-data", "alerts"], symbols={"market-data": ["AAPL"]})
    access = of_user(alice)
    read = [each for each in ("BTC-USD", "AAPL", "MSFT", "*") if access.allows("market-data", each)]
    assert read == ["BTC-USD", "AAPL"]
    assert access.allows("alerts")
    assert not access.allows("predictions")


def test_a_group_for_every_symbol_goes_before_one_for_some() -> None:
    alice = personas.alice()
    group("some", alice, scopes=["market-data"], symbols={"market-data": ["BTC*"]})
    group("all", alice, scopes=["market-data"])
    assert of_user(alice).allows("market-data", "*")


def test_a_user_has_the_largest_limit_that_a_group_sets() -> None:
    alice = personas.alice()
    for name, most in (("none", 0), ("few", 2), ("many", 9)):
        group(name, alice, scopes=["alerts"], max_connections=most)
    assert of_user(alice).limits["max_connections"] == 9


def test_many_groups_cost_one_query(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    alice = personas.alice()
    for number in range(3):
        patterns = [f"S{number}X{each}" for each in range(100)]
        group(str(number), alice, scopes=["market-data"], symbols={"market-data": patterns})
    with django_assert_num_queries(1):
        assert of_user(alice).allows("market-data", "S2X99")


@pytest.mark.parametrize(
    "fields", [{"scopes": []}, {"scopes": ["x"]}, {"scopes": ["alerts"], "symbols": {"alerts": 1}}]
)
def test_a_row_that_cannot_be_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        group("odd", **fields)


# Open sockets -----------------------------------------------------------------------------------


def _leave_group(row: GroupAccess, alice: User) -> None:
    alice.groups.remove(row.group)


def _empty_group(row: GroupAccess, alice: User) -> None:
    row.group.user_set.clear()


def _delete_group(row: GroupAccess, alice: User) -> None:
    row.group.delete()


def _delete_row(row: GroupAccess, alice: User) -> None:
    row.delete()


@pytest.mark.parametrize("take_away", [_leave_group, _empty_group, _delete_group, _delete_row])
async def test_a_socket_closes_when_the_access_of_its_user_ends(
    each_layer: str, open_socket: Open, people: SimpleNamespace, take_away: Callable[..., None]
) -> None:
    row = await sync_to_async(group)("shares", people.alice, scopes=["market-data"])
    client = await open_socket(f"/ws/market-data/AAPL?token={people.token}")
    await client.until("connected")
    await sync_to_async(take_away)(row, people.alice)
    assert await client.closed() == 4403


async def test_an_edit_in_the_admin_ends_the_subscriptions_that_it_forbids(
    each_layer: str, connect: Open, people: SimpleNamespace
) -> None:
    row = await sync_to_async(group)("shares", people.alice, scopes=["market-data"])
    client = await connect(f"/ws/market-data?token={people.token}")
    await client.ask("subscribe", symbols=["AAPL", "BTC-USD"])
    await sync_to_async(edit)(row, symbols_market_data="btc*")
    error = await client.until("error")
    assert (error["code"], error["details"]) == ("forbidden", {"symbols": {"AAPL": "forbidden"}})
    assert (await client.ask("status"))["symbols"] == ["BTC-USD"]


def edit(row: GroupAccess, **fields: Any) -> None:
    olga = Client()
    olga.force_login(personas.olga())
    form = {"scopes": ["market-data"], "symbols_predictions": "", "symbols_publish": "", **fields}
    assert olga.post(f"{ADMIN}{row.pk}/change/", form).status_code == 302


# The admin --------------------------------------------------------------------------------------


def test_an_operator_gives_a_group_access_in_the_admin(client: Client) -> None:
    client.force_login(personas.olga())
    traders = Group.objects.create(name="traders")
    form = {"group": traders.pk, "scopes": ["market-data", "alerts"],
            "symbols_market_data": "btc*, aapl", "max_connections": "3"}  # fmt: skip
    assert client.post(f"{ADMIN}add/", form).status_code == 302
    row = GroupAccess.objects.get()
    assert (row.group, row.scopes) == (traders, ["market-data", "alerts"])
    assert (row.symbols, row.max_connections) == ({"market-data": ["BTC*", "AAPL"]}, 3)
    page = client.get(ADMIN).content.decode()
    assert "market-data: BTC*, AAPL; alerts: every symbol" in page


def test_the_form_says_which_pattern_is_wrong(client: Client) -> None:
    client.force_login(personas.olga())
    form = {"group": Group.objects.create(name="traders").pk, "scopes": ["market-data"],
            "symbols_market_data": "BTC!"}  # fmt: skip
    page = client.post(f"{ADMIN}add/", form).content.decode()
    assert "is not a symbol pattern" in page
    assert not GroupAccess.objects.exists()


def test_the_group_of_a_row_stays(client: Client) -> None:
    client.force_login(personas.olga())
    row = group("traders", scopes=["alerts"])
    page = client.get(f"{ADMIN}{row.pk}/change/").content.decode()
    assert 'name="group"' not in page
    assert 'name="symbols_market_data"' in page


# Over processes ---------------------------------------------------------------------------------

SETUP = """
from django.contrib.auth.models import Group
from realtime.models import GroupAccess
from tests import personas
row = GroupAccess.objects.create(
    group=Group.objects.create(name="shares"), scopes=["market-data"],
    symbols={"market-data": ["AAPL", "MSFT"]},
)
row.group.user_set.add(personas.alice())
print(personas.token(personas.alice()))
"""
NARROW = """
from realtime.models import GroupAccess
row = GroupAccess.objects.get()
row.symbols = {"market-data": ["MSFT"]}
row.save()
"""


async def test_a_change_in_one_process_reaches_the_sockets_of_others(
    start_server: Callable[..., LiveServer],
) -> None:
    rule = "realtime.access.groups.of_user"
    servers = [start_server(REALTIME_USER_ACCESS=rule) for _ in range(2)]
    token = (await asyncio.to_thread(servers[0].shell, SETUP)).strip()
    sockets = [await Socket.open(f"{each.ws}/ws/market-data?token={token}") for each in servers]
    for socket in sockets:
        await socket.until("connected")
        assert (await socket.ask("subscribe", symbols=["*"]))["code"] == "forbidden"
        await socket.ask("subscribe", symbols=["AAPL", "MSFT"])
    await asyncio.to_thread(servers[0].shell, NARROW)
    for socket in sockets:
        assert (await socket.until("error"))["details"] == {"symbols": {"AAPL": "forbidden"}}
        assert (await socket.ask("status"))["symbols"] == ["MSFT"]
        await socket.leave()
