"""Live connections in the admin: who is connected to any process, and how that ends."""

from typing import Any, Final

from asgiref.sync import async_to_sync
from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.dateparse import parse_datetime

from realtime.access.connection_search import ShownConnection, UnknownName, select, shown
from realtime.access.roll_call import MAX_REASON, MAX_ROWS, Roll, call_roll, end_connections
from realtime.access.roster import SORTS, Order, Selection
from realtime.admin.base import GuardedAdmin
from realtime.admin.overview import overview
from realtime.connections import StatisticsUnavailable
from realtime.delivery.publisher import BackendUnavailable
from realtime.models import LiveConnection
from realtime.streams import CHANNELS

PER_PAGE: Final = 100
# Heading, and what the list is sorted by.
_COLUMNS: Final = (
    ("User", "user"), ("Credential", ""), ("Address", "address"), ("Channel", "channel"),
    ("Symbols", "symbols"), ("Since", "since"), ("Round trip", "rtt_ms"), ("Sent", "sent"),
    ("Folded", "folded"), ("Waiting", "waiting_bytes"), ("Process", ""),
)  # fmt: skip
_UNAVAILABLE: Final = (StatisticsUnavailable, BackendUnavailable, ImproperlyConfigured)


class NarrowForm(forms.Form):
    """Which connections; with a user or a key, those can be ended together."""

    search = forms.CharField(required=False, max_length=200)
    user = forms.CharField(required=False, max_length=300)
    key = forms.CharField(required=False, max_length=100)
    channel = forms.ChoiceField(
        required=False, choices=[("", "every channel"), *((each, each) for each in CHANNELS)]
    )

    def selection(self) -> Selection:
        """Raises UnknownName."""
        return select(**self.cleaned_data)


class EndForm(forms.Form):
    id = forms.CharField(required=False, max_length=64, widget=forms.HiddenInput)
    user = forms.CharField(required=False, max_length=300, widget=forms.HiddenInput)
    key = forms.CharField(required=False, max_length=100, widget=forms.HiddenInput)
    reason = forms.CharField(
        required=False,
        max_length=MAX_REASON,
        label="What the clients are told",
        widget=forms.TextInput(attrs={"size": 60}),
    )

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        if not any(given.get(name) for name in ("id", "user", "key")):
            raise forms.ValidationError("Choose a connection, a user or a key.")
        return given

    def selection(self) -> Selection:
        """Raises UnknownName."""
        return select(**{name: self.cleaned_data[name] for name in ("id", "user", "key")})

    def whose(self) -> str:
        given = self.cleaned_data
        names = [f"{name} {given[name]}" for name in ("user", "key") if given[name]]
        return f"the connection {given['id']}" if given["id"] else f"all of {' and '.join(names)}"


@admin.register(LiveConnection)
class LiveConnectionAdmin(GuardedAdmin[LiveConnection]):
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        pages = (("", self.list_view, "changelist"), ("end/", self.end_view, "end"),
                 ("overview/", self.overview_view, "overview"))  # fmt: skip
        return [
            path(url, self.admin_site.admin_view(view), name=f"realtime_liveconnection_{name}")
            for url, view, name in pages
        ]

    def overview_view(self, request: HttpRequest) -> HttpResponse:
        """A part of a page, which renews itself; for all staff."""
        return TemplateResponse(request, "admin/realtime/overview.html", overview())

    def list_view(self, request: HttpRequest) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        form = NarrowForm(request.GET)
        sort = request.GET.get("sort", "")
        sort = sort if sort.removeprefix("-") in SORTS else "-since"
        page = _page_number(request)
        roll, problem = _roll(form, Order(sort.removeprefix("-"), sort[0] == "-", page * PER_PAGE))
        rows = shown(roll.rows[(page - 1) * PER_PAGE :])
        reachable = min(roll.count, MAX_ROWS)
        context = {
            "form": form,
            "problem": problem,
            "roll": roll,
            "rows": [{**row, "begin": _begin(row)} for row in rows],
            "columns": [_column(request, label, name, sort) for label, name in _COLUMNS],
            "sort": sort,
            "earlier": _link(request, page=page - 1) if page > 1 else None,
            "later": _link(request, page=page + 1) if page * PER_PAGE < reachable else None,
            "first": (page - 1) * PER_PAGE + 1,
            "last": (page - 1) * PER_PAGE + len(rows),
            "may_end": self.has_delete_permission(request),
            "narrowed": [name for name in ("user", "key") if not problem and form.data.get(name)],
        }
        return self._page(request, "list", "Live connections", context)

    def end_view(self, request: HttpRequest) -> HttpResponse:
        if not self.has_delete_permission(request):
            raise PermissionDenied
        form = EndForm(request.POST or request.GET)
        if request.method == "POST" and form.is_valid():
            self._end(request, form)
            return HttpResponseRedirect(self.page_of("liveconnection_changelist"))
        whose = form.whose() if form.is_valid() else ""
        return self._page(request, "end", "End connections", {"form": form, "whose": whose})

    def _end(self, request: HttpRequest, form: EndForm) -> None:
        reason, operator = form.cleaned_data["reason"], request.user.get_username()
        try:
            roll = async_to_sync(end_connections)(form.selection(), reason, operator)
        except (UnknownName, *_UNAVAILABLE) as exc:
            self.message_user(request, str(exc), messages.ERROR)
            return
        level = messages.SUCCESS if roll.count else messages.WARNING
        self.message_user(request, f"Connections ended: {roll.count}.", level)
        if roll.silent:
            silent = f"No answer in time from {', '.join(roll.silent)}."
            self.message_user(request, silent, messages.WARNING)

    def _page(
        self, request: HttpRequest, name: str, title: str, context: dict[str, Any]
    ) -> HttpResponse:
        around = {**self.admin_site.each_context(request), "opts": self.opts, "title": title}
        request.current_app = self.admin_site.name
        template = f"admin/realtime/liveconnection/{name}.html"
        return TemplateResponse(request, template, {**around, "media": self.media, **context})


def _roll(form: NarrowForm, order: Order) -> tuple[Roll, str]:
    """The connections; without any, what is in the way."""
    if not form.is_valid():
        texts = (f"{name}: {' '.join(map(str, errors))}" for name, errors in form.errors.items())
        return Roll(), "; ".join(texts)
    try:
        return async_to_sync(call_roll)(form.selection(), order), ""
    except (UnknownName, *_UNAVAILABLE) as exc:
        return Roll(), str(exc)


def _page_number(request: HttpRequest) -> int:
    text = request.GET.get("page", "1")
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 6 else 1
    return min(max(1, number), MAX_ROWS // PER_PAGE)


def _link(request: HttpRequest, **changes: object) -> str:
    query = request.GET.copy()
    for name, value in changes.items():
        query[name] = str(value)
    return f"?{query.urlencode()}"


def _column(request: HttpRequest, label: str, name: str, sort: str) -> dict[str, str]:
    """A heading; its link sorts, and turns the order round where that is the order already."""
    state = {name: "ascending", f"-{name}": "descending"}.get(sort, "none") if name else "none"
    wanted = name if sort == f"-{name}" else f"-{name}"
    link = _link(request, sort=wanted, page=1) if name else ""
    return {"label": label, "link": link, "state": state}


def _begin(row: ShownConnection) -> object:
    return parse_datetime(row["since"])
