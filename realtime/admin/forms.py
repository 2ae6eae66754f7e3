"""The forms of the admin for API keys, groups and webhooks."""

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ValidationError

from realtime.access.user_access import USER_SCOPES
from realtime.models import (
    KEY_LIMITS,
    ONE_LIVE_KEY,
    ApiKey,
    GroupAccess,
    WebhookEndpoint,
    WebhookEvent,
    validate_origins,
)
from realtime.models.webhooks import validate_patterns
from realtime.scopes import READ_SCOPES, SCOPES, SYMBOL_SCOPES, InvalidScope, parse_symbols

if TYPE_CHECKING:  # generic in the stubs only
    _ModelForm = forms.ModelForm[Any]
    _WebhookForm = forms.ModelForm[WebhookEndpoint]
else:
    _ModelForm = _WebhookForm = forms.ModelForm

_SCOPE_LABELS = {
    "predictions": "predictions: receive predictions",
    "market-data": "market-data: receive market data",
    "alerts": "alerts: receive alerts",
    "publish": "publish: send updates to all clients",
    "metrics": "metrics: read the metrics and statistics of the server",
}
_OVERLAPS = [
    ("0", "At once"),
    ("3600", "After 1 hour"),
    ("86400", "After 1 day"),
    ("604800", "After 7 days"),
]


def _symbols_field(label: str) -> forms.CharField:
    return forms.CharField(
        label=label,
        required=False,
        widget=forms.TextInput(attrs={"class": "vTextField", "placeholder": "every symbol"}),
        help_text="Symbols or patterns, separated by commas: AAPL, BTC*",
    )


def _scopes_field(scopes: Iterable[str], help_text: str = "") -> forms.MultipleChoiceField:
    return forms.MultipleChoiceField(
        choices=[(scope, _SCOPE_LABELS[scope]) for scope in scopes],
        widget=forms.CheckboxSelectMultiple,
        initial=sorted(READ_SCOPES),
        help_text=help_text,
    )


class ScopedForm(_ModelForm):
    """For a row with scopes, patterns of symbols for each of them, and limits."""

    symbols_predictions = _symbols_field("Symbols of predictions")
    symbols_market_data = _symbols_field("Symbols of market-data")
    symbols_publish = _symbols_field("Symbols of publish")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance._state.adding:
            return
        for scope in SYMBOL_SCOPES:
            self.initial[symbols_name(scope)] = ", ".join(self.instance.symbols.get(scope, []))

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        for name in KEY_LIMITS:
            if name in cleaned:  # not where the number was refused
                cleaned[name] = cleaned[name] or 0
        symbols: dict[str, list[str]] = {}
        for scope in SYMBOL_SCOPES:
            listed = cleaned.get(symbols_name(scope), "").replace(",", " ").split()
            try:
                symbols.update(parse_symbols({scope: listed}))
            except InvalidScope as exc:
                self.add_error(symbols_name(scope), ValidationError(str(exc)))
        self.instance.symbols = symbols
        return cleaned


class GroupAccessForm(ScopedForm):
    scopes = _scopes_field(
        USER_SCOPES, "To publish also takes the permission “Can publish updates”."
    )

    class Meta:
        model = GroupAccess
        fields = ("group", "scopes", *KEY_LIMITS)


class ApiKeyForm(ScopedForm):
    operator_publishes = False  # set by the admin for each request

    scopes = _scopes_field(SCOPES)
    origins = forms.CharField(
        label="Allowed origins",
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "placeholder": "https://app.example.com"}),
        help_text=(
            "Web pages that may use this key, one per line. "
            "Empty: the server's own list. Programs other than browsers send no origin."
        ),
    )

    class Meta:
        model = ApiKey
        fields = ("owner", "name", "scopes", "expires_at", *KEY_LIMITS)

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        if not self.instance._state.adding:
            self.initial["origins"] = "\n".join(self.instance.allowed_origins)

    def clean_origins(self) -> list[str]:
        origins: list[str] = self.cleaned_data["origins"].split()
        validate_origins(origins)
        return origins

    def clean(self) -> dict[str, object]:
        cleaned = super().clean()
        # Django leaves the constraint out: its condition is on a field that the form has not.
        publishing = "publish" in {*cleaned.get("scopes", ()), *(self.initial.get("scopes") or ())}
        if publishing and not self.operator_publishes:
            self.add_error("scopes", "You may not publish, so you may not give keys that do.")
        owner = cleaned.get("owner") or getattr(self.instance, "owner", None)
        twins = ApiKey.objects.filter(owner=owner, name=cleaned.get("name"), revoked_at=None)
        if owner is not None and twins.exclude(pk=self.instance.pk).exists():
            self.add_error("name", ONE_LIVE_KEY)
        self.instance.allowed_origins = cleaned.get("origins", [])
        return cleaned


def symbols_name(scope: str) -> str:
    """The form field with the patterns of a scope."""
    return f"symbols_{scope.replace('-', '_')}"


class RotateForm(forms.Form):
    overlap = forms.TypedChoiceField(
        label="The old secret stops working",
        choices=_OVERLAPS,
        initial="86400",
        coerce=lambda text: timedelta(seconds=int(text)),
        widget=forms.RadioSelect,
    )


class WebhookEndpointForm(_WebhookForm):
    event_names = forms.MultipleChoiceField(
        label="Events",
        choices=WebhookEvent.choices,
        widget=forms.CheckboxSelectMultiple,
        initial=WebhookEvent.values,
    )
    patterns = _symbols_field("Symbols")

    class Meta:
        model = WebhookEndpoint
        fields = ("owner", "url", "description", "enabled")
        widgets = {"url": forms.TextInput(attrs={"class": "vTextField", "size": 80})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.instance._state.adding:
            self.initial["event_names"] = self.instance.events
            self.initial["patterns"] = ", ".join(self.instance.symbols)

    def clean_patterns(self) -> list[str]:
        patterns: list[str] = self.cleaned_data["patterns"].replace(",", " ").split()
        validate_patterns(patterns)
        return patterns

    def clean(self) -> dict[str, object]:
        cleaned: dict[str, object] = super().clean() or self.cleaned_data
        self.instance.events = cleaned.get("event_names", [])
        self.instance.symbols = cleaned.get("patterns", [])
        return cleaned
