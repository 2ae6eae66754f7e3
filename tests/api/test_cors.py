"""What pages of other origins are answered by the REST API, and by nothing else."""

import re
from collections.abc import Sequence
from typing import Any

import pytest
from corsheaders.middleware import CorsMiddleware
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import include, path
from pytest_django import Settings

from realtime.access.identity import ANONYMOUS
from realtime.access.origins import origin_allowed
from realtime.api.cors import ApiCorsMiddleware
from realtime.checks import check_cors
from tests import personas

pytestmark = pytest.mark.django_db

APP = "https://app.example.com"
ALLOW = "Access-Control-Allow-Origin"
OURS = f"{ApiCorsMiddleware.__module__}.{ApiCorsMiddleware.__qualname__}"
THEIRS = f"{CorsMiddleware.__module__}.{CorsMiddleware.__qualname__}"


def their_view(request: HttpRequest) -> HttpResponse:
    return HttpResponse("theirs")


urlpatterns = [
    path("admin/", admin.site.urls),
    path("theirs/api/v1/alerts", their_view),
    path("live/", include("realtime.urls")),
]


@pytest.fixture(autouse=True)
def _origins(settings: Settings) -> None:
    settings.REALTIME_ALLOWED_ORIGINS = [APP]


@pytest.fixture
def host(settings: Settings) -> Settings:
    """A project that includes our URLs below a prefix, without a middleware of ours."""
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if not name.startswith("realtime.")]
    return settings


def preflight(client: Client, url: str, origin: str = APP, headers: str = "x-api-key") -> Any:
    return client.options(
        url,
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": headers,
        },
    )


def test_a_preflight_needs_no_credential(client: Client) -> None:
    answer = preflight(client, "/api/v1/publish")
    assert answer.status_code == 200
    assert answer[ALLOW] == APP
    allowed = answer["Access-Control-Allow-Headers"].split(", ")
    assert {"authorization", "x-api-key", "idempotency-key", "last-event-id"} <= set(allowed)


def test_a_script_may_read_when_to_try_again(client: Client) -> None:
    answer = client.get("/api/v1/alerts", headers={"Origin": APP})
    assert answer.status_code == 401
    exposed = answer["Access-Control-Expose-Headers"].split(", ")
    assert {"retry-after", "location", "ratelimit-remaining"} <= set(exposed)


@pytest.mark.parametrize("url", ["/api/v1/alerts", "/api/v1/no/such/path", "/api/v1/asyncapi.json"])
def test_caches_learn_that_the_answer_depends_on_the_origin(url: str, client: Client) -> None:
    assert "Origin" in client.get(url)["Vary"]
    answer = client.get(url, headers={"Origin": "https://evil.example"})
    assert "Origin" in answer["Vary"]
    assert ALLOW not in answer


def test_no_answer_lets_cookies_through(client: Client, settings: Settings) -> None:
    settings.CORS_ALLOW_CREDENTIALS = True
    for answer in (
        preflight(client, "/api/v1/auth/ticket"),
        client.post("/api/v1/auth/ticket", headers={"Origin": APP}),
    ):
        assert answer[ALLOW] == APP
        assert "Access-Control-Allow-Credentials" not in answer


def test_an_error_of_ours_is_readable_too(client: Client, monkeypatch: Any) -> None:
    client.raise_request_exception = False
    monkeypatch.setattr("realtime.api.publish.PublishView.post", lambda *_: 1 / 0)
    monkeypatch.setattr("realtime.api.publish.PublishView.check_permissions", lambda *_: None)
    answer = client.post("/api/v1/publish", headers={"Origin": APP})
    assert answer.status_code == 500
    assert answer[ALLOW] == APP


@pytest.mark.parametrize(
    ("origin", "status"),
    [(APP, 200), ("https://desk.example.com", 403), ("null", 403), ("", 403), (None, 200)],
)
def test_the_list_of_a_key_holds_for_rest_too(
    origin: str | None, status: int, client: Client
) -> None:
    _, raw = personas.bob_key(allowed_origins=[APP])
    headers = {"X-API-Key": raw} | ({} if origin is None else {"Origin": origin})
    answer = client.get("/api/v1/predictions", headers=headers)
    assert answer.status_code == status


# One parser --------------------------------------------------------------------------------------

ORIGINS = [
    APP, "https://APP.example.com", "https://app.example.com.", "https://app.example.com:443",
    "https://app.example.com:8443", "http://app.example.com", "https://evil.example",
    "https://app.example.com.evil.example", "https://a.b.wild.example", "https://wild.example",
    "https://xn--bcher-kva.example", "https://bücher.example", "http://[::1]", "http://[::1]:5173",
    "http://[::1", "http://localhost", "http://localhost.", "http://localhost:5173", "null",
    "file://", "file:///etc/passwd", "data:", "*", "", "chrome-extension://abcdef",
    "capacitor://localhost", f"{APP},https://evil.example", f"{APP} https://evil.example",
    f"{APP}/path", "https://user@app.example.com", "https://app.example.com:99999999",
]  # fmt: skip
LISTS: list[Sequence[str]] = [
    [], ["*"], [APP], ["null"], ["https://*.wild.example"], ["https://bücher.example"],
    ["http://[::1]:5173", "https://app.example.com:8443"],
]  # fmt: skip


@pytest.mark.parametrize("listed", LISTS, ids=str)
def test_rest_and_sockets_judge_an_origin_alike(
    listed: Sequence[str], client: Client, settings: Settings
) -> None:
    settings.REALTIME_ALLOWED_ORIGINS = listed
    seen = {}
    for origin in ORIGINS:
        socket = origin_allowed([(b"origin", origin.encode())], ANONYMOUS)
        answer = client.get("/api/v1/asyncapi.json", headers={"Origin": origin})
        ahead = preflight(client, "/api/v1/alerts", origin)
        seen[origin] = (socket, answer.get(ALLOW) == origin, ALLOW in ahead)
    assert {origin: each for origin, each in seen.items() if len(set(each)) > 1} == {}
    assert {each[0] for each in seen.values()} == {True, False}


# Another project ----------------------------------------------------------------------------------


def test_it_works_below_a_prefix_without_a_middleware(host: Settings, client: Client) -> None:
    assert preflight(client, "/live/api/v1/publish")[ALLOW] == APP
    assert client.get("/live/api/v1/alerts", headers={"Origin": APP})[ALLOW] == APP


@pytest.mark.parametrize("url", ["/theirs/api/v1/alerts", "/live/", "/live/metrics", "/no/such"])
@pytest.mark.parametrize("middleware", [[], [OURS]])
def test_other_urls_are_not_touched(
    url: str, middleware: list[str], host: Settings, client: Client
) -> None:
    host.MIDDLEWARE = [*middleware, *host.MIDDLEWARE]
    for answer in (preflight(client, url), client.get(url, headers={"Origin": APP})):
        assert "access-control" not in str(answer.headers).lower()
        assert "Origin" not in answer.get("Vary", "")


def test_a_cors_configuration_of_the_project_is_for_its_own_urls(
    host: Settings, client: Client
) -> None:
    host.MIDDLEWARE = [OURS, THEIRS, *host.MIDDLEWARE]
    host.CORS_ALLOWED_ORIGINS = ["https://shop.example.com"]
    host.CORS_ALLOW_CREDENTIALS = True
    assert preflight(client, "/live/api/v1/publish")[ALLOW] == APP
    for origin, url, allowed in (
        ("https://shop.example.com", "/theirs/api/v1/alerts", True),
        ("https://shop.example.com", "/live/api/v1/alerts", False),
        (APP, "/theirs/api/v1/alerts", False),
        (APP, "/live/api/v1/alerts", True),
    ):
        answer = client.get(url, headers={"Origin": origin})
        assert (ALLOW in answer) is allowed
        theirs = allowed and url.startswith("/theirs/")
        assert ("Access-Control-Allow-Credentials" in answer) is theirs


@pytest.mark.parametrize(
    ("middleware", "urls", "reported"),
    [
        ([], r"^.*$", False),
        ([OURS, THEIRS], r"^.*$", False),
        ([THEIRS], r"^/shop/", False),
        ([THEIRS], re.compile(r"^/shop/"), False),
        ([THEIRS], r"^/live/api/", True),
        ([THEIRS, OURS], r"^.*$", True),
    ],
)
def test_a_middleware_that_would_answer_before_ours_is_reported(
    middleware: list[str], urls: str | re.Pattern[str], reported: bool, host: Settings
) -> None:
    host.MIDDLEWARE = middleware
    host.CORS_URLS_REGEX = urls
    assert [message.id for message in check_cors()] == ["realtime.W014"] * reported
