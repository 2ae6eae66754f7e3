"""The page at `/`, and what Django says at `/ws/…` and `/sse/…`."""

import logging
from typing import Final
from urllib.parse import urlencode

from django.conf import settings
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import resolve_url
from django.urls import NoReverseMatch, Resolver404, get_script_prefix, resolve
from django.views.generic import TemplateView

from realtime.api.schema import own_url
from realtime.conf import conf
from realtime.pages import csrf_header
from realtime.standalone.demo import project_command
from realtime.streams import CHANNELS

logger = logging.getLogger(__name__)


class Dashboard(TemplateView):
    template_name = "realtime/dashboard.html"

    def get_context_data(self, **kwargs: object) -> dict[str, object]:
        return super().get_context_data(
            python=project_command(private=_from_this_machine(self.request)),
            docs_url=own_url(self.request, "api:docs"),
            messages_url=own_url(self.request, "api:asyncapi-page"),
            api_url=own_url(self.request, "api:schema").removesuffix("schema"),
            csrf_header=csrf_header(),
            ws_url=own_url(self.request, "ws"),
            user_name=_user_name(self.request),
            login_url=_login_url(self.request),
            anonymous_allowed=conf.REALTIME_ALLOW_ANONYMOUS,
            **kwargs,
        )


def _user_name(request: HttpRequest) -> str:
    """Whose session this is; nobody's in projects without sessions, and without the database."""
    user = getattr(request, "user", None)
    try:
        return str(user.get_username()) if user is not None and user.is_authenticated else ""
    except DatabaseError as exc:
        logger.error("the page does not know its user: %s", exc)
        return ""


def _login_url(request: HttpRequest) -> str:
    """Where people log in and come back from: LOGIN_URL, else the admin; "" where neither is."""
    for name in (settings.LOGIN_URL, "admin:login"):
        url = _existing_url(str(name))
        if url:
            separator = "&" if "?" in url else "?"
            return f"{url}{separator}{urlencode({'next': request.get_full_path()})}"
    return ""


def _existing_url(name: str) -> str:
    """A URL, or that of a name; "" for what this project does not have."""
    try:
        url = resolve_url(name)
        if url.startswith("/"):  # Django's default is there in few projects
            resolve("/" + url.split("?")[0].removeprefix(get_script_prefix()).lstrip("/"))
    except (NoReverseMatch, Resolver404):
        return ""
    return url


def _from_this_machine(request: HttpRequest) -> bool:
    """Whether the browser runs beside the server, with no proxy in between."""
    peer = request.META.get("REMOTE_ADDR", "")
    forwarded = {"HTTP_X_FORWARDED_FOR", "HTTP_X_REAL_IP", "HTTP_FORWARDED"} & request.META.keys()
    return peer in ("127.0.0.1", "::1") and not forwarded


_UPGRADE: Final = """\
This is a WebSocket endpoint. Connect with ws:// (with TLS wss://), in a browser for example with
    new WebSocket('{url}/market-data/AAPL')
If that is what you did: a proxy in between does not pass the headers Upgrade and Connection on.
"""


def upgrade_required(request: HttpRequest) -> HttpResponse:
    """A browser that was pointed at an endpoint, or a proxy that speaks plain HTTP only."""
    url = request.build_absolute_uri(own_url(request, "ws")).replace("http", "ws", 1)
    return HttpResponse(
        _UPGRADE.format(url=url),
        status=426,
        content_type="text/plain",
        headers={"Upgrade": "websocket"},
    )


def events_elsewhere(request: HttpRequest) -> JsonResponse:
    """`/sse/…` that is not an endpoint, or in a process that does not serve events."""
    rest = request.path_info.partition("/sse")[2].strip("/")
    if rest.partition("/")[0] in CHANNELS:
        detail = (
            "Events are served by the ASGI application of realtime.asgi, not by this server. "
            "Run manage.py serve, or another ASGI server."
        )
        return JsonResponse({"detail": detail}, status=501)
    paths = ", ".join(f"/sse/{channel}" for channel in CHANNELS)
    return JsonResponse({"detail": f"Not found: events are at {paths}."}, status=404)
