"""The page at `/` in a real browser, against a real server and a real feed."""

import asyncio
import re
import shlex
import signal

import httpx
import pytest
from playwright.async_api import Locator, expect

from realtime.broadcast import (
    broadcast_market_data,
    broadcast_prediction_outcomes,
    broadcast_prediction_update,
    send_alert,
)
from realtime.protocol import PredictionOutcome
from tests.page.conftest import Publish
from tests.page.visits import Proxy, Visit
from tests.processes import ROOT, LiveServer, Valkey, start_live_server

pytestmark = pytest.mark.asyncio(loop_scope="module")
COUNT_CHANGES = """(element) => {
  element.changes = 0;
  new MutationObserver(() => { element.changes += 1; }).observe(element, { childList: true });
}"""
SYMBOLS = ("AAPL", "FB", "GOOG", "IBM", "MSFT")


async def test_prices_and_predictions_of_five_symbols_move(
    visit: Visit, fed_server: LiveServer
) -> None:
    await visit.open(fed_server.port)
    await visit.live()
    for symbol in SYMBOLS:
        card = visit.page.locator(f"[data-symbol={symbol}]")
        await expect(card.locator(".price")).to_have_text(re.compile(r"\d"))
        price = await card.locator(".price").inner_text()
        await expect(card.locator(".price")).not_to_have_text(price)
        await expect(card.locator(".spark-line")).to_have_attribute("d", re.compile("^M.*L"))
        await expect(card.locator("[data-value=point]")).to_have_text(re.compile(r"\d"))
        await expect(card.locator("[data-value=confidence]")).to_contain_text("90 % confidence")
        await expect(card.locator(".range-band")).to_have_attribute("width", re.compile(r"\d%"))
    assert visit.complaints == []


async def test_a_card_shows_the_score_of_its_model_and_the_last_outcome(
    visit: Visit, fed_server: LiveServer, publish: Publish
) -> None:
    await visit.open(fed_server.port)
    await visit.live()
    card = await visit.add("SCORED")
    score = {"outcomes": 200, "within_bounds": 0.91, "nominal": 0.9, "directional_accuracy": 0.56}
    data = {"predicted_price": 150.25, "score": score}
    await publish(broadcast_prediction_update, "SCORED", data)
    await expect(card.locator("[data-value=held]")).to_have_text("91 % in band (90 % promised)")
    await expect(card.locator("[data-value=lately]")).to_have_text(
        "direction right 56 % · last 200"
    )
    outcome = PredictionOutcome(
        symbol="SCORED", prediction_id="1", predicted_price=150.25, actual_price=151.0,
        error=0.75, within_bounds=True,
    )  # fmt: skip
    await publish(broadcast_prediction_outcomes, [outcome])
    outcome_line = card.locator("[data-value=outcome]")
    await expect(outcome_line).to_have_text("✓ became 151.00, predicted 150.25")
    assert visit.complaints == []


async def test_a_card_with_all_of_its_lines_is_not_higher_than_before(
    visit: Visit, fed_server: LiveServer, publish: Publish
) -> None:
    """Another height would move the cards below it, and the click of somebody."""
    await visit.open(fed_server.port)
    await visit.live()
    card = await visit.add("FILLED")
    empty = await card.bounding_box()
    score = {"outcomes": 200, "within_bounds": 0.91, "nominal": 0.9, "directional_accuracy": 0.56}
    predicted = {
        "predicted_price": 150.25, "lower_bound": 140.0, "upper_bound": 160.0, "confidence": 0.9,
        "horizon": 5, "model": "random_walk", "score": score,
    }  # fmt: skip
    await publish(broadcast_market_data, "FILLED", {"price": 149.0, "volume": 14_400_000})
    await publish(broadcast_prediction_update, "FILLED", predicted)
    outcome = PredictionOutcome(
        symbol="FILLED", prediction_id="1", predicted_price=150.25, actual_price=151.0,
        error=0.75, within_bounds=True,
    )  # fmt: skip
    await publish(broadcast_prediction_outcomes, [outcome])
    for line in ("confidence", "held", "outcome", "volume"):
        await expect(card.locator(f"[data-value={line}]")).to_have_text(re.compile(r"\d"))
    filled = await card.bounding_box()
    assert empty is not None
    assert filled is not None
    assert filled["height"] == empty["height"]


async def test_the_buttons_of_a_card_stay_where_they_are_when_its_price_comes(
    visit: Visit, fed_server: LiveServer, publish: Publish
) -> None:
    await visit.open(fed_server.port)
    await visit.live()
    card = await visit.add("STEADY")
    names = ("Chart of STEADY", "Alert me about STEADY", "Remove STEADY")
    buttons = [card.get_by_role("button", name=name) for name in names]
    before = [await place_in_page(button) for button in buttons]
    await publish(broadcast_market_data, "STEADY", {"price": 1.0, "source": "replay"})
    await expect(card.locator(".price")).to_have_text("1.00")
    await expect(card.locator("[data-chip=source]")).to_be_visible()
    assert [await place_in_page(button) for button in buttons] == before


async def place_in_page(button: Locator) -> list[float]:
    """Not in the window: Chromium scrolls to the focused input when it likes to."""
    place: list[float] = await button.evaluate("""(button) => {
        const { x, y, width, height } = button.getBoundingClientRect();
        return [x + scrollX, y + scrollY, width, height];
    }""")
    return place


async def test_a_replay_is_labelled_as_one(visit: Visit, fed_server: LiveServer) -> None:
    await visit.open(fed_server.port)
    label = visit.page.get_by_text("Historical replay, 2000-2013 daily bars, not live prices")
    await expect(label).to_be_visible()
    await expect(visit.page.locator("[data-symbol=IBM] [data-chip=source]")).to_have_text("replay")


async def test_a_prediction_comes_on_request(visit: Visit, fed_server: LiveServer) -> None:
    await visit.open(fed_server.port)
    card = visit.page.locator("[data-symbol=AAPL]")
    await expect(card.locator(".price")).to_have_text(re.compile(r"\d"))
    await card.get_by_role("button", name="Request prediction for AAPL").click()
    await expect(card.locator("[data-value=request]")).to_have_text(re.compile("Answered in"))
    answer = await card.locator("[data-value=request]").inner_text()
    point = card.locator("[data-value=point]")
    await expect(point).not_to_have_text(await point.inner_text())  # the next one of the feed
    assert re.match(r"[\d.]+ \([\d.]+ to [\d.]+\), 1 step ahead", answer)
    await expect(card.locator("[data-value=request]")).to_have_text(answer)


async def test_a_refused_prediction_says_why(visit: Visit, fed_server: LiveServer) -> None:
    await visit.open(fed_server.port)
    await visit.live()
    card = await visit.add("NEVER")
    await card.get_by_role("button", name="Request prediction for NEVER").click()
    await expect(card.locator("[data-value=request]")).to_have_text(re.compile("NEVER.*[.]$"))
    await expect(card.locator("[data-do=predict]")).to_be_enabled()


async def test_a_broken_connection_shows_it_and_recovers_what_was_missed(
    visit: Visit, fed_server: LiveServer, publish: Publish, proxy: Proxy
) -> None:
    await visit.open(proxy.port)
    await visit.live()
    card = await visit.add("GAPPY")
    await publish(send_alert, {"message": "before"})
    await expect(visit.alert("before")).to_be_visible()

    await proxy.cut()
    waiting = visit.page.locator(".socket[data-phase=waiting] .socket-state").first
    await expect(waiting).to_have_text(re.compile(r"Reconnecting in \d+ s"))
    await publish(send_alert, {"message": "during one"})
    await publish(send_alert, {"message": "during two"})
    await publish(broadcast_market_data, "GAPPY", {"price": 123.45})

    await proxy.heal()
    await visit.live()
    newest = visit.page.locator(".alert-message")
    await expect(newest).to_have_text(["during two", "during one", "before"])
    await card.scroll_into_view_if_needed()  # the tiles of the sockets have lines of advice now
    await expect(card.locator(".price")).to_have_text("123.45")


async def test_a_restarting_server_sends_the_page_to_another_one(
    visit: Visit, fed_server: LiveServer, publish: Publish, proxy: Proxy
) -> None:
    leaving = await asyncio.to_thread(
        start_live_server, "uvicorn", fed_server.directory, fed_server.environment
    )
    proxy.target = leaving.port
    await visit.open(proxy.port)
    await visit.live()
    proxy.target = fed_server.port
    await asyncio.to_thread(leaving.stop)
    await visit.live()
    await publish(send_alert, {"message": "from the other one"})
    await expect(visit.alert("from the other one")).to_be_visible()
    assert visit.complaints == []


async def test_a_subscription_without_an_answer_is_told(
    visit: Visit, fed_server: LiveServer, own_valkey: Valkey
) -> None:
    await visit.open(fed_server.port)
    await visit.live()
    own_valkey.signal(signal.SIGSTOP)
    try:
        await visit.add("SLOW")
        advice = visit.page.locator(".socket-advice").first
        await expect(advice).to_have_text(re.compile("has not answered subscribe"))
    finally:
        own_valkey.signal(signal.SIGCONT)
    await expect(advice).to_be_hidden()
    await expect(visit.page.locator("[data-symbol=SLOW]")).to_be_visible()


async def test_a_bad_credential_is_told_and_not_tried_again(
    visit: Visit, fed_server: LiveServer
) -> None:
    await visit.open(fed_server.port)
    await visit.live()
    await visit.page.locator(".credential summary").click()
    await visit.page.get_by_label("JWT or API key").fill("ara_wrong")
    await visit.page.get_by_role("button", name="Use it").click()
    closed = visit.page.locator(".socket[data-phase=closed] .socket-state")
    await expect(closed).to_have_text(["Closed (4401)"] * 3)
    await expect(visit.page.locator("#token-error")).to_have_text(re.compile("credential"))
    await visit.page.get_by_role("button", name="Forget it").click()
    await visit.live()
    assert visit.complaints == []


async def test_a_symbol_can_be_added_and_a_bad_one_is_explained(
    visit: Visit, fed_server: LiveServer, publish: Publish
) -> None:
    await visit.open(fed_server.port)
    await visit.live()
    await visit.add("not a symbol")
    await expect(visit.page.locator("#symbol-error")).to_have_text(re.compile("A-Z 0-9"))
    card = await visit.add("btc/usd")
    await expect(card.locator(".command code")).to_have_text(re.compile("broadcast_market_data"))
    await expect(visit.page.locator("#symbol-error")).to_be_empty()
    await publish(broadcast_market_data, "BTC/USD", {"price": 64000.5})
    await expect(card.locator(".price")).to_have_text("64,000.50")


async def test_a_symbol_can_be_removed(visit: Visit, fed_server: LiveServer) -> None:
    await visit.open(fed_server.port)
    await visit.live()
    await visit.page.get_by_role("button", name="Remove FB").click()
    await expect(visit.page.locator("[data-symbol=FB]")).to_have_count(0)
    assert visit.complaints == []


async def test_what_an_alert_says_is_text_and_never_markup(
    visit: Visit, fed_server: LiveServer, publish: Publish
) -> None:
    await visit.open(fed_server.port)
    await visit.live()
    text = "<img src=x onerror=alert(1)> & <b>bold</b>"
    await publish(send_alert, {"message": text})
    await expect(visit.alert(text)).to_be_visible()
    assert visit.complaints == []


async def test_the_commands_that_the_page_shows_arrive_on_it(
    visit: Visit, fed_server: LiveServer
) -> None:
    await visit.open(fed_server.port)
    await visit.live()
    commands = await visit.page.locator(".send .commands code").all_text_contents()
    for command in commands:
        words = shlex.split(command)
        arguments = words[words.index("manage.py") + 1 :]
        await asyncio.to_thread(fed_server.manage, *arguments)
    assert len(commands) == 3
    await expect(visit.alert("Price exceeded $150").first).to_be_visible()


@pytest.mark.parametrize("view", ["cards", "table"])
@pytest.mark.parametrize("width", [320, 360])
async def test_the_page_fits_a_narrow_screen(
    visit: Visit, fed_server: LiveServer, publish: Publish, width: int, view: str
) -> None:
    await visit.page.set_viewport_size({"width": width, "height": 740})
    await visit.page.goto(f"{fed_server.http}/?chart=AAPL&view={view}")
    await visit.live()
    await expect(visit.page.locator("[data-chart] canvas").first).to_be_visible()
    await visit.page.evaluate(
        "for (const part of document.querySelectorAll('details')) part.open = true"
    )
    await publish(send_alert, {"message": "a" * 200})
    await expect(visit.alert("a" * 200).first).to_be_visible()
    assert await visit.page.evaluate("document.documentElement.scrollWidth") == width


async def test_the_page_loads_nothing_from_elsewhere_and_has_nothing_inline() -> None:
    templates = (ROOT / "realtime/templates/realtime").rglob("*.html")
    template = "".join(path.read_text() for path in templates)
    # The attribution of the charts is a link: it loads nothing, and tells nobody who follows it.
    elsewhere = re.findall(r"<[^>]*(?:src|href|action)=[\"']?(?:https?:)?//[^>]*>", template)
    assert all(re.match("<a .*noopener noreferrer", tag) for tag in elsewhere), elsewhere
    assert not re.search(r"\s(style|on\w+)=", template)
    assert not re.search(r"<style|<script(?![^>]* src=)", template)
    assert "script-src 'self'; style-src 'self'" in template
    ours = (ROOT / "realtime/static/realtime").rglob("*.*s")
    for path in (each for each in ours if "vendor" not in each.parts):
        text = path.read_text()
        assert not re.search(r"@import|(?<!\.)url\(|https?://|innerHTML|\beval\(", text), path.name


async def test_a_public_alert_is_announced_without_a_word_about_its_audience(
    visit: Visit, fed_server: LiveServer, publish: Publish
) -> None:
    await visit.open(fed_server.port)
    await visit.live()
    await publish(send_alert, {"message": "the history was read"})
    await expect(visit.alert("the history was read")).to_be_visible()
    data = {"message": "for all", "symbol": "IBM", "severity": "high"}
    await publish(send_alert, data)
    said = visit.page.locator("[data-announcer]")
    await expect(said).to_have_text(re.compile(r"^Alert: high IBM \d\d:\d\d:\d\d for all$"))


async def test_a_flood_of_alerts_is_announced_a_few_times_and_counted(
    visit: Visit, fed_server: LiveServer, publish: Publish
) -> None:
    await visit.open(fed_server.port)
    await visit.live()
    said = visit.page.locator("[data-announcer]")
    await said.evaluate(COUNT_CHANGES)
    for number in range(30):
        await publish(send_alert, {"message": f"flood {number}"})
    await expect(said).to_have_text(re.compile(r"flood 29, and \d+ more$"))
    assert await said.evaluate("(element) => element.changes") < 15


async def test_the_note_about_an_error_goes_away(visit: Visit, fed_server: LiveServer) -> None:
    await visit.page.clock.install()
    await visit.open(fed_server.port)
    await visit.page.clock.resume()
    await visit.live()
    card = await visit.add("NEVER")
    await card.get_by_role("button", name="Request prediction for NEVER").click()
    note = visit.page.locator(".socket-advice", has_text="NEVER")
    await expect(note).to_be_visible()
    await visit.page.clock.fast_forward(16_000)
    await expect(note).to_have_count(0)


async def test_the_price_flashes_at_each_change(
    visit: Visit, fed_server: LiveServer, publish: Publish
) -> None:
    await visit.open(fed_server.port)
    await visit.live()
    card = await visit.add("FLASHY")
    for price, flash in [(1.0, None), (2.0, "up-1"), (3.0, "up-0"), (2.0, "down-1")]:
        await publish(broadcast_market_data, "FLASHY", {"price": price})
        await expect(card.locator(".price")).to_have_text(f"{price:.2f}")
        assert await card.locator(".price").get_attribute("data-flash") == flash


async def test_commands_reach_the_server_that_shows_them(
    visit: Visit, fed_server: LiveServer
) -> None:
    await visit.open(fed_server.port)
    command = visit.page.locator(".send .command code").first
    await expect(command).to_have_text(re.compile(f"^VAR_DIR={fed_server.directory} "))


async def test_a_page_behind_a_proxy_names_no_path_of_the_server(fed_server: LiveServer) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{fed_server.port}") as client:
        text = (await client.get("/", headers={"X-Forwarded-For": "203.0.113.5"})).text
    assert "VAR_DIR" not in text
    assert str(fed_server.directory) not in text
