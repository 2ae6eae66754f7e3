"""API keys and alert rules in the admin, in a real browser: what a person does with them."""

import json
import re
from collections.abc import AsyncIterator, Callable

import pytest
from playwright.async_api import Page, expect

from tests.browsers import chromium
from tests.patience import scaled
from tests.processes import LiveServer
from tests.webhooks.conftest import Worker
from tests.webhooks.receiver import Receiver, status

expect.set_options(timeout=scaled(20_000))
RAW = re.compile(r"ara_[a-z0-9]{8}_[A-Za-z0-9]{32}")
LOGIN = """
from django.test import Client
from tests import personas
client = Client()
client.force_login(personas.olga())
print(client.cookies["sessionid"].value)
"""


@pytest.fixture
def live(start_server: Callable[..., LiveServer]) -> LiveServer:
    return start_server(REALTIME_WEBHOOK_ALLOWED_HOSTS="127.0.0.1")


@pytest.fixture
async def page(live: LiveServer) -> AsyncIterator[Page]:
    """The list of keys, in a browser in which Olga is logged in."""
    server = live
    session = server.shell(LOGIN).strip()
    async with chromium() as browser:
        context = await browser.new_context(base_url=server.http)
        await context.grant_permissions(["clipboard-read", "clipboard-write"])
        await context.add_cookies([{"name": "sessionid", "value": session, "url": server.http}])
        page = await context.new_page()
        await page.goto("/admin/realtime/apikey/")
        yield page


async def shown_key(page: Page) -> str:
    raw = await page.locator("#raw-key").input_value()
    assert RAW.fullmatch(raw)
    return raw


async def test_a_key_is_created_copied_rotated_and_revoked(page: Page) -> None:
    await page.get_by_role("link", name="Add API key").click()
    await page.get_by_label("Name:").fill("laptop")
    await page.get_by_label("publish: send updates").check()
    await page.get_by_role("button", name="Save").click()
    raw = await shown_key(page)
    await page.get_by_role("button", name="Copy").click()
    await expect(page.get_by_text("Copied", exact=True)).to_be_visible()
    assert await page.evaluate("navigator.clipboard.readText()") == raw

    # A reload shows the key's page: neither the secret again nor a second key.
    await page.reload()
    await expect(page.get_by_role("heading", name="Change API key")).to_be_visible()
    assert raw not in await page.content()

    await page.get_by_role("link", name="Rotate").click()
    await page.get_by_label("After 1 hour").check()
    await page.get_by_role("button", name="Rotate").click()
    assert await shown_key(page) != raw
    await page.get_by_role("link", name="Done").click()
    await expect(page.locator("#result_list tbody tr")).to_have_count(1)

    await page.get_by_role("link", name="laptop").click()
    await page.get_by_role("link", name="Revoke").click()
    await page.get_by_role("button", name="Revoke the key").click()
    await expect(page.locator("#result_list .key-revoked")).to_have_count(1)


ENDPOINT = """
from tests import personas
from tests.webhooks.conftest import endpoint
print(endpoint(personas.olga(), {url!r}).pk)
"""


async def test_the_result_of_a_webhook_test_appears_by_itself(page: Page, live: LiveServer) -> None:
    with Receiver(status(418, b"I am a teapot")).running() as receiver:
        number = live.shell(ENDPOINT.format(url=receiver.url)).strip()
        await page.goto(f"/admin/realtime/webhookendpoint/{number}/test/")
        await page.get_by_role("button", name="Send test event").click()
        await expect(page.get_by_text("is on its way to")).to_be_visible()
        worker = Worker(live.directory, live.environment)
        try:
            await expect(page.get_by_text("The receiver answered 418")).to_be_visible()
        finally:
            worker.stop()
    await expect(page.get_by_text("I am a teapot")).to_be_visible()


async def test_going_back_does_not_show_a_key_again(page: Page) -> None:
    await page.get_by_role("link", name="Add API key").click()
    await page.get_by_label("Name:").fill("laptop")
    await page.get_by_role("button", name="Save").click()
    raw = await shown_key(page)
    await page.get_by_role("link", name="Done").click()
    await expect(page.locator("#result_list tbody tr")).to_have_count(1)
    await page.go_back()
    assert raw not in await page.content()


async def test_a_rule_is_composed_tried_and_saved_without_writing_json(page: Page) -> None:
    await page.goto("/admin/realtime/alertrule/add/")
    await page.get_by_label("Everybody").check()
    await page.get_by_label("Symbols").fill("AAPL, MSFT")
    await page.get_by_role("button", name="Add a group").first.click()
    row = page.locator(".rule-rows .rule-rows .rule-row")
    await row.get_by_label("Condition", exact=True).select_option("percent_move")
    await row.get_by_label("Value (%)").fill("2,5")
    await row.get_by_label("Direction").select_option("down")

    # What is wrong stands where it is, and is gone when it is right.
    await page.get_by_role("button", name="How often would it have fired?").click()
    await expect(row.locator(".problem")).to_have_text("Enter a number.")
    await row.get_by_label("Value (%)").fill("2.5")
    await page.get_by_role("button", name="How often would it have fired?").click()
    await expect(page.locator("[data-summary]")).to_contain_text("no such past of these symbols")
    await expect(row.locator(".problem")).to_be_empty()

    move = {"type": "percent_move", "value": 2.5, "window": 300, "direction": "down"}
    above = {"type": "above", "value": 150}
    written = {
        "symbols": ["AAPL", "MSFT"],
        "conditions": [above, {"type": "any", "conditions": [move]}],
    }
    json_input = page.locator("#id_definition")
    assert json.loads(await json_input.input_value()) == written
    await page.get_by_role("button", name="Save", exact=True).click()
    await page.locator("#result_list tbody a").first.click()
    assert json.loads(await json_input.input_value()) == written


async def test_json_that_is_written_changes_the_inputs(page: Page) -> None:
    await page.goto("/admin/realtime/alertrule/add/")
    await page.get_by_text("As JSON").click()
    json_input = page.locator("#id_definition")
    await json_input.fill('{"symbols": ["IBM"], "escalate_to": 3, "conditions": [{"type": "any"')
    await expect(page.get_by_text("This is not a JSON object.")).to_be_visible()
    rule = {"symbol": "IBM", "condition": "stale", "seconds": 7200, "escalate_to": 3}
    await json_input.fill(json.dumps(rule))
    await expect(page.get_by_text("This is not a JSON object.")).to_be_hidden()
    row = page.locator(".rule-row")
    await expect(row.get_by_label("For", exact=True)).to_have_value("2")
    await expect(row.get_by_label("Unit")).to_have_value("h")
    await page.get_by_label("Symbols").fill("MSFT")
    assert json.loads(await json_input.input_value()) == {
        "symbols": ["MSFT"],
        "conditions": [{"type": "stale", "seconds": 7200}],
        "escalate_to": 3,
    }


DESTINATION = """
from realtime.webhooks.destinations import new_destination
from tests import personas
print(new_destination(personas.olga(), "ntfys://ntfy.sh/a-topic").pk)
"""


async def test_the_destinations_of_the_owner_of_a_rule_are_offered(
    page: Page, live: LiveServer
) -> None:
    number = live.shell(DESTINATION).strip()
    await page.goto("/admin/realtime/alertrule/add/")
    await expect(page.get_by_text("no e-mail address or chat")).to_be_visible()
    await page.get_by_label("Symbols").fill("AAPL")
    await page.locator(".rule-row").get_by_label("Value").fill("1")
    await page.locator(".field-owner .select2-selection").click()
    await page.locator(".select2-search__field").fill("olga")
    await page.get_by_role("option", name=re.compile("olga")).click()
    await page.get_by_label("ntfy.sh").check()
    await page.get_by_role("button", name="Save", exact=True).click()
    await page.locator("#result_list tbody a").first.click()
    await expect(page.get_by_label("ntfy.sh")).to_be_checked()
    written = json.loads(await page.locator("#id_definition").input_value())
    assert written["destinations"] == [int(number)]


async def test_what_saving_refuses_is_shown_at_its_row(page: Page) -> None:
    await page.goto("/admin/realtime/alertrule/add/")
    await page.get_by_label("Everybody").check()
    await page.locator(".rule-row").get_by_label("Value").fill("")
    await page.get_by_role("button", name="Save", exact=True).click()
    problem = page.locator(".rule-row .problem")
    await expect(problem).to_have_text(re.compile("missing required field", re.IGNORECASE))
