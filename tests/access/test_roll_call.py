"""Operators see the connections of every process, and end them."""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from asgiref.sync import sync_to_async

from realtime.access import roll_call
from realtime.access.roll_call import Roll, call_roll, end_connections
from realtime.access.roster import ConnectionRow, Order, Request, Selection, answer_request
from realtime.broadcast import abroadcast_market_data
from realtime.connections import connection_manager
from tests.access.connections import ListedConnection
from tests.clients import Socket, wait_for
from tests.live import create_people, publish_to
from tests.patience import PATIENCE
from tests.processes import LiveServer
from tests.sse.events import listen

Servers = tuple[LiveServer, LiveServer]
EVERY = Selection()

OPERATORS = """
from django.contrib.auth.models import Permission
from tests import personas
personas.olga()
watcher = personas.carol(is_staff=True)
watcher.user_permissions.set(Permission.objects.filter(codename="view_liveconnection"))
staff = personas._user("dave", is_staff=True)
stranger = personas._user("eve")
stranger.user_permissions.set(Permission.objects.filter(codename__endswith="_liveconnection"))
key = personas.ApiKey.objects.create_key(personas.olga(), "olga")[1]
import json
people = {"olga": personas.olga(), "watcher": watcher, "staff": staff, "stranger": stranger}
tokens = {name: personas.token(user) for name, user in people.items()}
print(json.dumps({"olga_key": key, **tokens}))
"""


@pytest.fixture(scope="module")
def running(module_servers: Callable[..., LiveServer]) -> Servers:
    return module_servers(), module_servers()


@pytest.fixture(scope="module")
def people(running: Servers) -> SimpleNamespace:
    found = create_people(running[0])
    return SimpleNamespace(**vars(found), **json.loads(running[0].shell(OPERATORS)))


@pytest.fixture
def servers(running: Servers, settings: Any) -> Servers:
    """Two processes; this process is a third one, without connections."""
    publish_to(running[0], settings)
    return running


@asynccontextmanager
async def connected(*urls: str) -> AsyncIterator[list[Socket]]:
    async with AsyncExitStack() as stack:
        sockets = []
        for url in urls:  # one begins after the other, whichever process serves it
            sockets.append(socket := await Socket.open(url))
            stack.push_async_callback(socket.leave)
            await socket.until("connected")
        yield sockets


async def rows(selection: Selection = EVERY, **order: Any) -> list[ConnectionRow]:
    return (await call_roll(selection, Order(**order))).rows


async def both_seen(count: int = 2) -> list[ConnectionRow]:
    """The rows, once so many connections are counted: a lease is written a little later."""

    async def all_there() -> list[ConnectionRow]:
        found = await rows()
        return found if len(found) == count else []

    found: list[ConnectionRow] = await wait_for(all_there)
    return found


async def test_the_connections_of_all_processes_are_listed(
    servers: Servers, people: SimpleNamespace
) -> None:
    one, two = servers
    urls = (f"{one.ws}/ws/market-data/AAPL?token={people.key}", f"{two.ws}/ws/alerts")
    async with connected(*urls):
        mine, theirs = sorted(await both_seen(), key=lambda row: row["channel"], reverse=True)
        assert (mine["user"], mine["credential"]) == ("bob", "api_key")
        assert (mine["channel"], mine["symbols"], mine["symbol_count"]) == (
            "market-data", ["AAPL"], 1,
        )  # fmt: skip
        assert (mine["address"], mine["transport"]) == ("127.0.0.1", "websocket")
        assert abs(time.time() - mine["since"]) < PATIENCE
        assert mine["sent"] >= 1
        assert (theirs["user"], theirs["user_id"], theirs["credential"]) == ("", None, "anonymous")
        assert mine["process"].endswith(f":{one.process.pid}")
        assert theirs["process"].endswith(f":{two.process.pid}")


async def test_no_secret_is_in_a_row(servers: Servers, people: SimpleNamespace) -> None:
    urls = [f"{servers[0].ws}/ws/alerts?token={each}" for each in (people.key, people.token)]
    async with connected(*urls):
        told = json.dumps(await both_seen())
        for secret in (people.key.split("_")[2], people.token.split(".")[2]):
            assert secret not in told


async def test_a_selection_narrows_and_an_order_sorts(
    servers: Servers, people: SimpleNamespace
) -> None:
    one, two = servers
    urls = (
        f"{one.ws}/ws/market-data/AAPL?token={people.key}",
        f"{two.ws}/ws/market-data/MSFT?token={people.token}",
        f"{two.ws}/ws/alerts",
    )
    async with connected(*urls):
        await both_seen(3)
        assert [row["user"] for row in await rows(by="user")] == ["", "alice", "bob"]
        first = await call_roll(Selection(), Order("user", True, 1))
        assert (first.count, [row["user"] for row in first.rows]) == (3, ["bob"])
        for selection, users in (
            (Selection(channel="market-data"), {"alice", "bob"}),
            (Selection(user_id=people.alice_id), {"alice"}),
            (Selection(search="msft alice"), {"alice"}),
            (Selection(search="MSFT bob"), set()),
        ):
            assert {row["user"] for row in await rows(selection)} == users, selection


async def test_an_ended_connection_is_told_why_in_another_process(
    servers: Servers, people: SimpleNamespace
) -> None:
    async with connected(f"{servers[1].ws}/ws/market-data/AAPL?token={people.key}") as (socket,):
        (row,) = await both_seen(1)
        roll = await end_connections(Selection(id=row["id"]), "Please use one connection.", "olga")
        assert roll.count == 1
        assert await socket.closed() == 4409
        error = socket.of_type("error")[-1]
        assert (error["code"], error["retry"]) == ("disconnected", False)
        assert error["message"] == "Please use one connection."
        assert socket.connection.close_reason == "Please use one connection."


async def test_those_of_a_key_end_in_every_process_and_no_others(
    servers: Servers, people: SimpleNamespace
) -> None:
    bobs = [f"{each.ws}/ws/market-data/AAPL?token={people.key}" for each in servers]
    async with connected(*bobs, f"{servers[0].ws}/ws/alerts?token={people.token}") as sockets:
        await both_seen(3)
        (row, *_) = await rows(Selection(search="bob"))
        roll = await end_connections(Selection(key_id=row["key_id"]), "", "olga")
        assert roll.count == 2
        assert [await socket.closed() for socket in sockets[:2]] == [4409, 4409]
        await sockets[2].assert_alive()


async def test_server_sent_events_are_connections_too(servers: Servers) -> None:
    async with listen(f"{servers[0].http}/sse/market-data/AAPL") as events:
        await events.next()
        (row,) = await both_seen(1)
        assert (row["transport"], row["symbols"], row["rtt_ms"]) == ("sse", ["AAPL"], None)
        await end_connections(Selection(id=row["id"]), "", "olga")
        while (message := await events.next())["type"] != "error":
            pass
        assert message["code"] == "disconnected"


async def test_what_waits_for_a_slow_reader_is_told(servers: Servers) -> None:
    async with connected(f"{servers[0].ws}/ws/market-data/SLOW") as (socket,):
        await abroadcast_market_data("SLOW", {"price": 1})
        await socket.until("market_data_update")
        (row,) = await both_seen(1)
        assert (row["sent"], row["waiting_bytes"]) == (2, 0)


async def both_have_leases() -> bool:
    return len(await sync_to_async(connection_manager.get_processes)()) == 2


async def test_a_process_that_does_not_answer_is_named(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = servers
    async with connected(f"{one.ws}/ws/alerts", f"{two.ws}/ws/alerts"):
        await both_seen()
        await wait_for(both_have_leases)
        monkeypatch.setattr(roll_call, "PATIENCE", 0.5)
        two.process.send_signal(signal.SIGSTOP)
        try:
            roll: Roll = await call_roll(Selection(), Order())
        finally:
            two.process.send_signal(signal.SIGCONT)
        assert [row["process"].split(":")[1] for row in roll.rows] == [str(one.process.pid)]
        assert [name.split(":")[1] for name in roll.silent] == [str(two.process.pid)]


# Over HTTP ----------------------------------------------------------------------------------------


@asynccontextmanager
async def api_of(server: LiveServer, token: str) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {token}"}
    base = f"{server.http}/api/v1/connections/"
    async with httpx.AsyncClient(base_url=base, headers=headers, timeout=PATIENCE) as api:
        yield api


async def test_staff_list_and_end_connections_over_http(
    servers: Servers, people: SimpleNamespace
) -> None:
    one, two = servers
    urls = (f"{one.ws}/ws/market-data/AAPL?token={people.key}", f"{two.ws}/ws/alerts")
    async with connected(*urls) as (bobs, _), api_of(two, people.olga) as api:
        await both_seen()
        page = (await api.get("", params={"user": "bob"})).json()
        (found,) = page["connections"]
        assert (page["count"], page["silent"]) == (1, [])
        assert found["key"] == "_".join(people.key.split("_")[:2])
        assert (await api.get(found["id"])).json()["id"] == found["id"]
        assert (await api.get("", params={"key": found["key"]})).json()["count"] == 1
        assert (await api.delete(found["id"])).status_code == 204
        assert await bobs.closed() == 4409
        assert (await api.delete(found["id"])).status_code == 404


async def test_pages_of_a_list_continue_each_other(servers: Servers, people: Any) -> None:
    urls = [f"{servers[number % 2].ws}/ws/market-data/P{number}" for number in range(5)]
    async with connected(*urls), api_of(servers[0], people.olga) as api:
        await both_seen(5)
        seen = []
        for offset in (0, 2, 4):
            params = {"limit": 2, "offset": offset, "sort": "since"}
            page = (await api.get("", params=params)).json()
            assert (page["count"], page["silent"]) == (5, [])
            seen += [each["symbols"][0] for each in page["connections"]]
        assert seen == [f"P{number}" for number in range(5)]


async def test_all_of_a_user_end_with_one_request(servers: Servers, people: Any) -> None:
    urls = [f"{each.ws}/ws/alerts?token={people.token}" for each in servers]
    async with connected(*urls) as sockets, api_of(servers[0], people.olga) as api:
        await both_seen()
        answer = await api.delete("", params={"user": "alice", "reason": "Maintenance."})
        assert answer.json() == {"ended": 2, "silent": []}
        assert [await socket.closed() for socket in sockets] == [4409, 4409]


async def test_to_end_connections_names_whose(servers: Servers, people: SimpleNamespace) -> None:
    async with api_of(servers[0], people.olga) as api:
        for params, field in (({}, "user"), ({"user": "nobody"}, "user"), ({"key": "x"}, "key")):
            answer = await api.delete("", params=params)
            assert (answer.status_code, list(answer.json())) == (400, [field])
        assert (await api.get("", params={"sort": "secret"})).status_code == 400
        assert (await api.get("", params={"limit": 501})).status_code == 400


@pytest.mark.parametrize(
    ("name", "may_see", "may_end"),
    [
        ("olga", True, True),
        ("watcher", True, False),
        ("staff", False, False),  # without a permission
        ("stranger", False, False),  # with both permissions, but not staff
        ("token", False, False),
        ("olga_key", False, False),  # a key that leaked must not do this
    ],
)
async def test_only_staff_with_the_permission_may(
    servers: Servers, people: SimpleNamespace, name: str, may_see: bool, may_end: bool
) -> None:
    async with api_of(servers[0], getattr(people, name)) as api:
        assert (await api.get("")).status_code == (200 if may_see else 403)
        assert (await api.get("x")).status_code == (404 if may_see else 403)
        assert (await api.delete("x")).status_code == (404 if may_end else 403)
        answer = await api.delete("", params={"user": "bob"})
        assert answer.status_code == (200 if may_end else 403)


# The command --------------------------------------------------------------------------------------


async def test_the_command_lists_and_ends(servers: Servers, people: SimpleNamespace) -> None:
    url = f"{servers[1].ws}/ws/market-data/AAPL?token={people.key}"
    manage = servers[0].manage
    async with connected(url, url) as sockets:
        ids = {row["id"] for row in await both_seen()}
        listed = json.loads(await asyncio.to_thread(manage, "connections", "--json"))
        assert {each["id"] for each in listed["connections"]} == ids
        table = await asyncio.to_thread(manage, "connections", "--user", "bob")
        assert all(id in table for id in ids)
        said = await asyncio.to_thread(manage, "connections", "--disconnect", "--user", "bob")
        assert said == "2 ended.\n"
        assert [await socket.closed() for socket in sockets] == [4409, 4409]


# Many connections, without a server ---------------------------------------------------------------


MANY: Any = {each.connection_id: each for each in map(ListedConnection, range(10_000))}


async def turns_during(request: Request) -> tuple[list[Any], int]:
    """The pages of an answer, and how many turns of the event loop it left to others."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    pages = [page async for page in answer_request(MANY, request)]
    counting.cancel()
    return pages, turns


async def test_ten_thousand_connections_leave_the_event_loop_to_others() -> None:
    order = Order("sent", True, 500)
    pages, turns = await turns_during(Request(selection=Selection(search="user"), order=order))
    assert turns >= 400  # 25 connections in a turn
    assert [len(page["rows"]) for page in pages] == [200, 200, 100]
    assert [page["count"] for page in pages] == [10_000] * 3
    sent = [row["sent"] for page in pages for row in page["rows"]]
    assert sent == list(range(9_999, 9_499, -1))


async def test_ten_thousand_connections_end_in_turns() -> None:
    pages, turns = await turns_during(Request(selection=Selection(), end_reason="Good night."))
    assert (pages[0]["count"], turns >= 800) == (10_000, True)
    assert {each.ended for each in MANY.values()} == {"Good night."}
