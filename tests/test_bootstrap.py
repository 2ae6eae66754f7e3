"""`{% realtime_bootstrap %}`: a page that renders with data, and goes on from exactly there."""

import json
import re
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponse
from django.middleware.cache import UpdateCacheMiddleware
from django.template import Context, Template, TemplateSyntaxError
from django.test import RequestFactory, override_settings
from django.urls import include, path

from realtime.broadcast import abroadcast_market_data, broadcast_market_data
from tests import personas
from tests.clients import Open
from tests.consumers.conftest import connect, open_socket

__all__ = ["connect", "open_socket"]
pytestmark = pytest.mark.django_db(transaction=True)
urlpatterns = [path("live/desk/", include("realtime.urls"))]


def request_of(user: Any = None) -> HttpRequest:
    request = RequestFactory().get("/")
    request.user = user or AnonymousUser()
    return request


def rendered(tag: str, user: Any = None, **context: Any) -> str:
    request = context.pop("request", None) or request_of(user)
    page = Template("{% load realtime %}" + tag)
    return page.render(Context({"request": request, **context}))


def content(tag: str = '{% realtime_bootstrap "market-data" "AAPL" %}', **context: Any) -> Any:
    found = re.search(r"<script[^>]*>(.*)</script>", rendered(tag, **context), re.S)
    assert found is not None
    return json.loads(found[1])


async def test_a_socket_goes_on_where_the_page_was_rendered(each_layer: str, connect: Open) -> None:
    for price in (1, 2):
        await abroadcast_market_data("AAPL", {"price": price})
    page = await sync_to_async(content)(
        '{% realtime_bootstrap "market-data" symbols %}', symbols=["aapl", "MSFT"]
    )
    for symbol, price in (("AAPL", 3), ("MSFT", 1), ("AAPL", 4)):
        await abroadcast_market_data(symbol, {"price": price})
    socket = await connect(page["url"])
    await socket.send("subscribe", symbols=page["symbols"], since=page["streams"])
    await socket.until("subscribed")
    await abroadcast_market_data("AAPL", {"price": 5})
    await socket.until("market_data_update", offset=5)
    seen = [*page["updates"].values(), *socket.of_type("market_data_update")]
    assert sorted((each["symbol"], each["data"]["price"]) for each in seen) == [
        ("AAPL", 2), ("AAPL", 3), ("AAPL", 4), ("AAPL", 5), ("MSFT", 1),
    ]  # fmt: skip


async def test_the_ticket_connects_as_the_user(connect: Open) -> None:
    alice = await sync_to_async(personas.alice)()
    page = await sync_to_async(content)(user=alice)
    assert page["ticket_expires_in"] == 30
    socket = await connect(f"{page['url']}?ticket={page['ticket']}")
    assert socket.seen[0]["authenticated"] is True


def test_an_anonymous_page_has_data_and_no_ticket() -> None:
    broadcast_market_data("AAPL", {"price": 1})
    page = content()
    assert (page["updates"]["AAPL"]["data"], page["ticket"]) == ({"price": 1}, None)


def test_what_may_not_be_read_is_not_in_the_page(settings: Any) -> None:
    broadcast_market_data("AAPL", {"price": 1})
    settings.REALTIME_ALLOW_ANONYMOUS = False
    page = content()
    assert (page["symbols"], page["updates"], page["streams"]) == ([], {}, {})
    assert page["refused"] == {"AAPL": "forbidden"}


def test_what_is_not_a_symbol_is_left_out() -> None:
    page = content('{% realtime_bootstrap "market-data" symbols %}', symbols=["A B", "AAPL"])
    assert page["symbols"] == ["AAPL"]
    assert "A B" in page["refused"]


def test_no_text_of_a_publisher_or_a_user_ends_the_script() -> None:
    broadcast_market_data("AAPL", {"price": 1, "note": "</script><script>alert(1)</script>"})
    tag = '{% realtime_bootstrap "market-data" symbols %}'
    page = rendered(tag, symbols=["AAPL", "</script>"])
    assert page.count("</script>") == 1
    assert page.count("<script") == 1


@override_settings(ROOT_URLCONF=__name__)
def test_its_addresses_are_below_the_prefix_of_the_project() -> None:
    page = content()
    assert page["url"] == "/live/desk/ws/market-data"
    assert page["events_url"] == "/live/desk/sse/market-data"


def test_the_script_has_an_id_of_its_channel_or_ones_own() -> None:
    assert 'id="realtime-predictions"' in rendered('{% realtime_bootstrap "predictions" "A" %}')
    assert 'id="mine"' in rendered('{% realtime_bootstrap "predictions" "A" id="mine" %}')


def test_another_channel_is_an_error_of_the_template() -> None:
    with pytest.raises(TemplateSyntaxError, match="market-data, predictions"):
        rendered('{% realtime_bootstrap "prices" "AAPL" %}')


def test_a_page_without_a_request_is_anonymous() -> None:
    page = Template('{% load realtime %}{% realtime_bootstrap "market-data" "AAPL" %}')
    assert '"ticket": null' in page.render(Context())


def test_while_redis_is_away_the_page_renders_without_data(settings: Any) -> None:
    backend = "realtime.delivery.layers.RedisStreamLayer"
    config = {"hosts": ["redis://127.0.0.1:1"]}
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend, "CONFIG": config}}
    page = content(user=personas.alice())
    assert (page["symbols"], page["streams"], page["ticket"]) == (["AAPL"], {}, None)


@pytest.mark.parametrize(("known", "stored"), [(False, True), (True, False)])
def test_the_page_of_a_user_is_not_kept_by_the_cache_of_the_site(known: bool, stored: bool) -> None:
    request = request_of(personas.alice() if known else None)
    vars(request)["_cache_update_cache"] = True
    page = rendered('{% realtime_bootstrap "market-data" "AAPL" %}', request=request)
    cache = UpdateCacheMiddleware(lambda request: HttpResponse(page))
    assert cache._should_update_cache(request, HttpResponse(page)) is stored
