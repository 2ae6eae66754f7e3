"""Streams that went quiet, as far as webhooks were told: to look at, not to change."""

from django.contrib import admin
from django.http import HttpRequest

from realtime.admin.base import GuardedAdmin
from realtime.models import Silence


@admin.register(Silence)
class SilenceAdmin(GuardedAdmin[Silence]):
    """A row ends when the stream is told of again; see `realtime.webhooks.stale_streams`."""

    list_display = ("symbol", "channel", "last_update", "told_at")
    export_fields = list_display
    list_filter = ("channel",)
    search_fields = ("symbol__istartswith",)
    ordering = ("-told_at",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False
