"""What browsers and caches are told: policies of pages, and answers that are nobody else's."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import include, path
from playwright.async_api import ConsoleMessage, Page, async_playwright
from pytest_django import Settings
from rest_framework.test import APIClient

from realtime.pages import POLICY
from tests import personas
from tests.conftest import require_program
from tests.processes import LiveServer
from tests.test_admin_browser import LOGIN

pytestmark = pytest.mark.django_db
CSP = "Content-Security-Policy"


def their_page(request: HttpRequest) -> HttpResponse:
    return HttpResponse("<script>1</script>")


urlpatterns = [path("theirs/", their_page), path("", include("ara_project.urls"))]


@pytest.fixture
def olga(client: Client) -> Client:
    client.force_login(personas.olga())
    return client


@pytest.mark.parametrize(
    "page",
    ["/", "/admin/", "/admin/login/", "/admin/realtime/apikey/", "/admin/realtime/apikey/add/",
     "/admin/auth/user/", "/api/v1/docs", "/no/such/page", "/admin/no/such/page/"],
)  # fmt: skip
def test_every_page_of_ours_has_a_policy(page: str, olga: Client) -> None:
    olga.raise_request_exception = False
    assert olga.get(page)[CSP] == POLICY


def test_the_policy_lets_nothing_in_from_elsewhere() -> None:
    assert "unsafe" not in POLICY
    assert "default-src 'none'" in POLICY
    assert "*" not in POLICY


def test_pages_of_the_host_project_keep_what_they_have(client: Client, settings: Settings) -> None:
    settings.ROOT_URLCONF = __name__
    assert CSP not in client.get("/theirs/")
    assert CSP in client.get("/")


def test_what_is_not_a_page_has_no_policy(client: Client) -> None:
    assert CSP not in client.get("/api/v1/asyncapi.json")


# Caches -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    ["alerts", "alert-rules", "keys", "connections", "predictions", "webhooks",
     "market-data/AAPL/bars", "keys/none", "alerts?since=never"],
)  # fmt: skip
def test_no_cache_keeps_what_a_credential_is_answered(answer: str) -> None:
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {personas.token(personas.alice())}")
    for client in (api, APIClient()):
        headers = client.get(f"/api/v1/{answer}").headers
        assert headers["Cache-Control"] == "private, no-store"
        assert {"Authorization", "X-API-Key", "Cookie"} <= set(headers["Vary"].split(", "))


# Searches ---------------------------------------------------------------------------------------

LISTS = [
    "auth/user", "auth/group", "realtime/apikey", "realtime/alert", "realtime/alertrule",
    "realtime/bar", "realtime/storedprediction", "realtime/webhookendpoint",
    "realtime/webhookdelivery",
]  # fmt: skip
LONG = {"words": "word " * 3000, "one": "x" * 60_000}


@pytest.mark.parametrize("long", LONG)
@pytest.mark.parametrize("page", LISTS)
def test_a_search_of_thousands_of_words_is_refused_with_one_line(
    page: str, long: str, olga: Client, caplog: pytest.LogCaptureFixture
) -> None:
    answer = olga.get(f"/admin/{page}/", {"q": LONG[long]})
    assert answer.status_code == 400
    assert answer.text.startswith("q: ")
    assert len(caplog.records) == 1
    assert caplog.records[0].exc_info is None


@pytest.mark.parametrize(
    "query",
    [{"name__icontains": "x" * 60_000}, {"name__regex": "(a+)+$"}, {"owner__id__exact": "9" * 5000},
     {"id__in": ",".join(["7"] * 20_000)}],
)  # fmt: skip
def test_filters_of_a_list_are_bounded_too(query: dict[str, str], olga: Client) -> None:
    assert olga.get("/admin/realtime/apikey/", query).status_code == 400


ODD = [
    {"created_at__year": "0"}, {"created_at__year": "99999999999"}, {"created_at__gte": "never"},
    {"id__in": "9" * 30}, {"id__exact": "9" * 900}, {"name__exact": "\x00"}, {"p": "9" * 30},
    {"q": "\x00"}, {"o": "1.-2.99"}, {"owner__isnull": "x"}, {"_to_field": "hash"},
]  # fmt: skip


@pytest.mark.parametrize("query", ODD, ids=str)
def test_no_filter_that_somebody_writes_is_our_fault(
    query: dict[str, str], olga: Client, caplog: pytest.LogCaptureFixture
) -> None:
    olga.raise_request_exception = False
    for page in ("apikey", "alertrule"):
        assert olga.get(f"/admin/realtime/{page}/", query).status_code < 500
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_owners_are_not_looked_up_by_thousands_of_words(olga: Client) -> None:
    query = {
        "app_label": "realtime", "model_name": "apikey", "field_name": "owner",
        "term": LONG["words"],
    }  # fmt: skip
    assert olga.get("/admin/autocomplete/", query).status_code == 400


def test_an_ordinary_search_finds(olga: Client) -> None:
    personas.bob_key(name="trading desk in Berlin")
    assert "Berlin" in olga.get("/admin/realtime/apikey/", {"q": "desk Berlin"}).text
    assert olga.get("/admin/realtime/apikey/", {"q": "word " * 50}).status_code == 200


# In a browser -----------------------------------------------------------------------------------


@pytest.fixture
async def page(start_server: Callable[..., LiveServer]) -> AsyncIterator[Page]:
    chromium = require_program("chromium")
    server = start_server()
    session = server.shell(LOGIN).strip()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-background-networking"]
        )
        context = await browser.new_context(base_url=server.http)
        await context.add_cookies([{"name": "sessionid", "value": session, "url": server.http}])
        yield await context.new_page()
        await browser.close()


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
async def test_a_browser_finds_nothing_against_the_policies(page: Page) -> None:
    complaints: list[Any] = []

    def note(message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text:
            complaints.append((page.url, message.text))

    page.on("console", note)
    page.on("pageerror", lambda error: complaints.append((page.url, str(error))))
    await page.goto("/")
    await page.locator("#tiles, main").first.wait_for()
    await page.goto("/api/v1/docs")
    await page.get_by_text("/api/v1/publish").first.wait_for()
    for model in ("apikey", "alertrule", "webhookendpoint"):
        await page.goto(f"/admin/realtime/{model}/")
        await page.goto(f"/admin/realtime/{model}/add/")
        await page.locator(".select2-selection").first.click()
        await page.locator(".select2-results__option").first.wait_for()
    await page.goto("/admin/auth/user/1/change/")
    assert complaints == []
