"""Headless Chromium for tests."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, async_playwright

from tests.conftest import first_program


@asynccontextmanager
async def chromium(*arguments: str) -> AsyncIterator[Browser]:
    """A browser with a profile of its own; skips where Chromium is not installed."""
    # Debian's shell does the same for a fifth less of the processor's time.
    path = first_program("chromium-headless-shell", "chromium")
    options = ["--no-sandbox", "--disable-background-networking", *arguments]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=options)
        yield browser
        await browser.close()
