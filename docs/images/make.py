"""Make the pictures of the page: `python docs/images/make.py` beside a running `make run`."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final, Literal

from playwright.sync_api import Browser, Page, expect, sync_playwright

PAGE: Final = sys.argv[1] if len(sys.argv) > 1 else "http://localhost:8000/"
HERE: Final = Path(__file__).parent
ALERTS: Final = (
    '{"symbol": "IBM", "message": "IBM: price above 200", "severity": "medium"}',
    '{"symbol": "AAPL", "message": "AAPL: price above 600", "severity": "high"}',
)
SCHEMES: Final[tuple[tuple[Literal["light", "dark"], str], ...]] = (
    ("light", ""),
    ("dark", "-dark"),
)
# Name, address of the page, and height of the picture.
VIEWS: Final = (
    ("dashboard", "", 800),
    ("chart", "?chart=AAPL", 800),
    ("table", "?view=table&sort=symbol", 580),
)


def open_page(browser: Browser, scheme: Literal["light", "dark"], query: str, height: int) -> Page:
    """The page with prices, predictions, what became of them, and alerts."""
    page = browser.new_page(viewport={"width": 1280, "height": height}, color_scheme=scheme)
    page.goto(PAGE + query)
    expect(page.locator("[data-symbol] .point").first).to_have_text(re.compile(r"\d"))
    for alert in ALERTS:
        send = [sys.executable, "manage.py", "send_alert", alert]
        subprocess.run(send, cwd=HERE.parents[1], check=True, stdout=subprocess.DEVNULL)
    expect(page.locator(".alert-message").first).to_have_text("AAPL: price above 600")
    return page


def main() -> None:
    expect.set_options(timeout=60_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        for name, query, height in VIEWS:
            for scheme, ending in SCHEMES:
                page = open_page(browser, scheme, query, height)
                if name == "chart":
                    expect(page.locator("[data-chart]")).to_have_attribute("data-state", "live")
                if name == "dashboard":
                    expect(page.locator("[data-value=outcome]:visible").nth(2)).to_be_visible()
                page.screenshot(path=HERE / f"{name}{ending}.png")
                page.close()
        browser.close()


if __name__ == "__main__":
    main()
