"""`destinations`: where users want the alerts of their rules, by e-mail and in chats."""

from datetime import datetime
from typing import Any, Final, TypedDict

from django.core.exceptions import ValidationError as ModelError
from django.db import transaction
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema_field, extend_schema_view
from rest_framework import generics, serializers, status
from rest_framework.exceptions import NotFound, PermissionDenied, Throttled, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from realtime.api.authentication import IsUser, identity_of
from realtime.api.base import ApiView, Pages
from realtime.api.documented import extend_schema
from realtime.api.fields import ModelSerializer
from realtime.api.serializers import PROBLEMS, ProblemSerializer
from realtime.conf import conf
from realtime.limits.shared_rates import count_in_minute
from realtime.models import Destination
from realtime.users import one_at_a_time
from realtime.webhooks.destinations import (
    CONFIRMATIONS_PER_DAY,
    last_attempt,
    new_destination,
    queue_test,
    resume,
)
from realtime.webhooks.queue import disable

# Of one user, to all destinations together.
TESTS_PER_MINUTE: Final = 10
_HOUR: Final = 3600
_LARGEST_ID: Final = 2**63
_PROBLEMS: Final = {**PROBLEMS, 404: ProblemSerializer}


class LastResult(TypedDict):
    at: datetime
    status: str
    error: str


# Written out: a reference to a schema cannot be null as well.
_LAST_RESULT: Final = {
    "type": "object",
    "nullable": True,
    "description": "Of the last attempt to send something; `error` is empty for a success.",
    "properties": {
        "at": {"type": "string", "format": "date-time"},
        "status": {"type": "string"},
        "error": {"type": "string"},
    },
    "required": ["at", "status", "error"],
}
_QUIET_HOURS: Final = {
    "type": "object",
    "nullable": True,
    "description": "Like `active_hours` of a rule. What happens then comes afterwards, at once.",
    "properties": {name: {"type": "string"} for name in ("start", "end", "timezone")},
    "required": ["start", "end"],
}


@extend_schema_field(_QUIET_HOURS)
class QuietHoursField(serializers.DictField):
    """For the document only: the model checks."""


class DestinationSerializer(ModelSerializer[Destination]):
    """A destination. Only the visible part of the URL of a chat is ever shown."""

    address = serializers.CharField(
        source="url",
        max_length=500,
        help_text="An e-mail address, or the URL of a chat: `ntfys://ntfy.sh/your-topic`.",
    )
    confirmed = serializers.BooleanField(
        read_only=True, help_text="An e-mail address gets alerts once its owner has confirmed it."
    )
    disabled_reason = serializers.ChoiceField(
        Destination.Reason.choices, allow_blank=True, read_only=True
    )
    quiet_hours = QuietHoursField(required=False, allow_null=True)
    last_result = serializers.SerializerMethodField()

    class Meta:
        model = Destination
        fields = (
            "id", "kind", "address", "description", "enabled", "confirmed", "quiet_hours",
            "disabled_reason", "failing_since", "last_result", "created_at",
        )  # fmt: skip
        read_only_fields = ("kind", "failing_since", "created_at")

    @extend_schema_field(_LAST_RESULT)
    def get_last_result(self, destination: Destination) -> LastResult | None:
        attempt = last_attempt(destination)
        if attempt is None:
            return None
        error = attempt.error_for_owner
        return LastResult(at=attempt.started_at, status=attempt.delivery.status, error=error)


class SentSerializer(serializers.Serializer[object]):
    detail = serializers.CharField()


class _OwnDestinations(ApiView, generics.GenericAPIView[Any]):
    permission_classes = [IsUser]
    pagination_class = Pages
    serializer_class = DestinationSerializer

    def get_queryset(self) -> QuerySet[Any]:
        return Destination.objects.filter(owner_id=identity_of(self.request).user_id)

    def destination(self) -> Destination:
        """The destination of the URL; raises NotFound."""
        number: int = self.kwargs["destination_id"]
        found = self.get_queryset().filter(pk=number).first() if number < _LARGEST_ID else None
        if found is None:
            raise NotFound(f"You have no destination {number}.")
        destination: Destination = found
        return destination


@extend_schema_view(get=extend_schema(operation_id="list_destinations", summary="My destinations"))
class DestinationsView(_OwnDestinations, generics.ListAPIView[Any]):
    @extend_schema(
        operation_id="create_destination",
        summary="A new destination; an e-mail address that is not yours is asked to confirm",
        responses={201: DestinationSerializer, **_PROBLEMS, 429: ProblemSerializer},
    )
    def post(self, request: Request) -> Response:
        serializer = DestinationSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        fields = dict(serializer.validated_data)
        address = fields.pop("url")
        most = conf.REALTIME_DESTINATIONS_PER_USER
        with one_at_a_time(identity_of(request).user_id):
            if self.get_queryset().count() >= most:
                raise PermissionDenied(f"You have {most} destinations. Delete one you do not need.")
            try:
                destination = new_destination(request.user, address, **fields)
            except ModelError as exc:
                raise ValidationError(exc.message_dict) from exc
        return Response(DestinationSerializer(destination).data, status.HTTP_201_CREATED)


class DestinationView(_OwnDestinations):
    @extend_schema(operation_id="get_destination", summary="One of my destinations")
    def get(self, request: Request, destination_id: int) -> Response:
        return Response(DestinationSerializer(self.destination()).data)

    @extend_schema(
        operation_id="change_destination",
        summary="Change, pause (`enabled: false`) or resume a destination; its address stays",
    )
    def patch(self, request: Request, destination_id: int) -> Response:
        destination = self.destination()
        serializer = DestinationSerializer(destination, data=request.data, partial=True)
        serializer.is_valid(raise_exception=True)
        wanted = dict(serializer.validated_data)
        if wanted.pop("url", destination.url) != destination.url:
            raise ValidationError({"address": ["It cannot be changed. Add another destination."]})
        enabled = wanted.pop("enabled", destination.enabled)
        with transaction.atomic():
            self._change(destination, wanted)
            if enabled and not destination.enabled:
                resume(destination)
            elif not enabled:
                disable(destination, Destination.Reason.OWNER)
        return Response(DestinationSerializer(destination).data)

    def _change(self, destination: Destination, wanted: dict[str, Any]) -> None:
        for name, value in wanted.items():
            setattr(destination, name, value)
        try:
            destination.full_clean()
        except ModelError as exc:
            raise ValidationError(exc.message_dict) from exc
        destination.hold_until = None  # the quiet hours may be other ones
        destination.save(update_fields=[*wanted, "hold_until"])

    @extend_schema(operation_id="delete_destination", summary="Delete a destination and its log")
    def delete(self, request: Request, destination_id: int) -> Response:
        self.destination().delete()
        return Response(status=status.HTTP_204_NO_CONTENT)


class TestDestinationView(_OwnDestinations):
    @extend_schema(
        operation_id="test_destination",
        summary="Send a test message; to an address that is not confirmed, the link once more",
        request=None,
        responses={202: SentSerializer, **_PROBLEMS, 429: ProblemSerializer},
    )
    def post(self, request: Request, destination_id: int) -> Response:
        destination = self.destination()
        if not destination.enabled:
            raise PermissionDenied("This destination is paused. Enable it first.")
        name = f"destination-tests:user:{identity_of(request).user_id}"
        if wait := count_in_minute(name, TESTS_PER_MINUTE):
            raise Throttled(wait, f"You may ask for {TESTS_PER_MINUTE} tests a minute.")
        if queue_test(destination) is None:
            limit = f"An address is asked to confirm {CONFIRMATIONS_PER_DAY} times a day at most."
            raise Throttled(_HOUR, limit)
        detail = "`last_result` says what came of it, in a moment."
        return Response({"detail": detail}, status.HTTP_202_ACCEPTED)
