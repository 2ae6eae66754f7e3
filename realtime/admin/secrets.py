"""Rows with a secret that is shown once: when the row is created, and when it is rotated."""

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from realtime.admin.base import GuardedAdmin
from realtime.admin.forms import RotateForm
from realtime.models import ApiKey, WebhookEndpoint

Row = TypeVar("Row", bound=ApiKey | WebhookEndpoint)


class SecretAdmin(GuardedAdmin[Row]):
    """Its templates are `shown.html` and `rotate.html` in the directory of the model."""

    # Titles of the pages that show and rotate the secret; then the entry in the log.
    shown_title: ClassVar[str]
    rotate_title: ClassVar[str]
    rotated: ClassVar[str]

    class Media:
        css: ClassVar = {"all": ["realtime/admin_keys.css"]}

    def facts(self, title: str, names: tuple[str, ...], obj: Row | None) -> list[object]:
        """The group of fields above those of the form; absent for a new row."""
        if obj is None:
            return []
        facts = [name for name in names if hasattr(self, name) or getattr(obj, name, None)]
        return [(title, {"fields": facts})]

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        initial: dict[str, object] = {"owner": request.user.pk}
        return {**initial, **super().get_changeform_initial_data(request)}

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        # Saving leads to the page with the secret, so other buttons would make no sense.
        buttons = {"show_save_and_add_another": False, "show_save_and_continue": False}
        return super().add_view(request, form_url, {**(extra_context or {}), **buttons})

    def save_model(self, request: HttpRequest, obj: Row, form: object, change: bool) -> None:
        if not change:
            request.secret = obj.issue()  # type: ignore[attr-defined]
        super().save_model(request, obj, form, change)

    def response_add(
        self, request: HttpRequest, obj: Row, post_url_continue: str | None = None
    ) -> HttpResponse:
        # Not a redirect: to carry the secret to another page, it would have to be stored.
        return self._show(request, obj, request.secret, "created")  # type: ignore[attr-defined]

    def get_urls(self) -> list[URLPattern]:
        return [self.page_url("rotate", self.rotate_view), *super().get_urls()]

    def page_url(self, name: str, view: Callable[..., HttpResponse]) -> URLPattern:
        """The URL of a page about one row."""
        return path(
            f"<path:object_id>/{name}/",
            self.admin_site.admin_view(view),
            name=f"realtime_{self.opts.model_name}_{name}",
        )

    def rotate_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        row = self.changeable(request, object_id)
        form = RotateForm(request.POST or None)
        if not form.is_valid():
            title = self.rotate_title.format(row)
            return self.page(request, "rotate", title, row=row, form=form)
        with transaction.atomic():
            secret = row.rotate(form.cleaned_data["overlap"])
            self.log_change(request, row, self.rotated)
        return self._show(request, row, secret, "rotated")

    def changeable(self, request: HttpRequest, object_id: str) -> Row:
        row: Row | None = self.get_object(request, unquote(object_id))
        if row is None:
            raise Http404
        if not self.has_change_permission(request, row):
            raise PermissionDenied
        return row

    def _show(self, request: HttpRequest, row: Row, secret: str, what: str) -> HttpResponse:
        title = f"{self.shown_title} {what}"
        return self.page(request, "shown", title, row=row, secret=secret, what=what)

    def page(
        self, request: HttpRequest, template: str, title: str, **context: object
    ) -> TemplateResponse:
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": title,
            "action": request.POST.get("action", ""),
            **context,
        }
        template = f"admin/realtime/{self.opts.model_name}/{template}.html"
        return TemplateResponse(request, template, context)
