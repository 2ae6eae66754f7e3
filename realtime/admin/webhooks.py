"""Webhooks in the Django admin: endpoints (the secret is shown once), and deliveries to them."""

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from realtime.admin.base import GuardedAdmin
from realtime.admin.columns import shown_time
from realtime.admin.forms import WebhookEndpointForm
from realtime.admin.secrets import SecretAdmin
from realtime.models import WebhookAttempt, WebhookDelivery, WebhookEndpoint, WebhookEvent
from realtime.users import field_lookups
from realtime.webhooks.events import send_test
from realtime.webhooks.queue import disable, enable, resend

if TYPE_CHECKING:  # generic in the stubs only
    _Inline = admin.TabularInline[WebhookAttempt, WebhookDelivery]
else:
    _Inline = admin.TabularInline

Reason = WebhookEndpoint.Reason
# After it, a test that no worker has taken needs a hint.
_PATIENCE: Final = timedelta(seconds=10)
_FACTS = ("state", "failing_since", "previous_expires_at", "created_at")


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(SecretAdmin[WebhookEndpoint]):
    shown_title = "Secret"
    rotate_title = "Rotate the secret of {}"
    rotated = "Rotated the secret."
    form = WebhookEndpointForm
    list_display = ("url", "description", "owner", "state", "event_list", "symbol_list")
    list_filter = ("enabled", "disabled_reason", "created_at")
    export_fields = (
        "id", "url", "description", "owner", "enabled", "disabled_reason", "events", "symbols",
        "failing_since", "created_at",
    )  # fmt: skip
    list_select_related = ("owner",)
    search_fields = ("url", "description", *field_lookups("owner"))
    raw_id_fields = ("owner",)
    actions = ("enable_selected", "disable_selected")

    @admin.display(description="Events")
    def event_list(self, endpoint: WebhookEndpoint) -> str:
        every = len(endpoint.events) == len(WebhookEvent.values)
        return "every event" if every else ", ".join(endpoint.events)

    @admin.display(description="Symbols", empty_value="every symbol")
    def symbol_list(self, endpoint: WebhookEndpoint) -> str | None:
        return ", ".join(endpoint.symbols) or None

    @admin.display(description="Status")
    def state(self, endpoint: WebhookEndpoint) -> SafeString:
        if not endpoint.enabled:
            reason = endpoint.get_disabled_reason_display() or "by its owner"
            return format_html('<span class="key-state key-revoked">disabled: {}</span>', reason)
        if endpoint.failing_since is not None:
            return format_html('<span class="key-state key-expired">{}</span>', "failing")
        return format_html('<span class="key-state key-active">{}</span>', "enabled")

    @admin.action(description="Enable selected webhooks", permissions=["change"])
    def enable_selected(self, request: HttpRequest, queryset: QuerySet[WebhookEndpoint]) -> None:
        chosen = list(queryset.filter(enabled=False))
        for endpoint in chosen:
            enable(endpoint)
            self.log_change(request, endpoint, "Enabled.")
        self.message_user(request, f"Enabled: {len(chosen)}", messages.SUCCESS)

    @admin.action(description="Disable selected webhooks", permissions=["change"])
    def disable_selected(self, request: HttpRequest, queryset: QuerySet[WebhookEndpoint]) -> None:
        chosen = [endpoint for endpoint in queryset if disable(endpoint, Reason.OWNER)]
        for endpoint in chosen:
            self.log_change(request, endpoint, "Disabled.")
        self.message_user(request, f"Disabled: {len(chosen)}", messages.SUCCESS)

    # One endpoint ----------------------------------------------------------------------------

    def get_fieldsets(self, request: HttpRequest, obj: WebhookEndpoint | None = None) -> Any:
        wanted: tuple[str, ...] = ("event_names", "patterns")
        if obj is not None and not self.has_change_permission(request, obj):
            wanted = ("event_list", "symbol_list")  # shown without the form
        return [
            *self.facts("Webhook", _FACTS, obj),
            (None, {"fields": ("owner", "url", "description", "enabled")}),
            ("What it gets", {"fields": wanted}),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: WebhookEndpoint | None = None) -> Any:
        return () if obj is None else (*_FACTS, "owner", "event_list", "symbol_list")

    def save_model(
        self, request: HttpRequest, obj: WebhookEndpoint, form: Any, change: bool
    ) -> None:
        wanted = obj.enabled
        if change and "enabled" in form.changed_data:
            obj.enabled = not wanted
        super().save_model(request, obj, form, change)
        if wanted and not obj.enabled:
            enable(obj)
        elif not wanted and obj.enabled:
            disable(obj, Reason.OWNER)

    def get_urls(self) -> list[URLPattern]:
        return [self.page_url("test", self.test_view), *super().get_urls()]

    def test_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        endpoint = self.changeable(request, object_id)
        if request.method != "POST":
            return self._test_page(request, endpoint)
        delivery = send_test(endpoint)
        if delivery is None:
            text = "Nothing was sent: the webhook is disabled, or its owner is not active."
            self.message_user(request, text, messages.ERROR)
            return HttpResponseRedirect(self.page_of("webhookendpoint_change", endpoint.pk))
        return HttpResponseRedirect(f"{request.path}?delivery={delivery.pk}")

    def _test_page(self, request: HttpRequest, endpoint: WebhookEndpoint) -> HttpResponse:
        """With what became of the test that `?delivery=` names, which the page asks for again."""
        number = request.GET.get("delivery", "")
        delivery = None
        if number:
            tests = endpoint.deliveries.filter(event=WebhookEvent.TEST)
            delivery = get_object_or_404(tests, pk=number if number.isdecimal() else 0)
        context: dict[str, object] = {"endpoint": endpoint, "delivery": delivery}
        if delivery is not None:
            context |= _outcome(delivery)
        return self.page(request, "test", f"Test {endpoint}", **context)


def _outcome(delivery: WebhookDelivery) -> dict[str, object]:
    """The newest attempt, and whether its result is still to come."""
    attempt = delivery.attempts.last()
    waiting = attempt is None or (attempt.finished_at is None and bool(delivery.claim))
    took = None
    if attempt is not None and attempt.finished_at is not None:
        took = round((attempt.finished_at - attempt.started_at).total_seconds() * 1000)
    overdue = attempt is None and delivery.created_at < timezone.now() - _PATIENCE
    return {"attempt": attempt, "waiting": waiting, "took": took, "overdue": overdue}


class AttemptInline(_Inline):
    model = WebhookAttempt
    fields = readonly_fields = (
        "started_at", "finished_at", "response_code", "problem", "response_body",
    )  # fmt: skip
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(GuardedAdmin[WebhookDelivery]):
    """Deliveries, to look at and to resend; events create the rows."""

    list_display = (
        "event", "symbol", "receiver", "status", "response_code", "tries", "created_at", "due",
    )  # fmt: skip
    list_filter = ("status", "event", "response_code", "created_at")
    export_fields = (
        "webhook_id", "endpoint", "event", "symbol", "status", "response_code", "tries",
        "created_at", "finished_at", "body",
    )  # fmt: skip
    list_select_related = ("endpoint",)
    list_per_page = 50
    show_full_result_count = False
    search_fields = ("webhook_id", "symbol", "endpoint__url", "endpoint__description")
    search_help_text = "webhook-id, symbol, or URL and description of the webhook"
    fields = readonly_fields = (
        "webhook_id", "receiver", "event", "symbol", "status", "response_code", "tries",
        "created_at", "due", "finished_at", "payload",
    )  # fmt: skip
    inlines = (AttemptInline,)
    actions = ("resend_selected",)

    @admin.display(description="Endpoint", ordering="endpoint")
    def receiver(self, delivery: WebhookDelivery) -> SafeString:
        """The webhook or the destination, with a link to its page."""
        endpoint = delivery.endpoint
        webhook = endpoint.kind == WebhookEndpoint.Kind.WEBHOOK
        name = "webhookendpoint" if webhook else "destination"
        page = self.page_of(f"{name}_change", endpoint.pk)
        return format_html('<a href="{}">{}</a>', page, endpoint)

    @admin.display(description="Next attempt", empty_value="-")
    def due(self, delivery: WebhookDelivery) -> SafeString | None:
        return None if delivery.due_at is None else shown_time(delivery.due_at)

    @admin.display(description="Payload")
    def payload(self, delivery: WebhookDelivery) -> SafeString:
        text = json.dumps(json.loads(delivery.body), indent=2, ensure_ascii=False)
        return format_html("<pre>{}</pre>", text)

    @admin.action(description="Resend selected deliveries", permissions=["change"])
    def resend_selected(self, request: HttpRequest, queryset: QuerySet[WebhookDelivery]) -> None:
        chosen = queryset.count()
        count = resend(queryset)
        left = chosen - count
        self.message_user(request, f"Will be sent again: {count}", messages.SUCCESS)
        if left:
            text = f"{left} left as they are: pending already, or their webhook is disabled."
            self.message_user(request, text, messages.WARNING)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        return lookup == "endpoint__id__exact" or super().lookup_allowed(lookup, value, request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(
        self, request: HttpRequest, obj: WebhookDelivery | None = None
    ) -> bool:
        # In the list it permits resending; rows are never edited by hand.
        return obj is None and super().has_change_permission(request)
