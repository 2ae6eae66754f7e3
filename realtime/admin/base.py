"""The base of our admin pages, whichever project and site registers them."""

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from django.urls import URLPattern, reverse

from realtime.pages import guard_urls

Row = TypeVar("Row", bound=Model)

if TYPE_CHECKING:  # generic in the stubs only
    _ModelAdmin = admin.ModelAdmin
else:

    class _ModelAdmin(admin.ModelAdmin, Generic[Row]):
        pass


class GuardedAdmin(_ModelAdmin[Row]):
    """Guards its pages, including those that a subclass adds in `get_urls`.

    Rows of other models, in `raw_id_fields`, are searched for by name if their model has an admin
    in this site that can search; a user model of the project may have none.
    """

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

    @property
    def urls(self) -> list[URLPattern]:
        patterns = super().urls
        guard_urls(patterns)
        return patterns
