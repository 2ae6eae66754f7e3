"""Alert rules in the Django admin, with a dry run; alerts, to look at."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from asgiref.sync import async_to_sync
from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.forms.fields import InvalidJSONInput
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from realtime.admin.base import GuardedAdmin
from realtime.alerts.dry_run import PASTS, Busy, Past, TooMuch, try_out
from realtime.alerts.rule_editing import (
    check_destinations,
    definition_of,
    delete_rules,
    fill,
    save_rule,
)
from realtime.alerts.rules import Definition, InvalidRule, parse_rule
from realtime.delivery.publisher import BackendUnavailable
from realtime.models import (
    Alert,
    AlertAcknowledgement,
    AlertProblem,
    AlertRule,
    WebhookEndpoint,
)
from realtime.pages import csrf_header
from realtime.protocol import SEVERITIES
from realtime.users import field_lookups

if TYPE_CHECKING:  # generic in the stubs only
    _Inline = admin.TabularInline[AlertAcknowledgement, Alert]
    _ModelForm = forms.ModelForm[AlertRule]
else:
    _Inline = admin.TabularInline
    _ModelForm = forms.ModelForm

EXAMPLE: Final = {"symbols": ["AAPL"], "conditions": [{"type": "above", "value": 150}]}

_OWNER_NAME = field_lookups("owner", email=False)[0]


class DefinitionField(forms.JSONField):
    """JSON that Python reads and UTF-8 can carry; anything else is an error of the form."""

    def to_python(self, value: Any) -> Any:
        try:
            found = super().to_python(value)
            json.dumps(found, ensure_ascii=False).encode()
        except (ValueError, RecursionError):
            raise forms.ValidationError(
                self.error_messages["invalid"], "invalid", {"value": value}
            ) from None
        return found

    def bound_data(self, data: object, initial: object) -> object:
        try:
            self.to_python(data)
        except forms.ValidationError:
            return InvalidJSONInput(data or "")
        return super().bound_data(data, initial)


class DefinitionInput(forms.Textarea):
    """JSON, which a script turns into inputs for the fields of a rule."""

    class Media:
        js = [forms.Script("realtime/admin_rule.js", type="module")]
        css = {"all": ["realtime/rules.css", "realtime/admin_rule.css"]}


class AlertRuleForm(_ModelForm):
    """The definition as JSON; what is wrong with it is said with its field."""

    everybody = forms.BooleanField(
        required=False, help_text="All users receive the alerts; the rule has no owner."
    )
    name = forms.CharField(
        max_length=100, required=False, help_text="Empty: the conditions in words."
    )
    definition = DefinitionField(
        initial=EXAMPLE,
        widget=DefinitionInput(attrs={"rows": 14, "cols": 80}),
        help_text="symbols, conditions, match, severity, message, for, cooldown, once, "
        "active_hours, expires_at: see “Alert rules” in the documentation.",
    )

    class Meta:
        model = AlertRule
        fields = ("owner", "everybody", "name", "definition", "paused")
        help_texts = {"owner": "The user who receives the alerts."}

    checked: Definition | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.instance._state.adding:
            self.initial["everybody"] = self.instance.owner_id is None

    def clean(self) -> dict[str, object]:
        cleaned = super().clean() or self.cleaned_data
        self._check_owner(cleaned)
        raw = cleaned.get("definition")
        if isinstance(raw, dict):
            raw = {**raw, "name": cleaned.get("name") or "", "paused": cleaned.get("paused", False)}
        if raw is None:
            return cleaned
        try:
            self.checked = parse_rule(raw)
        except InvalidRule as exc:
            self.add_error("definition", str(exc))
        else:
            self._check_endpoint(self.checked, cleaned.get("owner"))
        return cleaned

    def _check_owner(self, cleaned: Mapping[str, object]) -> None:
        """A forgotten owner must not make a rule that alerts everybody."""
        if "owner" not in cleaned:
            return  # its own error says why
        owned, everybody = cleaned["owner"] is not None, cleaned.get("everybody")
        if not owned and not everybody:
            self.add_error("owner", "Choose the user who receives the alerts, or tick “Everybody”.")
        if owned and everybody:
            self.add_error("everybody", "Tick this without an owner, or leave it.")

    def _check_endpoint(self, definition: Definition, owner: Any) -> None:
        mine = WebhookEndpoint.objects.filter(owner=owner, pk=definition.escalate_to or 0)
        if definition.escalate_to is not None and not mine.exists():
            self.add_error("definition", "escalate_to: must be a webhook endpoint of the owner")
        try:
            check_destinations(definition, None if owner is None else owner.pk)
        except InvalidRule as exc:
            self.add_error("definition", str(exc))


class DryRunForm(forms.Form):
    past = forms.ChoiceField(
        choices=[
            ("history", "updates held by the streams"),
            ("1m", "minute bars"),
            ("1d", "daily bars"),
        ]
    )


@admin.register(AlertRule)
class AlertRuleAdmin(GuardedAdmin[AlertRule]):
    form = AlertRuleForm
    list_display = ("name", "owner_name", "severity", "state", "source", "last_fired_at")
    export_fields = (
        "id", "name", "owner", "severity", "paused", "source", "created_at", "last_fired_at",
        "definition",
    )  # fmt: skip
    list_filter = ("severity", "paused", "source", "last_fired_at")
    list_select_related = ("owner",)
    search_fields = ("name", *field_lookups("owner"))
    raw_id_fields = ("owner",)
    readonly_fields = ("source", "created_at", "last_fired_at", "problem")
    actions = ("pause_selected", "resume_selected")
    change_form_template = "admin/realtime/alertrule/change_form.html"

    @admin.display(description="Owner", ordering=_OWNER_NAME, empty_value="everybody")
    def owner_name(self, rule: AlertRule) -> str | None:
        return None if rule.owner is None else rule.owner.get_username()

    @admin.display(ordering="paused")
    def state(self, rule: AlertRule) -> str:
        if rule.paused:
            return "paused"
        return "set aside" if self.problem(rule) else "active"

    @admin.display(description="Set aside", empty_value="no")
    def problem(self, rule: AlertRule) -> str | None:
        """Where it cannot be evaluated, and why."""
        problems = list(rule.problems.all())
        return "; ".join(f"{each.symbol or 'every symbol'}: {each.reason}" for each in problems)

    def get_queryset(self, request: HttpRequest) -> QuerySet[AlertRule]:
        return super().get_queryset(request).prefetch_related("problems")

    def get_fields(self, request: HttpRequest, obj: AlertRule | None = None) -> list[Any]:
        """A rule that is not made yet has no source and no times."""
        fields = super().get_fields(request, obj)
        return [name for name in fields if obj is not None or name not in self.readonly_fields]

    def save_model(self, request: HttpRequest, obj: AlertRule, form: Any, change: bool) -> None:
        if not change:
            obj.source = AlertRule.Source.ADMIN
        save_rule(fill(obj, form.checked))

    def delete_model(self, request: HttpRequest, obj: AlertRule) -> None:
        delete_rules([obj])

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[AlertRule]) -> None:
        delete_rules(list(queryset))

    @admin.action(description="Pause selected rules", permissions=["change"])
    def pause_selected(self, request: HttpRequest, queryset: QuerySet[AlertRule]) -> None:
        self._pause(request, queryset, paused=True)

    @admin.action(description="Resume selected rules", permissions=["change"])
    def resume_selected(self, request: HttpRequest, queryset: QuerySet[AlertRule]) -> None:
        self._pause(request, queryset, paused=False)

    def _pause(self, request: HttpRequest, queryset: QuerySet[AlertRule], *, paused: bool) -> None:
        rules = list(queryset.filter(paused=not paused))
        for rule in rules:
            rule.paused = paused
            save_rule(rule)
            self.log_change(request, rule, "Paused." if paused else "Resumed.")
        what = "Paused" if paused else "Resumed"
        self.message_user(request, f"{what}: {len(rules)}", messages.SUCCESS)

    # The dry run ------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        # Here, not above: it loads the REST framework, which commands and workers do without.
        from realtime.admin.rule_trial import (
            AdminDestinationsView,
            AdminDryRunView,
            AdminPreviewView,
        )

        view = self.admin_site.admin_view(self.dry_run_view)
        return [
            *(
                path(at, self.admin_site.admin_view(asked.as_view(model_admin=self)))
                for at, asked in (
                    ("dry-run/", AdminDryRunView),
                    ("preview/", AdminPreviewView),
                    ("destinations/", AdminDestinationsView),
                )
            ),
            path("<path:object_id>/dry-run/", view, name="realtime_alertrule_dry_run"),
            *super().get_urls(),
        ]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        context["csrf_header"] = csrf_header()
        return super().render_change_form(request, context, *args, **kwargs)

    def dry_run_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        rule: AlertRule | None = self.get_object(request, unquote(object_id))
        if rule is None:
            raise Http404
        if not self.has_view_permission(request, rule):
            raise PermissionDenied
        form = DryRunForm(request.POST or None)
        report = None
        if form.is_valid():
            past = cast(Past, form.cleaned_data["past"])
            assert past in PASTS
            try:
                definition = definition_of(rule)
                [report] = async_to_sync(try_out)([definition], past, request.user.pk)
            except (BackendUnavailable, Busy, InvalidRule, TooMuch) as exc:
                form.add_error(None, str(exc))
            if report is not None and "failed" in report:
                form.add_error(None, str(report["failed"]))
                report = None
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": f"Dry run of {rule}",
            "rule": rule,
            "form": form,
            "report": report,
        }
        return TemplateResponse(request, "admin/realtime/alertrule/dry_run.html", context)


class AcknowledgementInline(_Inline):
    model = AlertAcknowledgement
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


@admin.register(AlertProblem)
class AlertProblemAdmin(GuardedAdmin[AlertProblem]):
    """What the engine has set aside; it tries a symbol again after ten minutes."""

    list_display = ("since", "symbol_name", "rule_name", "reason")
    export_fields = ("since", "symbol", "rule", "reason")
    list_select_related = ("rule",)
    search_fields = ("symbol", "rule__name")

    @admin.display(description="Symbol", ordering="symbol", empty_value="every symbol")
    def symbol_name(self, problem: AlertProblem) -> str | None:
        return problem.symbol or None

    @admin.display(description="Rule", ordering="rule__name", empty_value="all rules")
    def rule_name(self, problem: AlertProblem) -> str | None:
        return None if problem.rule is None else problem.rule.name

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


class SeverityFilter(admin.SimpleListFilter):
    """The severities; publishers may leave them out."""

    title = "severity"
    parameter_name = "severity"

    def lookups(self, request: HttpRequest, model_admin: object) -> list[tuple[str, str]]:
        return [*((name, name) for name in SEVERITIES), ("none", "none")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Alert]) -> QuerySet[Alert]:
        value = self.value()
        return queryset if value is None else queryset.filter(severity=value.replace("none", ""))


@admin.register(Alert)
class AlertAdmin(GuardedAdmin[Alert]):
    list_display = ("created_at", "severity", "symbol", "__str__", "owner_name", "rule", "sent_at")
    list_display_links = ("created_at", "__str__")
    export_fields = (
        "uid", "created_at", "severity", "symbol", "owner", "rule", "sent_at", "escalated_at",
        "data",
    )  # fmt: skip
    list_filter = (SeverityFilter, "created_at")
    list_select_related = ("owner", "rule")
    list_per_page = 50
    search_fields = (
        "data__message__icontains", "uid", "symbol", *field_lookups("owner", email=False),
        "rule__name",
    )  # fmt: skip
    search_help_text = "Words of the message, id, symbol, owner or rule"
    inlines = (AcknowledgementInline,)

    @admin.display(description="Owner", ordering=_OWNER_NAME, empty_value="everybody")
    def owner_name(self, alert: Alert) -> str | None:
        return None if alert.owner is None else alert.owner.get_username()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False
