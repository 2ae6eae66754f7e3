"""(p) The page in Chromium under load: what it costs the browser, and how smooth it stays."""

import asyncio
import contextlib
import json
import os
import shutil
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Final

from playwright.async_api import Browser, CDPSession, Page, async_playwright, expect

from tests.bench.drive import Metrics, Session, session
from tests.bench.processes import BenchError, family, on_cores, usage
from tests.bench.quiet import busy_seconds
from tests.bench.servers import Kind, Place
from tests.bench.workloads import SYMBOLS, Rows, Size

EACH: Final = 20  # updates a second of each symbol, evenly spread over all of them
VIEWS: Final = ("cards", "table")
SCREEN: Final = {"width": 1280, "height": 900}
LIVE_MS: Final = 30_000
SETTLE_SECONDS: Final = 4.0  # that are not counted
LONGER: Final = 2.5
_TASKS: Final = "disabled-by-default-devtools.timeline"  # the category of each task of a thread
_SHIFTS: Final = """
window.shifted = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shifted += entry.value;
}).observe({ type: "layout-shift", buffered: true });
"""
_RECEIVED: Final = "Number(document.querySelector('[data-rate]').textContent)"
_FRAMES: Final = """(seconds) => new Promise((resolve) => {
  let frames = 0;
  const began = performance.now();
  const count = (now) => {
    frames += 1;
    if (now - began < seconds * 1000) requestAnimationFrame(count);
    else resolve(frames / (now - began) * 1000);
  };
  requestAnimationFrame(count);
})"""


async def page(kind: Kind, place: Place, size: Size) -> Rows:
    """(p) Cards, then a table, in a tab of their own."""
    seconds = size.seconds * LONGER
    async with session(kind, place) as current, _chromium(place) as browser:
        await current.publish(SYMBOLS, rate=0, times=1)
        for view in VIEWS:
            async with _publishing(current), _tab(current, browser, view) as tab:
                await asyncio.sleep(SETTLE_SECONDS)
                cost = await _cost(tab, seconds)
                smooth = await _smoothness(browser, tab, seconds)
            yield f"{len(SYMBOLS)} symbols as {view}", {**cost, **smooth}


@contextlib.asynccontextmanager
async def _chromium(place: Place) -> AsyncIterator[Browser]:
    path = shutil.which("chromium")
    if path is None:
        raise BenchError("Chromium is not installed")
    cores = place.cores
    async with async_playwright() as playwright:
        with on_cores([cores.server, cores.load]):
            browser = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        await browser.close()


@contextlib.asynccontextmanager
async def _publishing(current: Session) -> AsyncIterator[None]:
    """Updates of all symbols in turn, for as long as the block runs."""
    over = asyncio.Event()

    async def publish() -> None:
        while not over.is_set():
            await current.publish(SYMBOLS, rate=EACH, times=EACH, at_once=1)

    task = asyncio.create_task(publish())
    try:
        yield
    finally:
        over.set()
        await task


@contextlib.asynccontextmanager
async def _tab(current: Session, browser: Browser, view: str) -> AsyncIterator[Page]:
    tab = await browser.new_page(viewport=SCREEN)  # type: ignore[arg-type]
    await tab.add_init_script(_SHIFTS)
    query = f"view={view}&symbols={','.join(SYMBOLS)}"
    await tab.goto(f"http://127.0.0.1:{current.running.port}/?{query}")
    await expect(tab.locator(".socket[data-phase=live]")).to_have_count(3, timeout=LIVE_MS)
    yield tab
    await tab.close()


async def _cost(tab: Page, seconds: float) -> Metrics:
    """Shares of one core, of a tab that nobody looks into."""
    devtools = await tab.context.new_cdp_session(tab)
    await devtools.send("Performance.enable")
    began, busy, ours = time.monotonic(), busy_seconds(), usage(family(os.getpid())).cpu
    before = await _times(devtools)
    await asyncio.sleep(seconds)
    after = await _times(devtools)
    wall = after["Timestamp"] - before["Timestamp"]
    others = busy_seconds() - busy - (usage(family(os.getpid())).cpu - ours)
    received: float = await tab.evaluate(_RECEIVED)
    return {
        "rate": received,
        "main_share": (after["ThreadTime"] - before["ThreadTime"]) / wall,
        "tab_share": (after["ProcessTime"] - before["ProcessTime"]) / wall,
        "others_share": max(0.0, others) / (time.monotonic() - began),
    }


async def _times(devtools: CDPSession) -> Mapping[str, float]:
    """CPU seconds of the main thread and of the process of a tab, and the time."""
    answer = await devtools.send("Performance.getMetrics")
    return {metric["name"]: metric["value"] for metric in answer["metrics"]}


async def _smoothness(browser: Browser, tab: Page, seconds: float) -> Metrics:
    """Frames that a script gets, the longest task, and the layout shift since the start."""
    await browser.start_tracing(page=tab, categories=[_TASKS, "__metadata"])
    frames: float = await tab.evaluate(_FRAMES, seconds)
    trace = json.loads(await browser.stop_tracing())
    shifted: float = await tab.evaluate("window.shifted")
    longest = longest_task(trace["traceEvents"])
    return {"frames": frames, "task_ms": longest, "layout_shift": shifted}


def longest_task(events: Iterable[Mapping[str, Any]]) -> float:
    """Milliseconds of CPU of the longest task of a main thread, in a trace of Chromium.

    By the clock on the wall it would hold the time of other programs, too.
    """
    events = list(events)
    main = {
        (event["pid"], event["tid"])
        for event in events
        if event["name"] == "thread_name" and event["args"]["name"] == "CrRendererMain"
    }
    tasks = [
        event["tdur"] / 1000
        for event in events
        if event["name"] == "RunTask" and (event["pid"], event["tid"]) in main and "tdur" in event
    ]
    if not tasks:
        raise BenchError("the trace of Chromium has no task of the page")
    return max(tasks)
