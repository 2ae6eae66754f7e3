"""Access of a group's members, for projects where `realtime.access.groups` decides it."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from realtime.access.user_access import USER_SCOPES
from realtime.admin.base import GuardedAdmin
from realtime.admin.forms import GroupAccessForm, symbols_name
from realtime.models import KEY_LIMITS, GroupAccess
from realtime.scopes import SYMBOL_SCOPES


@admin.register(GroupAccess)
class GroupAccessAdmin(GuardedAdmin[GroupAccess]):
    form = GroupAccessForm
    list_display = ("group", "scope_list")
    export_fields = ("group", "scopes", "symbols", *KEY_LIMITS)
    list_select_related = ("group",)
    search_fields = ("group__name",)
    raw_id_fields = ("group",)
    fieldsets = (
        (None, {"fields": ("group", "scopes")}),
        (
            "Symbols",
            {
                "fields": [symbols_name(scope) for scope in SYMBOL_SCOPES],
                "description": "Leave empty for every symbol.",
            },
        ),
        ("Limits", {"fields": KEY_LIMITS, "description": "Of each member."}),
    )

    @admin.display(description="Scopes")
    def scope_list(self, row: GroupAccess) -> SafeString:
        allowed = [scope for scope in USER_SCOPES if scope in row.scopes]
        return format_html_join(
            "; ",
            "{}: {}",
            ((scope, ", ".join(row.symbols.get(scope, [])) or "every symbol") for scope in allowed),
        )

    def get_readonly_fields(self, request: HttpRequest, obj: GroupAccess | None = None) -> Any:
        # Fixed: the members of the former group would not be notified.
        return () if obj is None else ("group",)
