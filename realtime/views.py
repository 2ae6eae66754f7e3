"""The page at `/`, and what Django says at `/ws/…` and `/sse/…`."""

from typing import Final

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.generic import TemplateView

from realtime.api.schema import csrf_header, own_url
from realtime.standalone.demo import project_command
from realtime.streams import CHANNELS


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
            **kwargs,
        )


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
