"""What browsers and caches are told: policies of pages, and answers that are nobody else's."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.template import engines
from django.template.response import TemplateResponse
from django.test import Client, RequestFactory
from django.urls import include, path
from playwright.async_api import ConsoleMessage, Page
from pytest_django import Settings
from rest_framework.test import APIClient

from realtime.admin.keys import ApiKeyAdmin
from realtime.models import ApiKey
from realtime.pages import guard_page
from tests import personas
from tests.browsers import chromium
from tests.processes import LiveServer

pytestmark = pytest.mark.django_db
CSP = "Content-Security-Policy"
HEADERS = {
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def their_page(request: HttpRequest) -> HttpResponse:
    return HttpResponse("<script>1</script>")


their_site = admin.AdminSite("theirs")
their_site.register(ApiKey, ApiKeyAdmin)
their_site.register(User, UserAdmin)
urlpatterns = [
    path("theirs/", their_page),
    path("admin/", admin.site.urls),
    path("their-admin/", their_site.urls),
    path("live/", include("realtime.urls")),
]


@pytest.fixture
def olga(client: Client) -> Client:
    client.force_login(personas.olga())
    return client


@pytest.fixture
def host(settings: Settings) -> Settings:
    """A project that includes our URLs below a prefix, and has neither a middleware of ours nor
    those of Django that set headers.
    """
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = [
        name
        for name in settings.MIDDLEWARE
        if not name.startswith("realtime.")
        and not name.endswith(("XFrameOptionsMiddleware", "SecurityMiddleware"))
    ]
    return settings


def policy(response: Any) -> dict[str, str]:
    """The directives of an answer."""
    directives = (part.partition(" ") for part in response[CSP].split("; "))
    return {name: sources for name, _, sources in directives}


@pytest.mark.parametrize(
    "page",
    ["/", "/admin/", "/admin/login/", "/admin/realtime/apikey/", "/admin/realtime/apikey/add/",
     "/admin/auth/user/", "/api/v1/docs", "/no/such/page", "/admin/no/such/page/"],
)  # fmt: skip
def test_every_page_of_ours_has_a_policy(page: str, olga: Client) -> None:
    answer = olga.get(page)
    assert policy(answer)["default-src"] == "'none'"
    assert answer.headers.items() >= HEADERS.items()


def test_pages_of_errors_have_a_policy(olga: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    olga.raise_request_exception = False
    monkeypatch.setattr("realtime.views.Dashboard.get_context_data", lambda *_: 1 / 0)
    error = olga.get("/")
    assert error.status_code == 500
    forbidden = Client(headers={"Host": "evil.example"}).get("/admin/")
    assert forbidden.status_code == 400
    assert policy(error) == policy(forbidden) == policy(olga.get("/admin/"))


def test_a_form_of_another_page_is_refused_with_one_line() -> None:
    answer = Client(enforce_csrf_checks=True).post("/admin/login/", {"username": "olga"})
    assert answer.status_code == 403
    assert answer["Content-Type"] == "text/plain"
    assert answer.text.startswith("CSRF cookie not set. Reload the form")


def test_the_policy_lets_nothing_in_from_elsewhere(client: Client) -> None:
    directives = policy(client.get("/"))
    assert set(directives.values()) == {"'none'", "'self'", "'self' data:"}
    assert directives["frame-ancestors"] == directives["base-uri"] == "'none'"


# In another project -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "page", ["/theirs/", "/their-admin/", "/their-admin/auth/user/", "/admin/", "/no/such/page"]
)
def test_pages_of_the_host_project_keep_what_they_have(
    page: str, host: Settings, olga: Client
) -> None:
    assert not {CSP, *HEADERS} & set(olga.get(page).headers)


def test_our_pages_bring_their_headers_along(host: Settings, olga: Client) -> None:
    models = [model._meta for model in admin.site._registry]
    ours = [
        f"/admin/realtime/{each.model_name}/" for each in models if each.app_label == "realtime"
    ]
    assert len(ours) >= 9
    for page in (*ours, "/live/", "/live/api/v1/docs", "/their-admin/realtime/apikey/add/"):
        answer = olga.get(page)
        assert answer.status_code == 200
        assert policy(answer)["script-src"] == "'self'"
        assert answer.headers.items() >= HEADERS.items()


def test_a_search_is_bounded_there_too(host: Settings, olga: Client) -> None:
    query = {"q": "word " * 3000}
    assert olga.get("/admin/realtime/apikey/", query).status_code == 400


def test_a_policy_of_the_project_does_not_replace_ours(host: Settings, olga: Client) -> None:
    host.MIDDLEWARE = ["csp.middleware.CSPMiddleware", *host.MIDDLEWARE]
    host.CONTENT_SECURITY_POLICY = {"DIRECTIVES": {"default-src": ["https://cdn.example"]}}
    assert policy(olga.get("/live/"))["default-src"] == "'none'"
    assert policy(olga.get("/theirs/"))["default-src"] == "https://cdn.example"


def test_a_template_of_the_project_may_use_the_nonce(rf: RequestFactory) -> None:
    @guard_page
    def page(request: HttpRequest) -> TemplateResponse:
        return TemplateResponse(request, engines["django"].from_string("{{ request.csp_nonce }}"))

    answer = page(rf.get("/")).render()
    assert policy(answer)["script-src"] == f"'self' 'nonce-{answer.text}'"


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

# Olga, and a row of each model; prints her session and the pages that change the rows.
ROWS = """
import json
from django.contrib import admin
from django.contrib.auth.models import Group
from django.utils import timezone
from realtime.models import (
    Alert, AlertProblem, AlertRule, Bar, Destination, GroupAccess, PredictionScore, Silence,
    StoredPrediction,
    WebhookDelivery, WebhookEndpoint,
)
from tests import personas
from tests.test_admin_browser import LOGIN
exec(LOGIN)
olga = personas.olga()
personas.bob_key()
rule = AlertRule.objects.create(
    owner=olga,
    definition={"name": "up", "symbol": "AAPL", "when": {"type": "above", "value": 1}},
)
AlertProblem.objects.create(rule=rule, symbol="AAPL", reason="odd")
Alert.objects.create(uid="a" * 32, owner=olga, data={"message": "up"}, symbol="AAPL")
now = timezone.now()
Silence.objects.create(channel="market-data", symbol="AAPL", last_update=now)
Bar.objects.create(symbol="AAPL", interval="1d", start=now, open=1, high=1, low=1, close=1)
StoredPrediction.objects.create(symbol="AAPL", predicted_price=1, as_of=now, valid_until=now)
PredictionScore.objects.create(symbol="AAPL")
GroupAccess.objects.create(group=Group.objects.create(name="desk"))
Destination.objects.create(owner=olga, kind="email", url="o***@example.com", sealed_secret="-")
endpoint, _ = WebhookEndpoint.objects.create_endpoint(olga, "https://example.com/hook")
WebhookDelivery.objects.create(endpoint=endpoint, event="alert", body="{}")
for model in admin.site._registry:
    row = model.objects.first()
    page = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
    print(page)
    if row is not None:
        print(f"{page}{row.pk}/change/")
"""


@pytest.fixture
def server(start_server: Callable[..., LiveServer]) -> LiveServer:
    return start_server()


@pytest.fixture
def rows(server: LiveServer) -> list[str]:
    """The session of Olga, and all lists and rows of the admin."""
    return server.shell(ROWS).split()


@pytest.fixture
async def page(server: LiveServer, rows: list[str]) -> AsyncIterator[Page]:
    async with chromium() as browser:
        context = await browser.new_context(base_url=server.http)
        await context.add_cookies([{"name": "sessionid", "value": rows[0], "url": server.http}])
        yield await context.new_page()


@pytest.fixture
def complaints(page: Page) -> list[tuple[str, str]]:
    """What the browser finds against a policy, and errors of scripts."""
    found: list[tuple[str, str]] = []

    def note(message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text:
            found.append((page.url, message.text))

    page.on("console", note)
    page.on("pageerror", lambda error: found.append((page.url, str(error))))
    return found


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
async def test_a_browser_finds_nothing_against_the_policies(
    page: Page, rows: list[str], complaints: list[tuple[str, str]]
) -> None:
    await page.goto("/")
    await page.locator(".socket[data-phase=live]").first.wait_for()
    await page.goto("/api/v1/docs")
    await page.get_by_text("/api/v1/publish").first.wait_for()
    for model in ("apikey", "alertrule", "webhookendpoint"):
        await page.goto(f"/admin/realtime/{model}/add/")
        await page.locator(".select2-selection").first.click()
        await page.locator(".select2-results__option").first.wait_for()
    pages = rows[1:]
    ours = {each for each in pages if "/realtime/" in each}
    assert len(ours) >= 20
    changes = {each for each in ours if each.endswith("/change/")}
    without_rows = {"/admin/realtime/liveconnection/"}  # these are in no table
    assert len(changes) == len(ours - changes - without_rows)
    others = ["/admin/", "/admin/password_change/", "/admin/login/",
              "/admin/realtime/apikey/none/change/", "/no/such/page", "/api/v1/asyncapi.json",
              "/api/v1/schema?format=json", "/ws/alerts", "/admin/?q=" + "x " * 99]  # fmt: skip
    for address in (*pages, *others):
        await page.goto(address)
    assert complaints == []
