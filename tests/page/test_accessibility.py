"""axe-core finds nothing on the page in any of its states, nor on our other pages."""

import re

import pytest
from playwright.async_api import expect

from realtime.broadcast import send_alert
from tests.page import axe
from tests.page.conftest import Publish
from tests.page.visits import Proxy, Visit
from tests.processes import LiveServer
from tests.test_admin_browser import LOGIN

pytestmark = pytest.mark.asyncio(loop_scope="module")
HIGHLIGHT = """() => {
  document.body.style.outlineColor = "Highlight";
  return getComputedStyle(document.body).outlineColor;
}"""
# Widgets of Django's admin: its path of links, fields of date and time, and selects with a search.
DJANGO = (".breadcrumbs", ".vDateField", ".vTimeField", ".select2")


@pytest.fixture(scope="module")
def session(fed_server: LiveServer) -> str:
    """Olga's, who is an operator."""
    return fed_server.shell(LOGIN).strip()


async def log_in(visit: Visit, server: LiveServer, session: str) -> None:
    cookie = {"name": "sessionid", "value": session, "url": server.http}
    await visit.page.context.add_cookies([cookie])  # type: ignore[list-item]


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_live_page(
    visit: Visit, fed_server: LiveServer, publish: Publish, scheme: str
) -> None:
    await visit.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
    await visit.open(fed_server.port)
    await visit.live()
    await publish(send_alert, {"message": f"seen in {scheme}", "severity": "critical"})
    await expect(visit.alert(f"seen in {scheme}")).to_be_visible()
    await expect(visit.page.locator("[data-symbol=AAPL] .price")).to_have_text(re.compile(r"\d"))
    assert await axe.faults(visit.page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_page_with_everything_open(
    visit: Visit, fed_server: LiveServer, session: str, scheme: str
) -> None:
    await visit.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
    await log_in(visit, fed_server, session)
    await visit.open(fed_server.port)
    await visit.live()
    await visit.page.evaluate(
        "for (const part of document.querySelectorAll('details')) part.open = true"
    )
    card = visit.page.locator("[data-symbol=AAPL]")
    await card.get_by_role("button", name="Chart of AAPL").click()
    await expect(visit.page.locator("[data-chart] canvas").first).to_be_visible()
    await card.get_by_role("button", name="Alert me about AAPL").click()
    await expect(visit.page.locator("[data-rule-editor]")).to_be_visible()
    assert await axe.faults(visit.page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_symbols_as_a_table(visit: Visit, fed_server: LiveServer, scheme: str) -> None:
    await visit.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
    await visit.page.goto(f"{fed_server.http}/?view=table&sort=-price")
    await visit.live()
    await expect(visit.page.locator("[data-symbol=AAPL] .band")).to_have_text(re.compile(r"\d"))
    assert await axe.faults(visit.page) == []


async def test_a_page_in_colours_of_the_system(
    visit: Visit, fed_server: LiveServer, session: str
) -> None:
    await visit.page.emulate_media(forced_colors="active", reduced_motion="reduce")
    await log_in(visit, fed_server, session)
    await visit.page.goto(f"{fed_server.http}/?chart=AAPL")
    await visit.live()
    await expect(visit.page.locator("[data-chart] canvas").first).to_be_visible()
    assert await axe.faults(visit.page) == []
    line = visit.page.locator(".spark-line").first
    highlight = await visit.page.evaluate(HIGHLIGHT)
    assert await line.evaluate("(element) => getComputedStyle(element).stroke") == highlight


async def test_a_page_that_has_lost_its_connection(visit: Visit, proxy: Proxy) -> None:
    await visit.page.emulate_media(reduced_motion="reduce")
    await visit.open(proxy.port)
    await visit.live()
    await proxy.cut()
    await expect(visit.notice).to_have_text(re.compile("Connection lost"))
    assert await axe.faults(visit.page) == []


@pytest.mark.parametrize(
    "path",
    [
        "/admin/",
        "/admin/realtime/",
        "/admin/realtime/apikey/add/",
        "/admin/realtime/alertrule/add/",
        "/admin/realtime/liveconnection/",
        "/api/v1/asyncapi",
    ],
)
async def test_a_page_beside_it(
    visit: Visit, fed_server: LiveServer, session: str, path: str
) -> None:
    await log_in(visit, fed_server, session)
    await visit.page.goto(f"{fed_server.http}{path}")
    assert await axe.faults(visit.page, exclude=DJANGO) == []


async def test_the_api_document(visit: Visit, fed_server: LiveServer) -> None:
    """What Swagger UI draws inside is its own."""
    await visit.page.goto(f"{fed_server.http}/api/v1/docs")
    await expect(visit.page.locator(".swagger-ui .info").first).to_be_visible()
    assert await axe.faults(visit.page, exclude=("#swagger-ui",)) == []
