"""API keys in the Django admin: create (the key is shown once), rotate, revoke, look up."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.timesince import timesince, timeuntil

from realtime.access.revocation import key_changed
from realtime.admin.forms import ApiKeyForm, symbols_name
from realtime.admin.secrets import SecretAdmin
from realtime.connections import StatisticsUnavailable, connection_manager
from realtime.models import KEY_LIMITS, ApiKey, ApiKeyQuerySet, may_publish
from realtime.scopes import SCOPES, SYMBOL_SCOPES
from realtime.users import field_lookups

_FACTS = (
    "key", "state", "live_connections",
    "created_at", "last_used_at", "previous_expires_at", "revoked_at",
)  # fmt: skip
_LIVE = "live-connections"


class StatusFilter(admin.SimpleListFilter):
    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, Any]]:
        return list(ApiKey.Status.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> QuerySet[ApiKey]:
        assert isinstance(queryset, ApiKeyQuerySet)
        value = self.value()
        if value is None or value not in ApiKey.Status:
            return queryset
        chosen: ApiKeyQuerySet = getattr(queryset, value)()
        return chosen


class ScopeFilter(admin.SimpleListFilter):
    title = "scope"
    parameter_name = "scope"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, Any]]:
        return [(scope, scope) for scope in SCOPES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> QuerySet[ApiKey]:
        if self.value() not in SCOPES:
            return queryset
        # Compared as text: SQLite cannot search a JSON list, and no scope's name contains
        # another's.
        return queryset.filter(scopes__icontains=f'"{self.value()}"')


@admin.register(ApiKey)
class ApiKeyAdmin(SecretAdmin[ApiKey]):
    shown_title = "API key"
    rotate_title = "Rotate {}"
    rotated = "Rotated."
    form = ApiKeyForm
    list_display = (
        "key", "name", "state", "live", "owner", "scope_list", "expiry", "last_used"
    )  # fmt: skip
    list_display_links = ("key", "name")
    export_fields = (
        "prefix", "name", "owner", "status", "scopes", "symbols", "allowed_origins", *KEY_LIMITS,
        "created_at", "expires_at", "last_used_at", "revoked_at",
    )  # fmt: skip
    list_filter = (StatusFilter, ScopeFilter, "created_at", "last_used_at")
    list_select_related = ("owner",)
    list_per_page = 50
    search_fields = ("prefix", "name", *field_lookups("owner"))
    search_help_text = "Visible part of the key (k3f9a2bc), name or owner"
    raw_id_fields = ("owner",)
    actions = ("revoke_selected",)

    # The list --------------------------------------------------------------------------------

    @admin.display(description="Key", ordering="prefix")
    def key(self, key: ApiKey) -> SafeString:
        return format_html("<code>{}_…</code>", key.visible)

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        page = super().get_changelist_instance(request)
        counts = _live_counts()  # once for all of them
        for key in page.result_list:
            key.live = None if counts is None else counts.get(key.pk, 0)
        return page

    @admin.display(description="Live connections")
    def live(self, key: ApiKey) -> str | SafeString:
        count: int | None = key.live  # type: ignore[attr-defined]
        page = self.page_of("apikey_change", key.pk)
        return format_html('<a href="{}#{}">{}</a>', page, _LIVE, _shown(count))

    @admin.display(description="Live connections")
    def live_connections(self, key: ApiKey) -> SafeString:
        counts = _live_counts()
        count = None if counts is None else counts.get(key.pk, 0)
        return format_html('<span id="{}">{}</span>', _LIVE, _shown(count))

    @admin.display(description="Scopes")
    def scope_list(self, key: ApiKey) -> SafeString:
        return format_html_join(
            " ",
            '<span class="key-scope" title="{}">{}</span>',
            (
                (", ".join(key.symbols.get(scope, [])) or "every symbol", _scope_text(key, scope))
                for scope in key.scopes
            ),
        )

    @admin.display(description="Expires", ordering="expires_at", empty_value="never")
    def expiry(self, key: ApiKey) -> str | SafeString | None:
        if key.expires_at is None:
            return None
        now = timezone.now()
        if key.expires_at <= now:
            return _moment(key.expires_at, f"{timesince(key.expires_at, now, depth=1)} ago")
        return _moment(key.expires_at, f"in {timeuntil(key.expires_at, now, depth=1)}")

    @admin.display(description="Last used", ordering="last_used_at", empty_value="never")
    def last_used(self, key: ApiKey) -> str | SafeString | None:
        if key.last_used_at is None:
            return None
        return _moment(key.last_used_at, f"{timesince(key.last_used_at, depth=1)} ago")

    @admin.display(description="Status")
    def state(self, key: ApiKey) -> SafeString:
        return format_html('<span class="key-state key-{0}">{0}</span>', key.status.value)

    @admin.action(description="Revoke selected keys", permissions=["change"])
    def revoke_selected(
        self, request: HttpRequest, queryset: QuerySet[ApiKey]
    ) -> HttpResponse | None:
        keys = list(queryset.filter(revoked_at__isnull=True).select_related("owner"))
        if not keys:
            self.message_user(request, "Those keys are revoked already.", messages.WARNING)
            return None
        if "confirmed" not in request.POST:
            return self.page(request, "revoke", "Revoke API keys", keys=keys)
        self._revoke(request, keys)
        return None

    # One key ---------------------------------------------------------------------------------

    def get_fieldsets(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        narrowed: tuple[str, ...] = (*(symbols_name(scope) for scope in SYMBOL_SCOPES), "origins")
        if obj is not None and not self.has_change_permission(request, obj):
            narrowed = ("symbols", "allowed_origins")  # shown apart from the form
        return [
            *self.facts("Key", _FACTS, obj),
            (None, {"fields": ("owner", "name", "expires_at")}),
            ("What it may do", {"fields": ("scopes",)}),
            (
                "Symbols and origins",
                {
                    "fields": narrowed,
                    "description": "Leave empty for all of them.",
                    "classes": _folded(obj, "symbols", "allowed_origins"),
                },
            ),
            ("Limits", {"fields": KEY_LIMITS, "classes": _folded(obj, *KEY_LIMITS)}),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        return () if obj is None else (*_FACTS, "owner")

    def has_change_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        # A revoked key is kept for reference.
        if obj is not None and obj.revoked_at is not None:
            return False
        return super().has_change_permission(request, obj)

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        if "publish" not in (form.initial.get("scopes") if change else ()):
            obj.grant_publish()
        if "metrics" not in (form.initial.get("scopes") if change else ()):
            obj.grant_metrics()
        super().save_model(request, obj, form, change)

    # Rotate and revoke -----------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        return [self.page_url("revoke", self.revoke_view), *super().get_urls()]

    def get_form(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        form: Any = super().get_form(request, *args, **kwargs)
        form.operator_publishes = may_publish(request.user)
        return form

    def rotate_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        key = self.changeable(request, object_id)
        if "publish" in key.scopes and not may_publish(request.user):
            raise PermissionDenied  # an operator who rotates a key gets to see it
        return super().rotate_view(request, object_id)

    def revoke_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        key = self.changeable(request, object_id)
        if request.method != "POST":
            return self.page(request, "revoke", f"Revoke {key}", keys=[key])
        self._revoke(request, [key])
        return HttpResponseRedirect(self.page_of("apikey_changelist"))

    def _revoke(self, request: HttpRequest, keys: list[ApiKey]) -> None:
        with transaction.atomic():
            for key in keys:
                if key.revoke():
                    self.log_change(request, key, "Revoked.")
                key_changed(key)
        names = ", ".join(str(key) for key in keys)
        self.message_user(request, f"Revoked: {names}", messages.SUCCESS)


def _live_counts() -> dict[int, int] | None:
    try:
        return connection_manager.get_key_counts()
    except StatisticsUnavailable:
        return None  # keys must be revocable while Redis is away


def _shown(count: int | None) -> str:
    return "unknown" if count is None else str(count)


def _folded(key: ApiKey | None, *fields: str) -> tuple[str, ...]:
    """CSS classes of a group of fields: collapsed while all of them are empty."""
    filled = key is not None and any(getattr(key, name) for name in fields)
    return () if filled else ("collapse",)


def _scope_text(key: ApiKey, scope: str) -> str:
    if scope not in key.scopes_now:
        return f"{scope} (its owner may not)"
    return f"{scope} *" if scope in key.symbols else scope


def _moment(moment: Any, text: str) -> SafeString:
    local = timezone.localtime(moment)
    return format_html('<time title="{}">{}</time>', f"{local:%Y-%m-%d %H:%M:%S %Z}", text)
