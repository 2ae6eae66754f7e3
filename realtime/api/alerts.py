"""`alert-rules`: users manage their own rules. `alerts`: their inbox."""

from collections.abc import Callable
from typing import Any, Final, cast

from asgiref.sync import async_to_sync
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema_view
from rest_framework import generics, serializers, status
from rest_framework.exceptions import PermissionDenied, Throttled, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from realtime.alerts import inbox
from realtime.alerts.dry_run import PASTS, Busy, Past, TooMuch, try_out
from realtime.alerts.preview import preview
from realtime.alerts.rule_editing import (
    TooManyRules,
    check_allowed,
    check_room,
    definition_of,
    delete_rules,
    fill,
    save_rule,
)
from realtime.alerts.rule_problems import problems_of
from realtime.alerts.rules import Definition, InvalidRule, parse_rule
from realtime.api.authentication import HasScope, identity_of
from realtime.api.base import ApiView, Pages, QuerySerializer, Unavailable
from realtime.api.documented import extend_schema
from realtime.api.fields import DateTimeField, ModelSerializer
from realtime.api.reading import check_rate
from realtime.api.rule_document import ActiveHoursField, ConditionsField
from realtime.api.serializers import PROBLEMS, ProblemSerializer
from realtime.delivery.publisher import BackendUnavailable
from realtime.models import Alert, AlertRule
from realtime.protocol import SEVERITIES
from realtime.streams import InvalidSymbol, parse_symbol
from realtime.users import one_at_a_time

MAX_IDS: Final = 1000


class OwnsAlerts(HasScope):
    """A user with the scope `alerts`: other clients have no rules and no inbox."""

    scope = "alerts"

    def has_permission(self, request: Request, view: object) -> bool:
        return identity_of(request).is_authenticated and super().has_permission(request, view)


class AlertRuleSerializer(serializers.Serializer[Any]):
    """A rule. Omitted fields have their defaults; "Alert rules" in the documentation lists them."""

    id = serializers.IntegerField(read_only=True)
    name = serializers.CharField(required=False)
    symbols = serializers.ListField(child=serializers.CharField(), help_text="Or `*`.")
    conditions = ConditionsField()
    match = serializers.ChoiceField(["all", "any"], required=False)
    severity = serializers.ChoiceField(SEVERITIES, required=False)
    message = serializers.CharField(required=False)
    cooldown = serializers.FloatField(required=False, help_text="Seconds.")
    once = serializers.BooleanField(required=False)
    active_hours = ActiveHoursField(required=False)
    expires_at = DateTimeField(required=False)
    paused = serializers.BooleanField(required=False)
    escalate_to = serializers.IntegerField(required=False, help_text="A webhook endpoint of yours.")
    escalate_after = serializers.FloatField(required=False, help_text="Seconds.")
    destinations = serializers.ListField(
        child=serializers.IntegerField(), required=False, help_text="Ids of destinations of yours."
    )
    # A field of this name, not DRF's own attribute, which says where a value comes from.
    source = serializers.CharField(read_only=True)  # type: ignore[assignment]
    created_at = DateTimeField(read_only=True)
    last_fired_at = DateTimeField(read_only=True, allow_null=True)

    def get_fields(self) -> Any:
        # `for` is a keyword of Python.
        seconds = serializers.FloatField(
            required=False, help_text="Seconds for which the conditions must hold."
        )
        return {**super().get_fields(), "for": seconds}

    def to_representation(self, instance: AlertRule) -> dict[str, object]:
        try:
            definition = definition_of(instance).as_data()
        except InvalidRule:  # a bad row, written by other means, must not hide the others
            definition = {"name": instance.name}
        return {
            "id": instance.pk,
            **definition,
            "paused": instance.paused,
            "source": instance.source,
            "created_at": instance.created_at,
            "last_fired_at": instance.last_fired_at,
        }


class DryRunSerializer(AlertRuleSerializer):
    """A rule, and the past on which to try it."""

    past = serializers.ChoiceField(PASTS, default="history", write_only=True)


class FiringSerializer(serializers.Serializer[object]):
    timestamp = DateTimeField()
    symbol = serializers.CharField()
    price = serializers.FloatField(allow_null=True)
    message = serializers.CharField()


class DryRunReportSerializer(serializers.Serializer[object]):
    """`times` are those of the newest hundred alerts."""

    past = serializers.ChoiceField(PASTS)
    updates = serializers.IntegerField()
    begin = DateTimeField(allow_null=True)
    end = DateTimeField(allow_null=True)
    fired = serializers.IntegerField()
    fired_without_cooldown = serializers.IntegerField()
    times = FiringSerializer(many=True)
    times_without_cooldown = FiringSerializer(many=True)


class PreviewSerializer(AlertRuleSerializer):
    """A rule, and for which of its symbols."""

    for_symbol = serializers.CharField(
        required=False, write_only=True, help_text="Default: the first one that the rule names."
    )


class PreviewReportSerializer(serializers.Serializer[object]):
    """`numbers`: those that a message may contain, as far as they are known."""

    name = serializers.CharField()
    symbol = serializers.CharField()
    condition = serializers.CharField()
    message = serializers.CharField()
    numbers = serializers.DictField(child=serializers.FloatField())


class RulePagination(Pages):
    ordering = ("id",)


class _OwnRules(ApiView, generics.GenericAPIView[AlertRule]):
    permission_classes = [OwnsAlerts]
    serializer_class: Any = AlertRuleSerializer

    def get_queryset(self) -> QuerySet[AlertRule]:
        return AlertRule.objects.filter(owner_id=identity_of(self.request).user_id)


@extend_schema_view(get=extend_schema(operation_id="list_alert_rules", summary="My alert rules"))
class AlertRulesView(_OwnRules, generics.ListCreateAPIView[AlertRule]):
    pagination_class = RulePagination

    @extend_schema(
        operation_id="create_alert_rule",
        summary="A new alert rule",
        responses={201: AlertRuleSerializer, **PROBLEMS},
    )
    def post(self, request: Request, *args: object, **kwargs: object) -> Response:
        definition = _definition(request.data, request)
        owner_id = identity_of(request).user_id
        key_id = identity_of(request).key_id
        with one_at_a_time(owner_id):
            try:
                check_room(owner_id, 1)
            except TooManyRules as exc:
                raise PermissionDenied(str(exc)) from exc
            row = save_rule(fill(AlertRule(owner_id=owner_id), definition, key_id))
        return Response(AlertRuleSerializer(row).data, status.HTTP_201_CREATED)


@extend_schema_view(
    get=extend_schema(operation_id="get_alert_rule", summary="One of my alert rules")
)
class AlertRuleView(_OwnRules, generics.RetrieveUpdateDestroyAPIView[AlertRule]):
    http_method_names = ["get", "put", "patch", "delete", "head", "options"]

    @extend_schema(operation_id="replace_alert_rule", summary="Replace an alert rule")
    def put(self, request: Request, *args: object, **kwargs: object) -> Response:
        return self._change(_definition(request.data, request))

    @extend_schema(
        operation_id="change_alert_rule",
        summary="Change some fields of a rule; null restores a default. The rule starts over",
    )
    def patch(self, request: Request, *args: object, **kwargs: object) -> Response:
        if not isinstance(request.data, dict):
            raise ValidationError({"": ["A rule is a JSON object."]})
        try:
            definition = definition_of(self.get_object()).as_data()
        except InvalidRule as exc:
            raise ValidationError(
                {"rule": [f"This rule cannot be read; replace it: {exc}"]}
            ) from exc
        merged = {**definition, **request.data}
        merged = {name: value for name, value in merged.items() if value is not None}
        return self._change(_definition(merged, request))

    def _change(self, definition: Definition) -> Response:
        row = save_rule(fill(self.get_object(), definition, identity_of(self.request).key_id))
        return Response(AlertRuleSerializer(row).data)

    @extend_schema(operation_id="delete_alert_rule", summary="Delete a rule; its alerts stay")
    def delete(self, request: Request, *args: object, **kwargs: object) -> Response:
        delete_rules([self.get_object()])
        return Response(status=status.HTTP_204_NO_CONTENT)


class PauseAlertRuleView(_OwnRules):
    paused = True

    @extend_schema(
        operation_id="pause_alert_rule",
        summary="Pause a rule until it is resumed",
        request=None,
        responses=AlertRuleSerializer,
    )
    def post(self, request: Request, *args: object, **kwargs: object) -> Response:
        row = self.get_object()
        if row.paused != self.paused:
            row.paused = self.paused
            save_rule(row)
        return Response(AlertRuleSerializer(row).data)


@extend_schema_view(
    post=extend_schema(
        operation_id="resume_alert_rule",
        summary="Resume a paused rule, from now on",
        request=None,
        responses=AlertRuleSerializer,
    )
)
class ResumeAlertRuleView(PauseAlertRuleView):
    paused = False


class UnsavedRuleView(ApiView):
    """About a rule that is not made; the admin has subclasses for operators."""

    permission_classes = [OwnsAlerts]

    def check(self, definition: Definition) -> None:
        """Raise InvalidRule for a rule that this user may not have."""
        check_allowed(definition, identity_of(self.request))


class DryRunView(UnsavedRuleView):
    @extend_schema(
        operation_id="dry_run_alert_rule",
        summary="How often a rule would have fired, with and without its cooldown",
        request=DryRunSerializer,
        responses={200: DryRunReportSerializer, **PROBLEMS, 429: ProblemSerializer},
    )
    def post(self, request: Request) -> Response:
        raw = dict(request.data) if isinstance(request.data, dict) else request.data
        past = raw.pop("past", "history") if isinstance(raw, dict) else "history"
        if past not in PASTS:
            raise ValidationError({"past": [f"Must be one of {', '.join(PASTS)}."]})
        definition = _parsed(raw, self.check)
        user_id = identity_of(request).user_id
        try:
            [report] = async_to_sync(try_out)([definition], cast(Past, past), user_id)
        except Busy as exc:
            raise Throttled(exc.retry_after, str(exc)) from exc
        except TooMuch as exc:
            raise ValidationError({"rule": [str(exc)]}) from exc
        except BackendUnavailable as exc:
            raise Unavailable(str(exc)) from exc
        if "failed" in report:
            raise ValidationError({"rule": [str(report["failed"])]})
        return Response(report)


class PreviewView(UnsavedRuleView):
    @extend_schema(
        operation_id="preview_alert_rule",
        summary="What an alert of a rule would say now. The rule is not made",
        request=PreviewSerializer,
        responses={200: PreviewReportSerializer, **PROBLEMS, 429: ProblemSerializer},
    )
    def post(self, request: Request) -> Response:
        check_rate(request, 1)
        raw = dict(request.data) if isinstance(request.data, dict) else request.data
        symbol = raw.pop("for_symbol", None) if isinstance(raw, dict) else None
        definition = _parsed(raw, self.check)
        try:
            return Response(preview(definition, symbol))
        except InvalidRule as exc:
            raise ValidationError({exc.field or "rule": [exc.reason]}) from exc
        except BackendUnavailable as exc:
            raise Unavailable(str(exc)) from exc


def _definition(raw: object, request: Request) -> Definition:
    """A rule that this user may have; raises ValidationError with all fields that are wrong."""
    return _parsed(raw, lambda definition: check_allowed(definition, identity_of(request)))


def _parsed(raw: object, check: Callable[[Definition], None]) -> Definition:
    if isinstance(raw, dict):
        raw = {name: value for name, value in raw.items() if name not in READ_ONLY}
    try:
        definition = parse_rule(raw)
    except InvalidRule as exc:
        problems = {field or "rule": [reason] for field, reason in problems_of(raw).items()}
        raise ValidationError(problems) from exc
    try:
        check(definition)
    except InvalidRule as exc:
        raise ValidationError({exc.field or "rule": [exc.reason]}) from exc
    return definition


# Read-only fields of an answer, accepted because clients may send back what they received.
READ_ONLY: Final = ("id", "source", "created_at", "last_fired_at")


# The inbox --------------------------------------------------------------------------------------


class AlertSerializer(ModelSerializer[Alert]):
    """`id` and `data` as on the wire."""

    id = serializers.CharField(source="uid", read_only=True)
    audience = serializers.ChoiceField(["all", "user"], read_only=True)
    acknowledged = serializers.BooleanField(read_only=True)
    rule = serializers.PrimaryKeyRelatedField(read_only=True)  # type: ignore[var-annotated]

    class Meta:
        model = Alert
        fields = (
            "id", "audience", "rule", "symbol", "severity", "data", "created_at", "acknowledged",
        )  # fmt: skip
        read_only_fields = fields


class AlertsQuerySerializer(QuerySerializer):
    """Filters; an alert must match all of them."""

    unacknowledged = serializers.BooleanField(required=False, help_text="Only those.")
    severity = serializers.CharField(
        required=False, help_text="One value, or several: `high,critical`."
    )
    symbol = serializers.CharField(required=False, help_text="Only alerts about this symbol.")
    since = DateTimeField(required=False, help_text="Of this time or later.")
    cursor = serializers.CharField(
        required=False, help_text="Of `next` or `previous` of an earlier answer."
    )

    def validate_severity(self, text: str) -> list[str]:
        names = [name.strip() for name in text.split(",")]
        if not set(names) <= set(SEVERITIES):
            raise serializers.ValidationError(f"Must be one of {', '.join(SEVERITIES)}.")
        return names

    def validate_symbol(self, text: str) -> str:
        try:
            return parse_symbol(text)
        except InvalidSymbol as exc:
            raise serializers.ValidationError(exc.reason) from exc


@extend_schema_view(
    get=extend_schema(
        operation_id="list_alerts",
        summary="My alerts, and those for everybody, newest first",
        parameters=[AlertsQuerySerializer],
    )
)
class AlertsView(ApiView, generics.ListAPIView[Alert]):
    permission_classes = [OwnsAlerts]
    serializer_class = AlertSerializer
    pagination_class = Pages

    def get_queryset(self) -> QuerySet[Alert]:
        user: Any = self.request.user
        wanted = AlertsQuerySerializer.of(self.request)
        alerts = Alert.objects.get_queryset().visible_to(user).with_acknowledged(user)
        if wanted.get("unacknowledged"):
            alerts = alerts.unacknowledged(user)
        if "severity" in wanted:
            alerts = alerts.filter(severity__in=wanted["severity"])
        if "symbol" in wanted:
            alerts = alerts.filter(symbol=wanted["symbol"])
        if "since" in wanted:
            alerts = alerts.filter(created_at__gte=wanted["since"])
        return alerts


class AckSerializer(serializers.Serializer[object]):
    ids = serializers.ListField(
        child=serializers.CharField(max_length=64), min_length=1, max_length=MAX_IDS
    )


class AckedSerializer(serializers.Serializer[object]):
    ids = serializers.ListField(child=serializers.CharField())


class AckView(ApiView):
    permission_classes = [OwnsAlerts]

    @extend_schema(
        operation_id="acknowledge_alerts",
        summary="Acknowledge alerts; the answer has the ids of the user's alerts",
        request=AckSerializer,
        responses={200: AckedSerializer, **PROBLEMS},
    )
    def post(self, request: Request) -> Response:
        serializer = AckSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        ids = serializer.validated_data["ids"]
        return Response({"ids": inbox.acknowledge(request.user, ids)})
