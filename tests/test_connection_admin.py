"""Live connections and the overview in the admin."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from playwright.async_api import Page, expect

from realtime.connections import connection_manager
from tests import personas
from tests.browsers import chromium
from tests.clients import Socket, wait_for
from tests.conftest import REDIS
from tests.patience import PATIENCE, scaled
from tests.processes import LiveServer, free_port
from tests.test_admin_browser import LOGIN

Servers = tuple[LiveServer, LiveServer]
LIST = "/admin/realtime/liveconnection/"
SEES = """
from django.contrib.auth.models import Permission
from django.test import Client
from tests import personas
client, user = Client(), personas.carol(is_staff=True)
user.user_permissions.set(Permission.objects.filter(codename="view_liveconnection"))
client.force_login(user)
print(client.cookies["sessionid"].value)
"""
KEY = "from tests import personas; print(personas.bob_key(name='live')[1])"


@pytest.fixture(scope="module")
def servers(module_servers: Callable[..., LiveServer]) -> Servers:
    return module_servers(), module_servers()


@pytest.fixture(scope="module")
def key(servers: Servers) -> str:
    return servers[0].shell(KEY).strip()


@pytest.fixture
async def page(servers: Servers) -> AsyncIterator[Page]:
    """A browser in which Olga is logged in, at the first server."""
    expect.set_options(timeout=scaled(20_000))
    session = servers[0].shell(LOGIN).strip()
    async with chromium() as browser:
        context = await browser.new_context(base_url=servers[0].http)
        url = servers[0].http
        await context.add_cookies([{"name": "sessionid", "value": session, "url": url}])
        yield await context.new_page()


@pytest.mark.slow
async def test_the_admin_of_one_process_ends_a_connection_of_another(
    servers: Servers, key: str, page: Page
) -> None:
    socket = await Socket.open(f"{servers[1].ws}/ws/market-data/AAPL?token={key}")
    await socket.until("connected")
    await page.goto(f"{LIST}?search=aapl")
    await expect(page.locator("#result_list tbody tr")).to_have_count(1)
    await page.get_by_role("link", name="End connection").click()
    await page.get_by_label("What the clients are told").fill("Please come back tomorrow.")
    await page.get_by_role("button", name="End").click()
    await expect(page.get_by_text("Connections ended: 1.")).to_be_visible()
    assert await socket.closed() == 4409
    assert socket.of_type("error")[-1]["message"] == "Please come back tomorrow."


@pytest.mark.slow
async def test_a_page_says_that_an_operator_has_ended_its_connection(
    servers: Servers, page: Page
) -> None:
    """It is of another origin than the admin, and its connection is in another process."""
    theirs = await page.context.new_page()
    await theirs.goto(f"{servers[1].http}/?symbols=OURS")
    tile = theirs.locator(".socket", has_text="Market data")
    await expect(tile).to_have_attribute("data-phase", "live")
    await page.goto(f"{LIST}?channel=market-data&search=ours")
    await page.get_by_role("link", name="End connection").click()
    await page.get_by_label("What the clients are told").fill("Please come back tomorrow.")
    await page.get_by_role("button", name="End").click()
    await expect(tile.locator(".socket-state")).to_have_text("Closed (4409)")
    await expect(tile.locator(".socket-advice")).to_have_text(
        "Please come back tomorrow. Ask the operator of the server before you reconnect."
    )
    await expect(theirs.locator("[data-announcer]")).to_have_text("Market data: closed.")


@pytest.mark.slow
async def test_all_connections_of_a_key_end_together(
    servers: Servers, key: str, page: Page
) -> None:
    sockets = [await Socket.open(f"{each.ws}/ws/alerts?token={key}") for each in servers]
    for socket in sockets:
        await socket.until("connected")
    await page.goto(f"{LIST}?key={key[:12]}")
    await page.get_by_role("link", name="End all of").click()
    await page.get_by_role("button", name="End").click()
    await expect(page.get_by_text("Connections ended: 2.")).to_be_visible()
    assert [await socket.closed() for socket in sockets] == [4409, 4409]


@pytest.mark.slow
async def test_the_index_shows_an_overview_that_renews_itself(servers: Servers, page: Page) -> None:
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda line: errors.append(line.text) if "Policy" in line.text else None)
    await page.goto("/admin/")
    alerts = page.locator("#realtime-overview tr", has_text="alerts").first
    await expect(page.get_by_text("Nobody is connected.")).to_be_visible()
    socket = await Socket.open(f"{servers[1].ws}/ws/alerts")
    await socket.until("connected")
    await expect(alerts.locator("td").first).to_have_text("1")
    await expect(page.locator("#realtime-overview")).to_contain_text("not running")
    await expect(page.locator("#realtime-overview")).to_contain_text(f":{servers[1].process.pid}")
    await socket.leave()
    await page.goto("/admin/realtime/")
    await expect(page.locator("#realtime-overview caption")).to_have_count(3)
    assert errors == []


async def test_who_may_only_look_sees_no_way_to_end(servers: Servers) -> None:
    session = (await asyncio.to_thread(servers[0].shell, SEES)).strip()
    async with httpx.AsyncClient(
        base_url=servers[0].http, cookies={"sessionid": session}, timeout=PATIENCE
    ) as browser:
        socket = await Socket.open(f"{servers[1].ws}/ws/alerts")
        await socket.until("connected")
        shown = await browser.get(LIST)
        assert (shown.status_code, "End connection" in shown.text) == (200, False)
        assert "anonymous" in shown.text
        assert (await browser.get(f"{LIST}end/?id=x")).status_code == 403
        await socket.leave()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", ["", "overview/"])
def test_redis_away_is_said_and_is_not_an_error(client: Any, settings: Any, name: str) -> None:
    hosts = [f"redis://127.0.0.1:{free_port()}"]
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": REDIS, "CONFIG": {"hosts": hosts}}}
    client.force_login(personas.olga())
    answer = client.get(LIST + name)
    assert answer.status_code == 200
    assert "errornote" in answer.content.decode()


@pytest.mark.django_db(transaction=True)
def test_a_list_that_was_asked_for_wrongly_says_so(client: Any) -> None:
    client.force_login(personas.olga())
    for query, text in (
        ("user=nobody", "There is no user"),
        ("key=x", "There is no key ara_x"),
        ("channel=x", "channel: Select a valid choice"),
        ("page=99999999999&sort=x", "Nobody is connected"),
    ):
        answer = client.get(f"{LIST}?{query}").content.decode()
        assert text in answer, query
    assert "Choose a connection" in client.get(f"{LIST}end/").content.decode()


@pytest.mark.django_db(transaction=True)
def test_staff_without_the_permission_see_the_overview_alone(client: Any) -> None:
    client.force_login(personas.carol(is_staff=True))
    assert client.get(LIST).status_code == 403
    assert client.get(LIST + "overview/").status_code == 200


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("redis_layer")
def test_a_project_without_a_feed_is_told_so_and_not_blamed(client: Any, settings: Any) -> None:
    client.force_login(personas.olga())
    del settings.REALTIME_FEED
    assert '<span class="overview-none">none is set</span>' in overview_of(client)
    settings.REALTIME_FEED = "ccxt"
    assert "overview-none" not in overview_of(client)


def overview_of(client: Any) -> str:
    return str(client.get(f"{LIST}overview/").content.decode())


async def test_the_rate_of_a_process_is_told(servers: Servers, settings: Any) -> None:
    hosts = [servers[0].environment["REDIS_URL"]]
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": REDIS, "CONFIG": {"hosts": hosts}}}
    socket = await Socket.open(f"{servers[0].ws}/ws/alerts")
    await socket.until("connected")

    async def asked_often() -> bool:
        for _ in range(20):
            await socket.ask("status")
        found = await asyncio.to_thread(connection_manager.get_by_process)
        return any(each.get("done:sent_per_second", 0) > 0 for each in found.values())

    await wait_for(asked_often, every=0.2)
    await socket.leave()
