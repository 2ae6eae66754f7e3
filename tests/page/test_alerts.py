"""Alerts and alert rules on the page: made, tried, fired, noticed, acknowledged."""

import asyncio
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, expect

from realtime.broadcast import broadcast_market_data, send_alert
from tests.clients import wait_for
from tests.page.conftest import Publish
from tests.page.test_login import log_in
from tests.page.visits import Visit
from tests.patience import STOP_SECONDS, scaled
from tests.processes import ROOT, LiveServer, Valkey, process_environment, start_live_server
from tests.test_admin_browser import LOGIN

pytestmark = pytest.mark.asyncio(loop_scope="module")

SPY = """
window.noticed = { titles: [], notes: 0 };
window.Notification = class extends Notification {
  constructor(title, options) {
    super(title, options);
    window.noticed.titles.push(title);
  }
};
const { start } = OscillatorNode.prototype;
OscillatorNode.prototype.start = function (...when) {
  window.noticed.notes += 1;
  return start.apply(this, when);
};
"""


@pytest.fixture(scope="module")
def fed_server(
    tmp_path_factory: pytest.TempPathFactory, migrated_database: Path, own_valkey: Valkey
) -> Iterator[LiveServer]:
    """A server with an engine of alerts beside it, and no feed."""
    directory = tmp_path_factory.mktemp("alerts")
    shutil.copy(migrated_database, directory / "db.sqlite3")
    server = start_live_server("uvicorn", directory, {"REDIS_URL": own_valkey.url})
    engine = subprocess.Popen(
        [sys.executable, "manage.py", "run_alerts"],
        cwd=ROOT, env=process_environment(directory, server.environment),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    yield server
    engine.terminate()
    engine.wait(STOP_SECONDS)
    server.stop()


@pytest.fixture(scope="module")
def session(fed_server: LiveServer) -> str:
    return fed_server.shell(LOGIN).strip()


@pytest_asyncio.fixture(loop_scope="module")
async def visit(browser: Browser) -> AsyncIterator[Visit]:
    """A tab in a browser that may have further ones."""
    context = await browser.new_context()
    yield Visit(await context.new_page())
    await context.close()


async def arrive(visit: Visit, server: LiveServer, session: str) -> None:
    """Open the page as Olga."""
    await log_in(visit, server, session)
    await visit.open(server.port)
    await visit.live()


def item(visit: Visit, message: str) -> Locator:
    return visit.page.locator(".alert", has_text=message)


async def test_a_rule_is_made_from_a_card_tried_fired_noticed_and_acknowledged(
    visit: Visit, fed_server: LiveServer, publish: Publish, session: str
) -> None:
    await visit.page.context.grant_permissions(["notifications"])
    await visit.page.add_init_script(SPY)
    await arrive(visit, fed_server, session)
    card = await visit.add("RULED")
    for price in (147, 151, 149, 149.5):
        await publish(broadcast_market_data, "RULED", {"price": price})
    await expect(card.locator(".price")).to_have_text("149.50")

    # Made from the card, with its symbol and price.
    await card.get_by_role("button", name="Alert me about RULED").click()
    editor = visit.page.locator("[data-rule-editor]")
    await expect(editor.get_by_label("Symbols")).to_have_value("RULED")
    value = editor.get_by_label("Value", exact=True)
    await expect(value).to_have_value("149.5")
    await value.fill("150")
    await editor.get_by_label("Severity").select_option("high")
    await editor.get_by_label("Not again within").fill("1")
    await editor.locator("[data-duration=cooldown]").get_by_label("Unit").select_option("h")
    await editor.get_by_label("Message", exact=True).fill("{symbol} is at {price:.2f}")
    await expect(editor.locator("[data-preview]")).to_have_text("RULED is at 149.50")

    # Tried before it is saved; a chart is told of the firings.
    await visit.page.evaluate(
        "document.addEventListener('rule-firings', ({ detail }) => { window.told = detail; })"
    )
    await editor.get_by_role("button", name="How often would it have fired?").click()
    await expect(editor.locator("[data-summary]")).to_contain_text("fired once, in 4 updates")
    await expect(editor.locator("tbody tr")).to_contain_text(["RULED151.00RULED is at 151.00"])
    told = await visit.page.evaluate("window.told")
    assert (told["symbol"], [each["price"] for each in told["firings"]]) == ("RULED", [151])

    await editor.get_by_role("button", name="Save the rule").click()
    await expect(editor).to_be_hidden()
    rule = visit.page.locator(".rule", has_text="RULED price crosses above 150")
    await expect(rule).to_contain_text("high · RULED · never fired")

    # Noticed by somebody who looks elsewhere.
    await visit.page.get_by_role("button", name="Notify me").click()
    await visit.page.get_by_role("button", name="Sound").click()
    await visit.page.evaluate("document.hasFocus = () => false")
    await fires(publish, item(visit, "RULED is at 151.00"))
    await expect(item(visit, "RULED is at 151.00").first).to_contain_text("only for you")
    # Not wait_for_function, which looks again by eval(): the page's policy forbids that.
    for noticed in ("noticed.titles.includes('high RULED')", "noticed.notes === 2"):
        await wait_for(partial(visit.page.evaluate, noticed))
    await expect(visit.page).to_have_title("(1) ARA Realtime")
    await expect(rule).not_to_contain_text("never fired")

    # Acknowledged here and so in the other tab, too.
    other = Visit(await visit.page.context.new_page())
    await other.open(fed_server.port)
    await expect(other.page).to_have_title("(1) ARA Realtime")
    alert = item(visit, "RULED is at 151.00")
    await alert.get_by_role("button", name="Acknowledge").click()
    await expect(alert).to_contain_text("acknowledged")
    for tab in (visit, other):
        await expect(tab.page).to_have_title("ARA Realtime")
        assert tab.complaints == []


async def fires(publish: Publish, alert: Locator) -> None:
    """Cross 150 until the engine has heard of the rule, which fires once within its cooldown."""
    async with asyncio.timeout(scaled(60)):
        while not await alert.count():
            await publish(broadcast_market_data, "RULED", {"price": 149})
            await publish(broadcast_market_data, "RULED", {"price": 151})
            await alert.page.wait_for_timeout(500)


async def test_what_is_wrong_with_a_rule_is_shown_at_its_field(
    visit: Visit, fed_server: LiveServer, session: str
) -> None:
    await arrive(visit, fed_server, session)
    await visit.page.get_by_role("button", name="New rule").click()
    editor = visit.page.locator("[data-rule-editor]")
    save = editor.get_by_role("button", name="Save the rule")
    await save.click()
    await expect(editor.locator(".rule-row .problem")).to_contain_text("value")
    await editor.get_by_label("Value", exact=True).fill("1")
    await save.click()
    await expect(editor.locator('[data-field="symbols"] .problem')).to_contain_text("1 to 200")
    await expect(editor.get_by_label("Symbols")).to_be_focused()
    await editor.get_by_label("Symbols").fill("AAPL")
    await editor.get_by_label("Message", exact=True).fill("{colour}")
    await save.click()
    problem = editor.locator('[data-field="message"] > .problem')
    await expect(problem).to_contain_text("Unknown field 'colour'")
    await editor.get_by_role("button", name="Cancel").click()
    await expect(visit.page.get_by_role("button", name="New rule")).to_be_focused()


async def test_alerts_of_a_rule_are_sent_to_destinations_that_are_ticked(
    visit: Visit, fed_server: LiveServer, session: str
) -> None:
    await arrive(visit, fed_server, session)
    places = visit.page.locator("[data-destinations]")
    await places.get_by_label("E-mail address, or URL of a chat").fill("nonsense")
    await places.get_by_role("button", name="Add").click()
    await expect(places.locator(".problem")).to_contain_text("neither an e-mail address")
    await places.get_by_label("E-mail address, or URL of a chat").fill("ntfys://ntfy.sh/topic")
    await places.get_by_label("Name").fill("Phone")
    await places.get_by_role("button", name="Add").click()
    place = places.locator("[data-destination]", has_text="Phone")
    await expect(place).to_contain_text("chat")
    await place.get_by_role("button", name="Test").click()
    await expect(visit.said).to_contain_text("A test is on its way.")
    await visit.page.get_by_role("button", name="New rule").click()
    editor = visit.page.locator("[data-rule-editor]")
    await editor.get_by_label("Name").fill("told")
    await editor.get_by_label("Symbols").fill("AAPL")
    await editor.get_by_label("Value", exact=True).fill("1")
    await editor.get_by_label("Phone (ntfys://ntfy.sh/…)").check()
    await editor.get_by_role("button", name="Save the rule").click()
    edit = visit.page.get_by_role("button", name="Edit: told")
    await edit.click()
    await expect(editor.get_by_label("Phone (ntfys://ntfy.sh/…)")).to_be_checked()
    await editor.get_by_role("button", name="Cancel").click()

    await place.get_by_role("button", name="Pause").click()
    await expect(place).to_contain_text("paused")
    await place.get_by_role("button", name="Remove").click()
    await place.get_by_role("button", name="Really remove?").click()
    await expect(place).to_have_count(0)
    await edit.click()
    await expect(editor.get_by_label(re.compile(r"Destination \d+"))).to_be_checked()
    await editor.get_by_role("button", name="Save the rule").click()
    problem = editor.locator('[data-field="destinations"] .problem')
    await expect(problem).to_contain_text("no such destination")
    await editor.get_by_label(re.compile(r"Destination \d+")).uncheck()
    await editor.get_by_role("button", name="Save the rule").click()
    await expect(editor).to_be_hidden()


async def test_own_rules_are_paused_changed_and_deleted(
    visit: Visit, fed_server: LiveServer, session: str
) -> None:
    await arrive(visit, fed_server, session)
    await visit.page.get_by_role("button", name="New rule").click()
    editor = visit.page.locator("[data-rule-editor]")
    await editor.get_by_label("Name").fill("mine")
    await editor.get_by_label("Symbols").fill("AAPL")
    await editor.get_by_label("Value", exact=True).fill("1")
    await editor.get_by_role("button", name="Save the rule").click()
    rule = visit.page.locator(".rule", has_text="mine")
    await rule.get_by_role("button", name="Pause: mine").click()
    await expect(rule).to_contain_text("paused")
    await rule.get_by_role("button", name="Edit: mine").click()
    await editor.get_by_label("Severity").select_option("critical")
    await editor.get_by_role("button", name="Save the rule").click()
    await expect(rule).to_contain_text("critical · AAPL · paused")
    await rule.get_by_role("button", name="Resume: mine").click()
    await expect(rule).not_to_contain_text("paused")
    await rule.get_by_role("button", name="Delete: mine").click()
    await rule.get_by_role("button", name="Really delete?").click()
    await expect(rule).to_have_count(0)
    assert visit.complaints == []


async def test_visitors_without_a_login_are_told_how_to_have_rules(
    visit: Visit, fed_server: LiveServer
) -> None:
    await visit.open(fed_server.port)
    await visit.live()
    note = visit.page.locator("[data-rules-note]")
    await expect(note.get_by_role("link", name="log in")).to_have_attribute(
        "href", re.compile("login")
    )
    await expect(visit.page.get_by_role("button", name="New rule")).to_be_hidden()
    await visit.page.get_by_role("button", name="Alert me about AAPL").click()
    editor = visit.page.locator("[data-rule-editor]")
    await expect(editor).to_contain_text("Rules belong to a user")
    await expect(editor.get_by_label("Symbols")).to_be_hidden()
    assert visit.complaints == []


async def test_alerts_are_filtered_and_marked_as_read_without_a_login(
    visit: Visit, fed_server: LiveServer, publish: Publish
) -> None:
    await visit.open(fed_server.port)
    await visit.live()
    for severity, symbol in (("low", "AAPL"), ("high", "IBM"), ("critical", "AAPL")):
        data: dict[str, Any] = {"message": f"{severity} one", "severity": severity}
        await publish(send_alert, {**data, "symbol": symbol})
    await expect(visit.page).to_have_title("(3) ARA Realtime")
    await expect(visit.page.get_by_text("only for you").first).to_be_hidden()
    for name in ("Sound", "Notify me"):
        button = visit.page.get_by_role("button", name=name)
        await expect(button).to_have_attribute("aria-pressed", "false")
    shown = visit.page.locator(".alert[data-read=no] .alert-message")
    await visit.page.get_by_label("Severity of alerts").select_option("high")
    await expect(shown).to_have_text(["critical one", "high one"])
    await visit.page.get_by_label("Symbol of alerts").fill("aa")
    await expect(shown).to_have_text(["critical one"])
    await visit.page.get_by_role("button", name="Mark these as read").click()
    await expect(visit.page).to_have_title("(2) ARA Realtime")
    await visit.page.get_by_label("Unread").check()
    await expect(visit.page.get_by_text("No alert matches the filter.")).to_be_visible()
    assert visit.complaints == []
