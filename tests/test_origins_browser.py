"""A page of another origin, in a real browser: it logs in, takes a ticket, connects and receives.

Its web server is not ours. By one of its names it is allowed, by the other it is not.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Error, Page, expect

from realtime.broadcast import abroadcast_market_data
from tests import personas
from tests.browsers import chromium
from tests.documents import block
from tests.live import publish_to
from tests.patience import PATIENCE
from tests.processes import LiveServer
from tests.test_admin_browser import LOGIN

expect.set_options(timeout=PATIENCE * 1000)
pytestmark = pytest.mark.asyncio(loop_scope="module")

# What a script sees of an answer; an error of `fetch` names no reason.
FETCH = """async ([url, options]) => {
    const answer = await fetch(url, options);
    return [answer.status, Object.fromEntries(answer.headers)];
}"""
CLOSE_CODE = """(url) => new Promise((resolve) => {
    const ws = new WebSocket(url);
    ws.onmessage = (event) => { if (JSON.parse(event.data).type === 'connected') resolve(0); };
    ws.onclose = (event) => resolve(event.code);
})"""

# With our client, which tells what has become of its connection.
TELLS_ITS_STATE = """
const { AraClient } = await import('HTTP/static/realtime/client/index.js');
const client = new AraClient({ url: 'WS/ws', symbols: 'AAPL' });
client.on('state', ({ phase, code, reason }) => {
    document.title = [phase, code, reason].filter(Boolean).join(' ');
});
client.connect();
"""


class BlankPage(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>theirs</title>")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def their_port() -> Iterator[int]:
    """The port of a web server that delivers a page."""
    with ThreadingHTTPServer(("127.0.0.1", 0), BlankPage) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def server(module_servers: Callable[..., LiveServer], their_port: int) -> LiveServer:
    server = module_servers(REALTIME_ALLOWED_ORIGINS=f"http://localhost:{their_port}")
    server.shell("from tests import personas; personas.olga()")
    return server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def allowed(browser: Browser, their_port: int) -> AsyncIterator[Page]:
    page = await browser.new_page()
    await page.goto(f"http://localhost:{their_port}/")
    yield page
    await page.close()


@pytest_asyncio.fixture(loop_scope="module")
async def stranger(browser: Browser, their_port: int) -> AsyncIterator[Page]:
    page = await browser.new_page()
    await page.goto(f"http://127.0.0.1:{their_port}/")
    yield page
    await page.close()


@pytest_asyncio.fixture(loop_scope="module")
async def operator(
    browser: Browser, server: LiveServer, module_servers: Callable[..., LiveServer]
) -> AsyncIterator[Page]:
    """The admin of another process, with Olga logged in."""
    other = await asyncio.to_thread(module_servers)
    context = await browser.new_context(base_url=other.http)
    session = (await asyncio.to_thread(other.shell, LOGIN)).strip()
    await context.add_cookies([{"name": "sessionid", "value": session, "url": other.http}])
    yield await context.new_page()
    await context.close()


async def end_connections(operator: Page, symbol: str, reason: str) -> None:
    """All that read the symbol, one by one."""
    while True:
        await operator.goto(f"/admin/realtime/liveconnection/?search={symbol}")
        links = operator.get_by_role("link", name="End connection")
        if await links.count() == 0:
            return
        await links.first.click()
        await operator.get_by_label("What the clients are told").fill(reason)
        await operator.get_by_role("button", name="End").click()
        await expect(operator.get_by_text("Connections ended: 1.")).to_be_visible()


async def fetch(page: Page, url: str, **options: Any) -> tuple[int, dict[str, str]]:
    status, headers = await page.evaluate(FETCH, [url, options])
    return status, headers


async def test_the_documented_page_logs_in_and_receives(
    allowed: Page, server: LiveServer, settings: Any
) -> None:
    code = block("A page of another origin", "javascript")
    for written, real in (
        ("http://localhost:8000", server.http), ("'admin'", "'olga'"),
        ("YOUR_PASSWORD", personas.PASSWORD),
    ):  # fmt: skip
        assert written in code
        code = code.replace(written, real)
    publish_to(server, settings)
    await abroadcast_market_data("AAPL", {"price": 149.5})
    await allowed.add_script_tag(type="module", content=code)
    await allowed.wait_for_function("document.title === 'AAPL 149.5'")


async def test_every_header_of_the_clients_passes_the_preflight(
    allowed: Page, server: LiveServer
) -> None:
    headers = {
        "Authorization": "Bearer x", "X-API-Key": "x", "Idempotency-Key": "x",
        "Last-Event-ID": "1", "Content-Type": "application/json",
    }  # fmt: skip
    for method in ("POST", "PATCH", "DELETE"):
        status, _ = await fetch(
            allowed, f"{server.http}/api/v1/keys/none", method=method, headers=headers
        )
        assert status == 401


async def test_a_page_that_is_not_listed_reads_nothing_and_connects_nowhere(
    stranger: Page, server: LiveServer
) -> None:
    for options in ({}, {"method": "POST", "headers": {"Content-Type": "application/json"}}):
        with pytest.raises(Error, match="Failed to fetch"):
            await fetch(stranger, f"{server.http}/api/v1/auth/ticket", **options)
    assert await stranger.evaluate(CLOSE_CODE, f"{server.ws}/ws/alerts") == 4403


async def test_the_admin_of_another_process_ends_the_connection_of_a_page(
    allowed: Page, server: LiveServer, operator: Page
) -> None:
    code = TELLS_ITS_STATE.replace("HTTP", server.http).replace("WS", server.ws)
    await allowed.add_script_tag(type="module", content=code)
    await allowed.wait_for_function("document.title === 'live'")
    await end_connections(operator, "AAPL", "Please come back tomorrow.")
    await allowed.wait_for_function("document.title === 'closed 4409 Please come back tomorrow.'")


async def test_cookies_are_not_for_other_origins(allowed: Page, server: LiveServer) -> None:
    url = f"{server.http}/api/v1/alerts"
    assert (await fetch(allowed, url))[0] == 401
    with pytest.raises(Error, match="Failed to fetch"):
        await fetch(allowed, url, credentials="include")


async def test_other_urls_of_the_server_stay_closed(allowed: Page, server: LiveServer) -> None:
    for path in ("/", "/metrics", "/admin/login/", "/ws/alerts"):
        with pytest.raises(Error, match="Failed to fetch"):
            await fetch(allowed, server.http + path)
