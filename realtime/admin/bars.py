"""Recorded bars in the Django admin: to look at, not to change."""

from django.contrib import admin
from django.http import HttpRequest

from realtime.admin.base import GuardedAdmin
from realtime.models import Bar


@admin.register(Bar)
class BarAdmin(GuardedAdmin[Bar]):
    """What the recorder wrote; it would write over a change."""

    list_display = (
        "symbol", "interval", "source", "start", "open", "high", "low", "close", "volume",
        "updated_at",
    )  # fmt: skip
    list_filter = ("interval",)
    # The beginning of a symbol, as an index can find it.
    search_fields = ("symbol__istartswith",)
    # The count of a large table takes longer than the page.
    show_full_result_count = False
    # The newest rows first, by the one index that has no symbol in front; nothing else sorts fast.
    ordering = ("-pk",)
    sortable_by = ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False
