"""The page at `/`, and what plain HTTP gets at `/ws/…`."""

from typing import Final

from django.http import HttpRequest, HttpResponse
from django.views.generic import TemplateView

from realtime.api.schema import own_url
from realtime.standalone.demo import project_command


class Dashboard(TemplateView):
    template_name = "realtime/dashboard.html"

    def get_context_data(self, **kwargs: object) -> dict[str, object]:
        return super().get_context_data(
            python=project_command(private=_from_this_machine(self.request)),
            docs_url=own_url(self.request, "api:docs"),
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
