"""The page at `/`, and what plain HTTP gets at `/ws/…`."""

from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from django.views.generic import TemplateView

from realtime.standalone.demo import project_command


class Dashboard(TemplateView):
    template_name = "realtime/dashboard.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        python = project_command(private=_from_this_machine(self.request))
        return super().get_context_data(python=python, **kwargs)


def _from_this_machine(request: HttpRequest) -> bool:
    """Whether the browser runs beside the server, with no proxy in between."""
    peer = request.META.get("REMOTE_ADDR", "")
    forwarded = {"HTTP_X_FORWARDED_FOR", "HTTP_X_REAL_IP", "HTTP_FORWARDED"} & request.META.keys()
    return peer in ("127.0.0.1", "::1") and not forwarded


_UPGRADE: Final = """\
This is a WebSocket endpoint. Connect with ws:// (with TLS wss://), in a browser for example with
    new WebSocket('ws://localhost:8000/ws/market-data/AAPL')
If that is what you did: a proxy in between does not pass the headers Upgrade and Connection on.
"""


def upgrade_required(request: HttpRequest) -> HttpResponse:
    """A browser that was pointed at an endpoint, or a proxy that speaks plain HTTP only."""
    return HttpResponse(
        _UPGRADE, status=426, content_type="text/plain", headers={"Upgrade": "websocket"}
    )
