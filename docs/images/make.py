"""Make the picture in README: `python docs/images/make.py` beside a running `make run`."""

import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

PAGE = sys.argv[1] if len(sys.argv) > 1 else "http://localhost:8000/"

with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
    page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="light")
    page.goto(PAGE)
    page.wait_for_timeout(15_000)  # until the charts have something to show
    page.screenshot(path=Path(__file__).with_name("dashboard.png"))
    browser.close()
