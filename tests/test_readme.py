"""README's first steps, run as they are printed there: only the port is another one."""

import asyncio
import contextlib
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page

from realtime.broadcast import broadcast_market_data
from tests.browsers import chromium
from tests.documents import block
from tests.live import create_people, publish_to
from tests.patience import START_SECONDS
from tests.processes import ROOT, LiveServer

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="session")
def people(server: LiveServer) -> SimpleNamespace:
    return create_people(server)


@pytest.fixture
def publishing(server: LiveServer, settings: Any) -> None:
    publish_to(server, settings)


class Console:
    """What a page has logged."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.lines: asyncio.Queue[str] = asyncio.Queue()
        page.on("console", lambda message: self.lines.put_nowait(message.text))

    async def run(self, code: str, server: LiveServer) -> None:
        code = code.replace("localhost:8000", f"localhost:{server.port}")
        await self.page.evaluate(f"async () => {{ {code} }}")

    async def wait_for(self, pattern: str) -> None:
        async with asyncio.timeout(START_SECONDS):
            while not re.search(pattern, await self.lines.get()):
                pass


@pytest_asyncio.fixture(loop_scope="module")
async def console(server: LiveServer) -> AsyncIterator[Console]:
    """The console of the server's page."""
    async with chromium() as browser:
        page = await browser.new_page()
        await page.goto(f"http://localhost:{server.port}/healthz")
        yield Console(page)


async def _publish_until(heard: "asyncio.Task[None]", price: float) -> None:
    """A client that has just been started may not listen yet."""
    while not heard.done():
        await asyncio.to_thread(broadcast_market_data, "AAPL", {"price": price})
        await asyncio.wait([heard], timeout=0.2)
    await heard


@pytest.mark.usefixtures("publishing")
async def test_the_javascript_client(server: LiveServer, console: Console) -> None:
    await console.run(block("Connect", "javascript"), server)
    heard = asyncio.ensure_future(console.wait_for(r"^AAPL 151\.5$"))
    await _publish_until(heard, 151.5)


@pytest.mark.usefixtures("publishing")
async def test_the_python_client(server: LiveServer) -> None:
    code = block("Connect", "python").replace("localhost:8000", f"localhost:{server.port}")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-u",
        "-W",
        "error",
        "-c",
        code,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT / "clients" / "python")},
    )
    assert process.stdout is not None
    lines = process.stdout

    async def hear() -> None:
        async with asyncio.timeout(START_SECONDS):
            while await lines.readline() != b"AAPL 152.5\n":
                assert process.returncode is None

    await _publish_until(asyncio.ensure_future(hear()), 152.5)
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.communicate()


@pytest.mark.usefixtures("publishing")
async def test_the_client_that_is_ready(server: LiveServer, console: Console) -> None:
    await console.run(block("Connect", "javascript", 1), server)
    await console.wait_for("^live$")
    heard = asyncio.ensure_future(console.wait_for(r"^AAPL .*153\.5"))
    await _publish_until(heard, 153.5)


async def test_a_user_who_is_logged_in_gets_a_ticket(server: LiveServer, console: Console) -> None:
    server.shell(
        "from django.contrib.auth.models import User; "
        "User.objects.create_superuser('reader', password='river-and-hill')"
    )
    page = console.page
    await page.goto(f"http://localhost:{server.port}/admin/login/?next=/healthz")
    await page.fill("#id_username", "reader")
    await page.fill("#id_password", "river-and-hill")
    await page.press("#id_password", "Enter")
    await page.wait_for_url("**/healthz")
    await console.run(block("A ticket from the Django session", "javascript"), server)
    await console.wait_for("^live true$")


async def test_a_page_logs_in_and_renews_its_token(server: LiveServer, console: Console) -> None:
    server.shell(
        "from django.contrib.auth.models import User; "
        "User.objects.create_user('admin', password='YOUR_PASSWORD')"
    )
    await console.page.goto(f"http://localhost:{server.port}/healthz")
    code = block("A JWT, renewed while the socket is open", "javascript")
    await console.run(code + "window.client = client;", server)
    await console.wait_for("^live true$")
    await console.page.evaluate("client.close(); client.connect();")
    await console.wait_for("^live true$")
