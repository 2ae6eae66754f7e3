"""The page at `/`, and what plain HTTP gets at `/ws/…`."""

import shlex
from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from django.views.generic import TemplateView

from realtime.demo import project_python


class Dashboard(TemplateView):
    template_name = "realtime/dashboard.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        # Of an environment elsewhere, strangers learn nothing; whoever made it has activated it.
        python = project_python()
        command = "python" if python.is_absolute() else shlex.quote(str(python))
        return super().get_context_data(python=command, **kwargs)


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
