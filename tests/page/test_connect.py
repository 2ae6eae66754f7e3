"""The code that the page shows to those who connect a client: each is run as it stands."""

import asyncio
import os
import re
import shlex
import sys
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from realtime.broadcast import send_alert
from tests.conftest import require_program
from tests.page.conftest import Publish
from tests.page.visits import Visit
from tests.patience import PATIENCE
from tests.processes import ROOT, LiveServer

pytestmark = pytest.mark.asyncio(loop_scope="module")
CHANNELS = ("market-data", "predictions")
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT / "clients" / "python")}


@pytest.fixture(scope="module")
def key(fed_server: LiveServer) -> str:
    code = "from tests import personas; print(personas.bob_key(name='connect')[1])"
    return fed_server.shell(code).strip()


async def open_panel(visit: Visit, server: LiveServer, key: str) -> None:
    await visit.open(server.port)
    await visit.page.locator(".credential summary").click()
    await visit.page.get_by_label("JWT or API key").fill(key)
    await visit.page.keyboard.press("Enter")
    await visit.live()
    await visit.page.locator("[data-connect] > summary").click()


async def code_of(page: Page, language: str, channel: str = "market-data") -> str:
    await page.locator("#connect-channel").select_option(channel)
    await page.locator("#connect-language").select_option(language)
    return await page.locator("[data-connect] .command code").inner_text()


async def printed(arguments: list[str], pattern: str) -> str:
    """What a program prints, up to the first line that matches; then it is ended."""
    pipe = asyncio.subprocess.PIPE
    program = await asyncio.create_subprocess_exec(
        *arguments, env=ENVIRONMENT, stdout=pipe, stderr=asyncio.subprocess.STDOUT
    )
    assert program.stdout
    lines: list[str] = []
    try:
        async with asyncio.timeout(PATIENCE):
            async for line in program.stdout:
                lines.append(line.decode())
                if re.search(pattern, lines[-1]):
                    return lines[-1]
    finally:
        if program.returncode is None:
            program.kill()
        await program.wait()
    raise AssertionError(f"no {pattern}: {lines}")


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("language", ["Python", "websockets"])
async def test_the_python_code_runs_as_it_stands(
    language: str, channel: str, visit: Visit, fed_server: LiveServer, key: str, tmp_path: Path
) -> None:
    await open_panel(visit, fed_server, key)
    program = tmp_path / "client.py"
    program.write_text(await code_of(visit.page, language, channel))
    assert key in program.read_text()
    assert await printed([sys.executable, str(program)], r"(AAPL|FB|GOOG|IBM|MSFT).*\d")


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("language", ["curl", "REST"])
async def test_the_curl_lines_run_as_they_stand(
    language: str, channel: str, visit: Visit, fed_server: LiveServer, key: str
) -> None:
    require_program("curl")
    await open_panel(visit, fed_server, key)
    line = await code_of(visit.page, language, channel)
    assert key in line
    assert await printed([*shlex.split(line), "--silent"], r"AAPL.*\d")


async def test_the_javascript_code_runs_as_it_stands(
    visit: Visit, fed_server: LiveServer, key: str
) -> None:
    await open_panel(visit, fed_server, key)
    code = await code_of(visit.page, "JavaScript")
    seen = visit.page.expect_console_message(lambda message: message.text.startswith("AAPL "))
    async with seen as message:
        await visit.page.evaluate(f"async () => {{ {code} }}")
    assert re.fullmatch(r"AAPL [\d.]+", (await message.value).text)


async def test_the_code_for_alerts_runs_as_it_stands(
    visit: Visit, fed_server: LiveServer, key: str, publish: Publish, tmp_path: Path
) -> None:
    await publish(send_alert, {"message": "for the code", "severity": "high"})
    await open_panel(visit, fed_server, key)
    assert await printed(
        [*shlex.split(await code_of(visit.page, "REST", "alerts")), "--silent"], "for the code"
    )


async def test_what_is_going_on_is_told_by_the_server(visit: Visit, fed_server: LiveServer) -> None:
    await visit.open(fed_server.port)
    await visit.live()
    await visit.page.locator("[data-going-on] > summary").click()
    status = visit.page.locator("[data-status]")
    await expect(status.locator("section")).to_have_count(3)
    for what in ("Connection", "Server", "Round trip", "Folded", "Replayed", "Gaps"):
        await expect(status.get_by_text(what, exact=True)).to_have_count(3)
    await expect(status.locator("tr", has_text="AAPL").first).to_have_text(re.compile(r"AAPL.+\d$"))
    await expect(status.get_by_text(re.compile(r"^\d+ of 200 left$")).first).to_be_visible()
    assert visit.complaints == []


async def test_a_symbol_that_cannot_be_is_explained(visit: Visit, fed_server: LiveServer) -> None:
    await visit.open(fed_server.port)
    await visit.page.locator("[data-connect] > summary").click()
    await visit.page.locator("#connect-symbols").fill("-A")
    await expect(visit.page.locator("[data-connect] .problem")).to_contain_text("starts with")
