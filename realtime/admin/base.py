"""The base of our pages in the admin, in whichever project and site they are registered."""

from typing import TYPE_CHECKING, Generic, TypeVar

from django.contrib import admin
from django.db.models import Model
from django.urls import URLPattern

from realtime.pages import guard_urls

Row = TypeVar("Row", bound=Model)

if TYPE_CHECKING:  # generic in the stubs only
    _ModelAdmin = admin.ModelAdmin
else:

    class _ModelAdmin(admin.ModelAdmin, Generic[Row]):
        pass


class GuardedAdmin(_ModelAdmin[Row]):
    """Guards its pages, also those that a subclass adds in `get_urls`."""

    @property
    def urls(self) -> list[URLPattern]:
        patterns = super().urls
        guard_urls(patterns)
        return patterns
