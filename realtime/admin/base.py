"""The base of our admin pages, whichever project and site registers them."""

from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ALL_VAR, PAGE_VAR
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBadRequest
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path, reverse

from realtime.admin.columns import Column, column_of
from realtime.admin.export import ROWS_AT_ONCE, csv_response
from realtime.pages import guard_urls

Row = TypeVar("Row", bound=Model)

if TYPE_CHECKING:  # generic in the stubs only
    _ModelAdmin = admin.ModelAdmin
else:

    class _ModelAdmin(admin.ModelAdmin, Generic[Row]):
        pass


class GuardedAdmin(_ModelAdmin[Row]):
    """Guards its pages, including those that a subclass adds in `get_urls`.

    Its list shows numbers and times as people read them, and exports `export_fields` as CSV. No
    field is exported unless it is named: some are secrets.

    Rows of other models, in `raw_id_fields`, are searched for by name if their model has an admin
    in this site that can search; a user model of the project may have none.
    """

    change_list_template = "admin/realtime/change_list.html"
    export_fields: ClassVar[tuple[str, ...]] = ()

    class Media:
        css: ClassVar = {"all": ["realtime/admin_lists.css"]}

    def get_autocomplete_fields(self, request: HttpRequest) -> list[str]:
        return [name for name in self.raw_id_fields if self._can_search(name)]

    def _can_search(self, name: str) -> bool:
        field: Any = self.opts.get_field(name)
        model = field.remote_field.model
        registered = self.admin_site.is_registered(model)
        return registered and bool(self.admin_site.get_model_admin(model).search_fields)

    def page_of(self, name: str, *args: object) -> str:
        """The URL of a page in the same admin site."""
        return reverse(f"admin:realtime_{name}", args=args, current_app=self.admin_site.name)

    # The list --------------------------------------------------------------------------------

    def get_list_display(self, request: HttpRequest) -> list[Column]:
        return [column_of(self.model, str(name)) for name in super().get_list_display(request)]

    def get_list_display_links(self, request: HttpRequest, list_display: Any) -> Any:
        links = super().get_list_display_links(request, list_display) or ()
        return [column_of(self.model, name) if isinstance(name, str) else name for name in links]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        context = dict(extra_context or {})
        if self.export_fields:
            url = self.page_of(f"{self.opts.model_name}_export")
            context["export_url"] = f"{url}?{request.GET.urlencode()}"
        return super().changelist_view(request, context)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.export_view)
        name = f"realtime_{self.opts.model_name}_export"
        return [path("export/", view, name=name), *super().get_urls()]

    def export_view(self, request: HttpRequest) -> HttpResponseBase:
        if not self.export_fields:
            raise Http404
        if not self.has_view_permission(request):
            raise PermissionDenied
        wanted = request.GET.copy()
        for name in (PAGE_VAR, ALL_VAR):
            wanted.pop(name, None)
        request.GET = wanted  # type: ignore[assignment]
        try:
            rows = self.get_changelist_instance(request).queryset
        except IncorrectLookupParameters:
            return HttpResponseBadRequest("This list has no such filter.", "text/plain")
        rows = rows.iterator(ROWS_AT_ONCE)
        return csv_response(request, f"{self.opts.model_name}", self.export_fields, rows)

    @property
    def urls(self) -> list[URLPattern]:
        patterns = super().urls
        guard_urls(patterns)
        return patterns
