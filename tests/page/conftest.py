"""One browser, one server with a feed, and tabs in it, for the tests of a module.

Their modules say `pytestmark = pytest.mark.asyncio(loop_scope="module")`.
"""

import asyncio
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.browsers import chromium
from tests.conftest import REDIS
from tests.page.visits import Proxy, Visit
from tests.patience import STOP_SECONDS
from tests.processes import ROOT, LiveServer, Valkey, process_environment, start_live_server

Publish = Callable[..., Awaitable[Any]]


@pytest.fixture(scope="module")
def own_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with Valkey(tmp_path_factory.mktemp("valkey")) as valkey:
        yield valkey


@pytest.fixture(scope="module")
def fed_server(
    tmp_path_factory: pytest.TempPathFactory, migrated_database: Path, own_valkey: Valkey
) -> Iterator[LiveServer]:
    """A server with the replay running beside it."""
    directory = tmp_path_factory.mktemp("page")
    shutil.copy(migrated_database, directory / "db.sqlite3")
    server = start_live_server("uvicorn", directory, {"REDIS_URL": own_valkey.url})
    feed = subprocess.Popen(
        [sys.executable, "manage.py", "run_feed", "--rate", "5", "--predict-every", "1"],
        cwd=ROOT, env=process_environment(directory, server.environment),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    yield server
    feed.terminate()
    feed.wait(STOP_SECONDS)
    server.stop()


@pytest.fixture
def publish(fed_server: LiveServer, settings: Any) -> Publish:
    """A function that calls one of realtime.broadcast for the clients of the server."""
    hosts = [fed_server.environment["REDIS_URL"]]
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": REDIS, "CONFIG": {"hosts": hosts}}}
    return asyncio.to_thread


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def visit(browser: Browser) -> AsyncIterator[Visit]:
    page = await browser.new_page()
    yield Visit(page)
    await page.close()


@pytest_asyncio.fixture(loop_scope="module")
async def proxy(fed_server: LiveServer) -> AsyncIterator[Proxy]:
    proxy = Proxy(fed_server.port)
    await proxy.heal()
    yield proxy
    await proxy.cut()
