"""The page for its user: by the session, by a credential that was entered, or not at all."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests import personas
from tests.page import axe
from tests.page.visits import Proxy, Visit
from tests.processes import LiveServer, Valkey, start_live_server
from tests.test_admin_browser import LOGIN

pytestmark = pytest.mark.asyncio(loop_scope="module")


LOG_OUT = """
from django.test import Client
client = Client()
client.cookies["sessionid"] = {session!r}
client.post("/admin/logout/", headers={{"host": "localhost"}})
"""


@pytest.fixture(scope="module")
def fed_server(
    tmp_path_factory: pytest.TempPathFactory, migrated_database: Path, own_valkey: Valkey
) -> Iterator[LiveServer]:
    """A server as in production: nobody receives without a credential. It has no feed."""
    directory = tmp_path_factory.mktemp("closed")
    shutil.copy(migrated_database, directory / "db.sqlite3")
    environment = {"REDIS_URL": own_valkey.url, "REALTIME_ALLOW_ANONYMOUS": "false"}
    server = start_live_server("uvicorn", directory, environment)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def key(fed_server: LiveServer) -> str:
    code = "from tests import personas; print(personas.bob_key()[1])"
    return fed_server.shell(code).strip()


@pytest.fixture
def session(fed_server: LiveServer) -> str:
    """Olga's, in which she is logged in."""
    return fed_server.shell(LOGIN).strip()


async def log_in(visit: Visit, server: LiveServer, session: str) -> None:
    cookie = {"name": "sessionid", "value": session, "url": server.http}
    await visit.page.context.add_cookies([cookie])  # type: ignore[list-item]


async def test_a_visitor_is_asked_to_log_in_and_comes_back_to_a_live_page(
    visit: Visit, fed_server: LiveServer, session: str
) -> None:
    await visit.open(fed_server.port)
    await expect(visit.page.get_by_text("only to users who are logged in")).to_be_visible()
    await expect(visit.page.locator(".socket").first).to_be_hidden()
    assert visit.complaints == []
    assert await axe.faults(visit.page) == []
    await visit.page.locator(".login").get_by_role("link", name="Log in").click()
    await visit.page.get_by_label("Username").fill("olga")
    await visit.page.get_by_label("Password").fill(personas.PASSWORD)
    await visit.page.get_by_role("button", name="Log in").click()
    await visit.live()
    await expect(visit.page.locator("[data-credential]")).to_have_text("olga")


async def test_a_lost_connection_comes_back_with_another_ticket(
    visit: Visit, fed_server: LiveServer, session: str, proxy: Proxy
) -> None:
    await log_in(visit, fed_server, session)
    await visit.open(proxy.port)
    await visit.live()
    await proxy.cut()
    await expect(visit.notice).to_contain_text("Connection lost")
    await proxy.heal()
    await visit.live()
    await expect(visit.said).to_have_text("Connection is back.")


async def test_a_key_that_was_entered_is_kept_for_the_tab_until_it_is_forgotten(
    visit: Visit, fed_server: LiveServer, key: str
) -> None:
    await visit.open(fed_server.port)
    await visit.page.get_by_role("button", name="Enter a key or token").click()
    await visit.page.get_by_label("JWT or API key").fill(key)
    await visit.page.keyboard.press("Enter")
    await visit.live()
    await visit.page.reload()
    await visit.live()
    await visit.page.locator(".credential summary").click()
    await visit.page.get_by_role("button", name="Forget it").click()
    await expect(visit.page.locator(".login")).to_be_visible()
    assert await visit.page.evaluate("sessionStorage.length") == 0
    assert visit.complaints == []


async def test_a_log_out_elsewhere_asks_to_log_in_again(
    visit: Visit, fed_server: LiveServer, session: str
) -> None:
    await log_in(visit, fed_server, session)
    await visit.open(fed_server.port)
    await visit.live()
    fed_server.shell(LOG_OUT.format(session=session))
    await expect(visit.page.locator(".login")).to_be_visible()
    await expect(visit.page.locator("[data-credential]")).to_have_text("logged out")


async def test_a_bad_key_is_refused_with_its_reason(visit: Visit, fed_server: LiveServer) -> None:
    await visit.open(fed_server.port)
    await visit.page.get_by_role("button", name="Enter a key or token").click()
    await visit.page.get_by_label("JWT or API key").fill("ara_wrong")
    await visit.page.keyboard.press("Enter")
    await expect(visit.page.locator("#token-error")).to_have_text(re.compile("credential|key"))
    await expect(visit.page.locator("[data-credential]")).to_have_text("refused")
