"""Destinations of alerts in the Django admin: added, tested and paused; no page shows a secret."""

from typing import TYPE_CHECKING, Any, Final

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.html import format_html
from django.utils.safestring import SafeString

from realtime.admin.base import GuardedAdmin
from realtime.models import Destination, WebhookDelivery
from realtime.models.destinations import hours_of
from realtime.models.webhooks import validate_quiet_hours
from realtime.users import field_lookups
from realtime.webhooks.destinations import last_attempt, queue_test, resume, set_address
from realtime.webhooks.queue import disable

if TYPE_CHECKING:  # generic in the stubs only
    _ModelForm = forms.ModelForm[Destination]
else:
    _ModelForm = forms.ModelForm

_FACTS: Final = (
    "state", "id", "shown_address", "kind", "last_result", "failing_since", "created_at",
)  # fmt: skip


class DestinationForm(_ModelForm):
    address = forms.CharField(
        max_length=500,
        widget=forms.TextInput(attrs={"class": "vTextField", "autocomplete": "off"}),
        help_text="An e-mail address, or the URL of a chat: ntfys://ntfy.sh/your-topic. "
        "What is secret in it is not shown again.",
    )
    quiet_start = forms.TimeField(
        label="From", required=False, help_text="22:00; empty: there are no quiet hours."
    )
    quiet_end = forms.TimeField(
        label="Until", required=False, help_text="07:00; what is held then comes as one message."
    )
    quiet_timezone = forms.CharField(
        label="Time zone", required=False, initial="UTC", help_text="For example Europe/Berlin."
    )

    class Meta:
        model = Destination
        fields = ("owner", "description", "enabled")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.instance._state.adding:
            self.fields.pop("address", None)
        if hours := hours_of(self.instance):
            self.initial["quiet_start"], self.initial["quiet_end"] = hours.start, hours.end
            self.initial["quiet_timezone"] = hours.timezone

    def clean(self) -> dict[str, object]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        self.instance.quiet_hours = self._quiet_hours(cleaned)
        if "address" in cleaned and cleaned.get("owner"):
            self.instance.owner, self.instance.events = cleaned["owner"], []
            try:
                set_address(self.instance, cleaned["address"], trusted=True)
            except ValidationError as exc:
                self.add_error(None, exc)
        return cleaned

    def _quiet_hours(self, cleaned: dict[str, Any]) -> dict[str, object] | None:
        start, end = cleaned.get("quiet_start"), cleaned.get("quiet_end")
        if (start is None) != (end is None):
            self.add_error("quiet_end" if end is None else "quiet_start", "Fill in both, or none.")
        if start is None or end is None:
            return None
        hours = {
            **(self.instance.quiet_hours or {}),
            "start": f"{start:%H:%M}",
            "end": f"{end:%H:%M}",
            "timezone": cleaned.get("quiet_timezone") or "UTC",
        }
        try:
            validate_quiet_hours(hours)
        except ValidationError as exc:
            self.add_error("quiet_timezone", exc)
        return hours


@admin.register(Destination)
class DestinationAdmin(GuardedAdmin[Destination]):
    form = DestinationForm
    list_display = ("__str__", "id", "kind", "owner", "state", "last_result")
    export_fields = (
        "id", "url", "description", "owner", "kind", "enabled", "disabled_reason", "confirmed",
        "quiet_hours", "failing_since", "created_at",
    )  # fmt: skip
    list_filter = ("kind", "enabled", "disabled_reason", "created_at")
    list_select_related = ("owner",)
    search_fields = ("url", "description", *field_lookups("owner"))
    raw_id_fields = ("owner",)
    readonly_fields = _FACTS
    actions = ("test_selected", "pause_selected", "resume_selected")
    change_form_template = "admin/realtime/destination/change_form.html"

    class Media:
        css = {"all": ["realtime/admin_keys.css"]}

    @admin.display(description="Status", ordering="enabled")
    def state(self, destination: Destination) -> SafeString:
        name, text = "active", "enabled"
        if not destination.enabled:
            name, text = "revoked", f"paused: {destination.get_disabled_reason_display()}"
        elif not destination.confirmed:
            name, text = "expired", "not confirmed"
        elif destination.failing_since is not None:
            name, text = "expired", "failing"
        return format_html('<span class="key-state key-{}">{}</span>', name, text)

    @admin.display(description="Address")
    def shown_address(self, destination: Destination) -> str:
        """Without what is secret in it."""
        return destination.url

    @admin.display(description="Last result", empty_value="nothing sent yet")
    def last_result(self, destination: Destination) -> str | None:
        attempt = last_attempt(destination)
        if attempt is None:
            return None
        sent = attempt.delivery.status == WebhookDelivery.Status.DELIVERED
        failed = attempt.get_problem_display() or f"answer {attempt.response_code}"
        what = "sent" if sent else failed
        return f"{what}, {attempt.started_at:%Y-%m-%d %H:%M:%S} UTC"

    # One destination ---------------------------------------------------------------------------

    def get_fieldsets(self, request: HttpRequest, obj: Destination | None = None) -> Any:
        own = ("owner", "address", "description") if obj is None else ("owner", "description")
        hours = ("quiet_start", "quiet_end", "quiet_timezone")
        facts = [] if obj is None else [(None, {"fields": _FACTS})]
        return [*facts, (None, {"fields": (*own, "enabled")}), ("Quiet hours", {"fields": hours})]

    def get_readonly_fields(self, request: HttpRequest, obj: Destination | None = None) -> Any:
        return () if obj is None else (*_FACTS, "owner")

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        initial: dict[str, object] = {"owner": request.user.pk}
        return {**initial, **super().get_changeform_initial_data(request)}

    def save_model(self, request: HttpRequest, obj: Destination, form: Any, change: bool) -> None:
        wanted, switched = obj.enabled, change and "enabled" in form.changed_data
        obj.hold_until = None  # the quiet hours may be other ones
        obj.enabled = not wanted if switched else wanted
        super().save_model(request, obj, form, change)
        if switched:
            self._switch(obj, wanted)

    def _switch(self, destination: Destination, wanted: bool) -> bool:
        if wanted:
            resume(destination)
            return True
        return disable(destination, Destination.Reason.OWNER)

    def response_change(self, request: HttpRequest, obj: Destination) -> HttpResponse:
        if "_test" in request.POST:
            self.test_selected(request, Destination.objects.filter(pk=obj.pk))
            return HttpResponseRedirect(request.get_full_path())
        return super().response_change(request, obj)

    @admin.action(description="Send a test message to selected", permissions=["change"])
    def test_selected(self, request: HttpRequest, queryset: QuerySet[Destination]) -> None:
        queued = [each for each in queryset.filter(enabled=True) if queue_test(each) is not None]
        self.message_user(request, f"Tests queued: {len(queued)}. Reload for the last result.")
        if left := queryset.count() - len(queued):
            text = f"{left} left as they are: paused, or asked to confirm too often today."
            self.message_user(request, text, messages.WARNING)

    @admin.action(description="Pause selected", permissions=["change"])
    def pause_selected(self, request: HttpRequest, queryset: QuerySet[Destination]) -> None:
        self._switch_all(request, queryset.filter(enabled=True), wanted=False)

    @admin.action(description="Resume selected", permissions=["change"])
    def resume_selected(self, request: HttpRequest, queryset: QuerySet[Destination]) -> None:
        self._switch_all(request, queryset.filter(enabled=False), wanted=True)

    def _switch_all(
        self, request: HttpRequest, queryset: QuerySet[Destination], *, wanted: bool
    ) -> None:
        what = "Resumed" if wanted else "Paused"
        chosen = [each for each in queryset if self._switch(each, wanted)]
        for destination in chosen:
            self.log_change(request, destination, f"{what}.")
        self.message_user(request, f"{what}: {len(chosen)}", messages.SUCCESS)
