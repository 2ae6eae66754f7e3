"""Recorded bars in the Django admin, read-only."""

from django.contrib import admin
from django.http import HttpRequest

from realtime.admin.base import GuardedAdmin
from realtime.models import Bar


@admin.register(Bar)
class BarAdmin(GuardedAdmin[Bar]):
    """Rows of the recorder, which would overwrite a change."""

    list_display = (
        "symbol", "interval", "source", "start", "open", "high", "low", "close", "volume",
        "updated_at",
    )  # fmt: skip
    export_fields = (
        "symbol", "interval", "source", "start", "open", "high", "low", "close", "volume",
        "updated_at",
    )  # fmt: skip
    list_filter = ("interval",)
    # The search is by the beginning of a symbol, which an index can find.
    search_fields = ("symbol__istartswith",)
    # Counting a large table takes longer than the rest of the page.
    show_full_result_count = False
    # Newest rows first, by the only index that does not start with the symbol; no other order is
    # fast.
    ordering = ("-pk",)
    sortable_by = ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False
