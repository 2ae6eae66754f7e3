"""The pages that links in mails lead to. The signed link is the credential: there is no login."""

from collections.abc import Callable
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.generic import TemplateView

from realtime.models import Destination
from realtime.webhooks.destinations import confirm, stop
from realtime.webhooks.links import read_confirm, read_stop


@method_decorator([csrf_exempt, never_cache, login_not_required], name="dispatch")
class _LinkPage(TemplateView):
    """GET asks, since scanners of mail open every link; POST acts, also RFC 8058's."""

    template_name = "realtime/destination.html"
    read: Callable[[str], int | None]
    act: Callable[[Destination], None]
    title: str
    question: str
    done: str

    def get(self, request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        return self._page(request, self._destination(request), done=False)

    def post(self, request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        destination = self._destination(request)
        if destination is not None:
            self.act(destination)
        return self._page(request, destination, done=True)

    def _destination(self, request: HttpRequest) -> Destination | None:
        number = self.read(request.GET.get("token", ""))
        return Destination.objects.filter(pk=number).first() if number is not None else None

    def _page(self, request: HttpRequest, found: Destination | None, *, done: bool) -> HttpResponse:
        context: dict[str, Any] = {"view": self, "destination": found, "acted": done}
        return self.render_to_response(context, status=404 if found is None else 200)


class ConfirmDestination(_LinkPage):
    read = staticmethod(read_confirm)
    act = staticmethod(confirm)
    title = "Get alerts by e-mail"
    question = "wants alerts to be sent to"
    done = "Alerts will be sent to"


class StopDestination(_LinkPage):
    read = staticmethod(read_stop)
    act = staticmethod(stop)
    title = "Stop alerts by e-mail"
    question = "has alerts sent to"
    done = "There will be no more alerts for"
