"""Hot endpoints in front of Django's handler answer as their views do."""

import json
from collections.abc import AsyncIterator, Callable
from functools import wraps
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import httpx
import pytest
from asgiref.sync import sync_to_async
from django.core.asgi import get_asgi_application
from django.test import Client
from django.urls import include, path
from pytest_django import Settings

import realtime.asgi
from realtime.api.base import ViewAnswers
from realtime.api.direct import _Body
from realtime.api.publish import PublishView
from realtime.broadcast import broadcast_market_data
from realtime.predictions.records import record_prediction
from tests import personas
from tests.conftest import REDIS
from tests.hosts import settings as hosts
from tests.processes import free_port

pytestmark = pytest.mark.django_db(transaction=True)

APP = "https://app.example.com"
PUBLISH, TICKET = "/api/v1/publish", "/api/v1/auth/ticket"
PREDICTIONS = "/api/v1/predictions"
LATEST, LATEST_PREDICTIONS = "/api/v1/market-data/latest", f"{PREDICTIONS}/latest"
FORECAST = {"predicted_price": 150.25, "confidence": 0.85, "horizon": 60, "model": "mine"}
MARKET: dict[str, Any] = {"type": "market_data_update", "symbol": "AAPL", "data": {"price": 149.5}}
PREDICTION = {"type": "prediction_update", "symbol": "aapl", "data": {"predicted_price": 150.25}}
ALERT = {"type": "alert", "data": {"message": "Price exceeded $150", "severity": "high"}}
# Different in each answer.
VARYING = ("offset", "epoch", "ticket", "prediction_id", "valid_until")


class Django:
    """Django's application, and how often it was asked."""

    def __init__(self) -> None:
        self.app = get_asgi_application()
        self.requests = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.requests += 1
        await self.app(scope, receive, send)


# Who asks: the name of a header, and how its value is made.
PEOPLE: dict[str, tuple[str, Callable[[], str]]] = {
    "key": ("X-API-Key", lambda: key()),
    "btc": ("X-API-Key", lambda: key(symbols={"publish": ["BTC*"]})),
    "page": ("X-API-Key", lambda: key(allowed_origins=[APP])),
    "slow": ("X-API-Key", lambda: key(publish_per_second=1)),
    "reader": ("X-API-Key", lambda: personas.bob_key()[1]),
    "revoked": ("X-API-Key", lambda: personas.mallory_key(scopes=["publish"])[1]),
    "staff": ("Authorization", lambda: f"Bearer {personas.token(personas.olga())}"),
    "watcher": ("X-API-Key", lambda: personas.bob_key(symbols={"market-data": ["MSFT"]})[1]),
    "rare": ("X-API-Key", lambda: personas.bob_key(messages_per_second=1)[1]),
    "expired": ("Authorization", lambda: f"Bearer {personas.expired_token(personas.alice())}"),
    "session": ("Cookie", lambda: f"sessionid={session_of(personas.olga())}"),
    "nobody": ("X-Nobody", lambda: ""),
}


def key(**limits: Any) -> str:
    return personas.bob_key(scopes=["publish"], **limits)[1]


def session_of(user: Any) -> str:
    client = Client()
    client.force_login(user)
    return client.cookies["sessionid"].value


@pytest.fixture
async def both(settings: Settings) -> AsyncIterator[SimpleNamespace]:
    """A client of the view, and one of everything, with what Django was asked behind it."""
    settings.REALTIME_ALLOWED_ORIGINS = [APP]
    django = Django()
    whole = realtime.asgi.application(django)
    async with client_of(get_asgi_application()) as view, client_of(whole) as direct:
        yield SimpleNamespace(view=view, direct=direct, django=django)


def client_of(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")


def seen(answer: httpx.Response) -> tuple[int, Any, dict[str, str]]:
    """The status, the body and the headers without what differs each time."""
    try:
        body = json.loads(answer.content, object_hook=constant)
    except ValueError:
        body = answer.content
    headers = {name.lower(): value for name, value in answer.headers.items()}
    if any(name.encode() in answer.content for name in VARYING):
        headers.pop("content-length", None)
    return answer.status_code, body, headers


def constant(item: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name not in VARYING}


def post(
    body: Any = MARKET, who: str = "key", method: str = "POST", url: str = PUBLISH, **headers: str
) -> Any:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return pytest.param(
        (content, who, method, url, headers), id=ascii([body, who, method, url, headers])[:90]
    )


# Answered without Django.
DIRECT = [
    post(),
    post(PREDICTION),
    post([MARKET, PREDICTION]),
    post([MARKET] * 1000),
    post({**MARKET, "data": {"price": "149.5"}}),
    post({**MARKET, "data": {}}),
    post({**MARKET, "data": {"a": 10**30, "b": [{"c": None}], "ä": "ö\u2028"}}),
    post({**MARKET, "symbol": "BTC-USD"}, "btc"),
    post(who="staff"),
    post(origin=APP),
    post(origin="https://evil.example"),
    post(who="page", origin=APP),
    post(accept="text/html, application/json, */*;q=0.8"),
    post(content_type="application/json; charset=UTF-8"),
    post(b"", url=TICKET),
    post(b"", "reader", url=TICKET, origin=APP),
    post(b"", "staff", url=TICKET),
]
# Answered by the function that the view calls, in a thread.
CORE = [
    post(ALERT),
    post([MARKET, ALERT]),
    post({**MARKET, "symbol": " aapl "}),
    post({**MARKET, "symbol": "A PL"}),
    post({**MARKET, "type": "tick"}),
    post({**MARKET, "sybmol": "AAPL"}),
    post({**MARKET, "user_id": None}),
    post({**MARKET, "data": {"note": "x" * 70_000}}),
    post({**MARKET, "data": {"note": "\ud800"}}),
    post(b'{"type":"market_data_update","symbol":"A","data":{"a":1e999}}'),
    post(b'{"type":"market_data_update","symbol":"A","data":' + b'{"a":' * 200 + b"1" + b"}" * 201),
    post([]),
    post([MARKET] * 1001),
    post([MARKET, {**MARKET, "symbol": "A PL"}]),
    post({"symbol": "AAPL", "data": FORECAST}, url=PREDICTIONS),
    post([{"symbol": "AAPL", "data": FORECAST}] * 3, url=PREDICTIONS, origin=APP),
    post({"symbol": "AAPL", "data": {}}, url=PREDICTIONS),
    post({"symbol": "AAPL", "data": FORECAST}, "btc", url=PREDICTIONS),
    post(idempotency_key="no key"),
    post(who="btc"),
    *map(post, (b"7", b"null", b"[7]", b"[[]]")),
]  # fmt: skip
# Answered by the view, which Django is asked for.
VIEW = [
    post(b'{"type":"market_data_update","symbol":"A","data":{"a":' + b"9" * 5000 + b"}}"),
    *map(post, (b"", b"{", b"\xff\xfe", b"[" * 10_000)),
    post(b'{"type":"alert","data":{"a":NaN}}'),
    post({"symbol": "AAPL", "data": FORECAST}, "reader", url=PREDICTIONS),
    post(b"", url=PREDICTIONS, method="GET"),
    post(who="reader"),
    post(who="revoked"),
    post(who="expired"),
    post(who="nobody"),
    post(who="session"),
    post(who="page", origin="https://desk.example.com"),
    post(who="key", authorization="Bearer nonsense"),
    post(method="GET"),
    post(method="PUT"),
    post(method="OPTIONS", origin=APP, access_control_request_method="POST"),
    post(url=f"{PUBLISH}?format=xml"),
    post(url=f"{PUBLISH}/"),
    post(url="/no/such/publish"),
    post(accept="text/html"),
    post(accept="application/json; indent=4"),
    post(content_type="application/json; charset=latin-1"),
    post(content_type="text/plain"),
    post(host="evil.example"),
    post(b"", "nobody", url=TICKET),
    post(b"", "revoked", url=TICKET),
    post(b"", url=TICKET, method="GET"),
]  # fmt: skip


def get(query: str, who: str = "reader", url: str = LATEST, **headers: str) -> Any:
    return post(b"", who, "GET", f"{url}{query}", **headers)


# Answered without Django, whether anything is found or not.
READ = [
    get("?symbol=AAPL"),
    get("?symbol=aapl,%20MSFT,AAPL"),
    get("?symbol=NEVER"),
    get("?symbol=BIG", accept_encoding="gzip"),
    get("?symbol=BIG", accept_encoding="identity"),
    get("?symbol=AAPL", "staff", origin=APP),
    get("?symbol=AAPL", origin="https://evil.example"),
    get("?symbol=AAPL", idempotency_key="unused"),
    get("?symbol=AAPL&symbol=MSFT"),
    get("?symbol=%FF"),
    get("?symbol=" + ",".join(f"S{n}" for n in range(201))),
    *(get(each) for each in ("", "?symbol=", "?symbol=A%20PL", "?sybmol=AAPL", "?symbol=A&more=1")),
    get("?symbol=AAPL", "watcher"),
    get("?symbol=MSFT", "watcher"),
    *(get(each, url=LATEST_PREDICTIONS) for each in ("", "?symbol=AAPL", "?symbol=X", "?a=b")),
    get("?symbol=", url=LATEST_PREDICTIONS),
    get("", "staff", LATEST_PREDICTIONS, origin=APP),
]  # fmt: skip
READ_BY_VIEW = [
    get("?symbol=AAPL", "key"),
    get("?symbol=AAPL", "nobody"),
    get("?symbol=AAPL", "session"),
    get("?symbol=AAPL", "revoked"),
    get("?symbol=AAPL&format=xml"),
    post(b"", "reader", "HEAD", f"{LATEST}?symbol=AAPL"),
    post(b"", "reader", "POST", f"{LATEST}?symbol=AAPL"),
    get("", "nobody", LATEST_PREDICTIONS),
]


@pytest.fixture
def published() -> None:
    """Some market data, a large one too, and a prediction."""
    broadcast_market_data("AAPL", {"price": 1.5, "big": 10**30, "ä": "ö\u2028"})
    broadcast_market_data("BIG", {"note": "x" * 3000})
    record_prediction("AAPL", FORECAST)


async def ask(client: httpx.AsyncClient, case: Any, secret: str) -> httpx.Response:
    content, who, method, url, more = case
    given = {"content-type": "application/json", PEOPLE[who][0].lower(): secret}
    given |= {name.replace("_", "-"): value for name, value in more.items()}
    return await client.request(method, url, content=content, headers=given)


@pytest.fixture
def secret(case: Any) -> str:
    return PEOPLE[case[1]][1]()


@pytest.mark.parametrize("case", DIRECT)
async def test_what_succeeds_is_answered_without_django(
    case: Any, both: SimpleNamespace, secret: str
) -> None:
    answer = await ask(both.direct, case, secret)
    assert (answer.status_code, both.django.requests) == (201, 0)
    assert seen(answer) == seen(await ask(both.view, case, secret))


@pytest.mark.parametrize("case", CORE)
async def test_what_needs_a_second_look_is_answered_without_django_too(
    case: Any, both: SimpleNamespace, secret: str
) -> None:
    answer = await ask(both.direct, case, secret)
    assert both.django.requests == 0
    assert seen(answer) == seen(await ask(both.view, case, secret))


@pytest.mark.parametrize("case", READ)
async def test_what_is_read_is_answered_without_django(
    case: Any, published: None, both: SimpleNamespace, secret: str
) -> None:
    answer = await ask(both.direct, case, secret)
    assert both.django.requests == 0
    same(answer, await ask(both.view, case, secret))


@pytest.mark.parametrize("case", READ_BY_VIEW)
async def test_a_reader_without_a_credential_for_it_is_answered_by_the_view(
    case: Any, published: None, both: SimpleNamespace, secret: str
) -> None:
    answer = await ask(both.direct, case, secret)
    assert both.django.requests == 1
    same(answer, await ask(both.view, case, secret))


def same(answer: httpx.Response, theirs: httpx.Response) -> None:
    """Positions count as well; the length of what is compressed varies, against BREACH."""
    assert answer.content == theirs.content
    for each in (answer, theirs):
        if "content-encoding" in each.headers:
            del each.headers["content-length"]
    assert seen(answer) == seen(theirs)


@pytest.mark.parametrize("case", [get(f"?symbol={','.join(f'S{n}' for n in range(200))}", "rare")])
async def test_a_reader_above_its_rate_is_told_when_to_try_again(
    case: Any, published: None, both: SimpleNamespace, secret: str
) -> None:
    """That many symbols are 21 seconds' worth."""
    assert (await ask(both.direct, case, secret)).status_code == 200
    answer, theirs = await ask(both.direct, case, secret), await ask(both.view, case, secret)
    assert (answer.status_code, theirs.status_code, both.django.requests) == (429, 429, 0)
    assert answer.headers.keys() == theirs.headers.keys()


@pytest.mark.parametrize("case", [post(idempotency_key="first"), post(ALERT, idempotency_key="1")])
async def test_a_repetition_gets_the_first_answer_from_either(
    case: Any, both: SimpleNamespace, secret: str
) -> None:
    first, again = await ask(both.direct, case, secret), await ask(both.view, case, secret)
    assert (first.status_code, both.django.requests, again.json()) == (201, 0, first.json())
    assert seen(again) == seen(await ask(both.direct, case, secret))
    other = (b'{"type":"alert","data":{}}', *case[1:])
    assert (await ask(both.direct, other, secret)).status_code == 422


@pytest.mark.parametrize("case", VIEW)
async def test_anything_else_is_answered_by_the_view(
    case: Any, both: SimpleNamespace, secret: str
) -> None:
    answer = await ask(both.direct, case, secret)
    assert both.django.requests == 1
    assert seen(answer) == seen(await ask(both.view, case, secret))


@pytest.mark.parametrize("case", [post(who="slow")])
async def test_a_client_above_its_limit_is_told_when_to_try_again(
    case: Any, both: SimpleNamespace, secret: str
) -> None:
    assert (await ask(both.direct, case, secret)).status_code == 201
    answer = await ask(both.direct, case, secret)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    assert seen(answer) == seen(await ask(both.view, case, secret))


@pytest.mark.parametrize(
    "case", [post(origin=APP), post(b"", url=TICKET), get("?symbol=AAPL", origin=APP)]
)
async def test_without_redis_the_answer_is_that_of_the_view(
    case: Any, both: SimpleNamespace, secret: str, settings: Settings
) -> None:
    hosts = [f"redis://127.0.0.1:{free_port()}"]
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": REDIS, "CONFIG": {"hosts": hosts}}}
    answer, theirs = await ask(both.direct, case, secret), await ask(both.view, case, secret)
    assert answer.status_code == theirs.status_code == 503
    assert answer.json()["detail"].partition(":")[0] == theirs.json()["detail"].partition(":")[0]
    for each in (answer, theirs):  # the reasons of Redis differ
        del each.headers["content-length"]
    assert seen(answer)[2] == seen(theirs)[2]


# Another project ----------------------------------------------------------------------------------

CASE = post().values[0]


def logged(get_response: Any) -> Any:
    """A middleware of the project's own."""
    return get_response


def wrapped(view: Any) -> Any:
    return wraps(view)(lambda *args, **kwargs: view(*args, **kwargs))


urlpatterns = [
    path("live/", include("realtime.urls")),
    path("first/api/v1/publish", wrapped(PublishView.as_view())),
    path("first/", include("realtime.urls", namespace="first")),
]


async def was_direct(both: SimpleNamespace, url: str = PUBLISH, **headers: str) -> bool:
    """Was an update published, and without Django?"""
    content, who, method, _, _ = CASE
    secret = await sync_to_async(PEOPLE[who][1])()
    answer = await ask(both.direct, (content, who, method, url, headers), secret)
    assert answer.status_code == 201
    return bool(both.django.requests == 0)


@pytest.mark.parametrize(
    ("url", "direct"),
    [("/live/api/v1/publish", True), ("/first/api/v1/publish", False)],
)
async def test_a_prefix_is_known_and_a_view_of_the_project_goes_first(
    url: str, direct: bool, both: SimpleNamespace, settings: Settings
) -> None:
    settings.ROOT_URLCONF = __name__
    assert await was_direct(both, url) is direct


async def test_below_a_script_name(both: SimpleNamespace, settings: Settings) -> None:
    settings.FORCE_SCRIPT_NAME = "/shop"
    assert await was_direct(both, "/shop/api/v1/publish")


@pytest.mark.parametrize(
    ("wanted", "direct"), [("auto", False), ("always", True), ("never", False)]
)
async def test_a_middleware_of_the_project_is_not_passed_by_unless_it_says_so(
    wanted: str, direct: bool, both: SimpleNamespace, settings: Settings
) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.logged"]
    settings.REALTIME_DIRECT_HTTP = wanted
    assert await was_direct(both) is direct


async def test_what_startproject_lists_is_passed_by(
    both: SimpleNamespace, settings: Settings
) -> None:
    settings.MIDDLEWARE = hosts.MIDDLEWARE
    settings.REALTIME_DIRECT_HTTP = "auto"
    assert await was_direct(both)


async def test_a_client_that_must_use_tls_is_left_to_the_middleware(
    both: SimpleNamespace, settings: Settings
) -> None:
    settings.SECURE_SSL_REDIRECT = True
    secret = await sync_to_async(key)()
    await ask(both.direct, CASE, secret)
    assert both.django.requests == 1
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    settings.SECURE_HSTS_SECONDS = 60
    answer = await ask(both.direct, (*CASE[:4], {"x_forwarded_proto": "https"}), secret)
    assert (answer.status_code, both.django.requests) == (201, 1)
    assert answer.headers["strict-transport-security"] == "max-age=60"


async def test_a_client_that_goes_away_while_it_sends_publishes_nothing() -> None:
    messages = [{"type": "http.request", "body": b"{", "more_body": True}]
    messages.append({"type": "http.disconnect"})
    body = _Body(AsyncMock(side_effect=messages))
    with pytest.raises(ViewAnswers):
        await body.read()
    assert [await body.receive_again(), await body.receive_again()] == messages
