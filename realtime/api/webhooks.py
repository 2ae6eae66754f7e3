"""`webhooks`: users manage the endpoints of their events, and see the deliveries."""

import json
from datetime import datetime, timedelta
from typing import Any, Final

from django.core.exceptions import ValidationError as ModelError
from django.db import transaction
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema_view
from rest_framework import generics, serializers, status
from rest_framework.exceptions import NotFound, PermissionDenied, Throttled, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from realtime.api.authentication import IsUser, identity_of
from realtime.api.base import ApiView, Choice, Pages, QuerySerializer
from realtime.api.documented import extend_schema
from realtime.api.fields import DateTimeField, ModelSerializer
from realtime.api.serializers import PROBLEMS, ProblemSerializer
from realtime.conf import conf
from realtime.limits.shared_rates import count_in_minute
from realtime.models import WebhookAttempt, WebhookDelivery, WebhookEndpoint, WebhookEvent
from realtime.models.webhooks import DEFAULT_OVERLAP
from realtime.protocol import JsonObject
from realtime.users import one_at_a_time
from realtime.webhooks.events import send_test
from realtime.webhooks.queue import disable, enable, resend

MAX_OVERLAP: Final = timedelta(days=30)
# Limits of one user, over all of the user's webhooks.
TESTS_PER_MINUTE: Final = 10
RESENDS_PER_MINUTE: Final = 60
_LARGEST_ID: Final = 2**63
_PROBLEMS: Final = {**PROBLEMS, 404: ProblemSerializer}


class WebhookSerializer(ModelSerializer[WebhookEndpoint]):
    """An endpoint without its secret."""

    # The model validates these, for the admin as well.
    url = serializers.CharField()
    events = serializers.ListField(
        child=Choice(choices=WebhookEvent.choices),
        required=False,
        help_text="Absent: all of them.",
    )
    symbols = serializers.ListField(
        child=serializers.CharField(),
        required=False,
        help_text='Patterns: `["AAPL", "BTC*"]`. Absent: every symbol.',
    )
    disabled_reason = serializers.ChoiceField(
        choices=WebhookEndpoint.Reason.choices,
        allow_blank=True,
        read_only=True,
        help_text="Empty: it is not disabled.",
    )

    class Meta:
        model = WebhookEndpoint
        fields: tuple[str, ...] = (
            "id", "url", "description", "events", "symbols", "enabled",
            "disabled_reason", "failing_since", "previous_expires_at", "created_at",
        )  # fmt: skip
        read_only_fields = ("disabled_reason", "failing_since", "previous_expires_at", "created_at")


class NewWebhookSerializer(WebhookSerializer):
    """An endpoint with its secret, which no other answer shows."""

    secret = serializers.CharField(read_only=True)

    class Meta(WebhookSerializer.Meta):
        fields = (*WebhookSerializer.Meta.fields, "secret")


class RotateWebhookSerializer(serializers.Serializer[object]):
    overlap_seconds = serializers.IntegerField(
        default=int(DEFAULT_OVERLAP.total_seconds()),
        min_value=0,
        max_value=int(MAX_OVERLAP.total_seconds()),
        help_text="How long the old secret is used for signing as well.",
    )


class AttemptSerializer(ModelSerializer[WebhookAttempt]):
    error = serializers.CharField(source="error_for_owner", allow_blank=True)

    class Meta:
        model = WebhookAttempt
        fields = ("started_at", "response_code", "response_body", "error")


class DeliverySerializer(ModelSerializer[WebhookDelivery]):
    """One event for one endpoint; `webhook_id` is the header of the same name."""

    next_attempt_at = DateTimeField(source="due_at", allow_null=True)

    class Meta:
        model = WebhookDelivery
        fields: tuple[str, ...] = (
            "id", "webhook_id", "event", "symbol", "status", "tries", "next_attempt_at",
            "response_code", "created_at", "finished_at",
        )  # fmt: skip


class DeliveryDetailSerializer(DeliverySerializer):
    """A delivery with the request that was sent, and every attempt."""

    payload = serializers.SerializerMethodField()
    attempts = AttemptSerializer(many=True)

    class Meta(DeliverySerializer.Meta):
        fields = (*DeliverySerializer.Meta.fields, "payload", "attempts")

    def get_payload(self, delivery: WebhookDelivery) -> JsonObject:
        payload: JsonObject = json.loads(delivery.body)
        return payload


class DeliveriesQuerySerializer(QuerySerializer):
    status = Choice(choices=WebhookDelivery.Status.choices, required=False)
    event = Choice(choices=WebhookEvent.choices, required=False)
    since = DateTimeField(required=False, help_text="Of events at this time or later.")

    known_elsewhere = ("cursor", "limit")


class ResendFailedSerializer(serializers.Serializer[object]):
    since = DateTimeField(help_text="Of events at this time or later.")


class ResentSerializer(serializers.Serializer[object]):
    resent = serializers.IntegerField()


class WebhookPagination(Pages):
    page_size_query_param = "limit"
    max_page_size = 1000


class _OwnWebhooks(ApiView, generics.GenericAPIView[Any]):
    permission_classes = [IsUser]
    pagination_class = WebhookPagination
    serializer_class = WebhookSerializer

    def get_queryset(self) -> QuerySet[Any]:
        endpoints = WebhookEndpoint.objects.get_queryset()
        return endpoints.filter(owner_id=identity_of(self.request).user_id)

    def endpoint(self, *, enabled: bool = False) -> WebhookEndpoint:
        """The endpoint in the URL; raises NotFound, or PermissionDenied if it must be enabled."""
        number: int = self.kwargs["webhook_id"]
        found = self.get_queryset().filter(pk=number).first() if number < _LARGEST_ID else None
        if found is None:
            raise NotFound(f"You have no webhook {number}.")
        if enabled and not found.enabled:
            raise PermissionDenied("This webhook is disabled. Enable it first.")
        endpoint: WebhookEndpoint = found
        return endpoint

    def delivery(self, endpoint: WebhookEndpoint) -> WebhookDelivery:
        number: int = self.kwargs["delivery_id"]
        found = endpoint.deliveries.filter(pk=number).first() if number < _LARGEST_ID else None
        if found is None:
            raise NotFound(f"This webhook has no delivery {number}.")
        return found


@extend_schema_view(get=extend_schema(operation_id="list_webhooks", summary="My webhooks"))
class WebhooksView(_OwnWebhooks, generics.ListAPIView[Any]):
    @extend_schema(
        operation_id="create_webhook",
        summary="A new webhook; the answer has its secret, once",
        request=WebhookSerializer,
        responses={201: NewWebhookSerializer, **PROBLEMS},
    )
    def post(self, request: Request) -> Response:
        serializer = WebhookSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        most = conf.REALTIME_WEBHOOKS_PER_USER
        with one_at_a_time(identity_of(request).user_id):
            if self.get_queryset().count() >= most:
                raise PermissionDenied(f"You have {most} webhooks. Delete one that is not in use.")
            try:
                endpoint, secret = WebhookEndpoint.objects.create_endpoint(
                    request.user, **serializer.validated_data
                )
            except ModelError as exc:
                raise ValidationError(exc.message_dict) from exc
        return _with_secret(endpoint, secret, status.HTTP_201_CREATED)


class WebhookView(_OwnWebhooks):
    @extend_schema(operation_id="get_webhook", summary="One of my webhooks")
    def get(self, request: Request, webhook_id: int) -> Response:
        return Response(WebhookSerializer(self.endpoint()).data)

    @extend_schema(operation_id="change_webhook", summary="Change, disable or enable a webhook")
    def patch(self, request: Request, webhook_id: int) -> Response:
        endpoint = self.endpoint()
        serializer = WebhookSerializer(endpoint, data=request.data, partial=True)
        serializer.is_valid(raise_exception=True)
        wanted = serializer.validated_data
        enabled = wanted.pop("enabled", endpoint.enabled)
        for name, value in wanted.items():
            setattr(endpoint, name, value)
        with transaction.atomic():
            try:
                endpoint.full_clean()
            except ModelError as exc:
                raise ValidationError(exc.message_dict) from exc
            endpoint.save(update_fields=list(wanted))
            if enabled and not endpoint.enabled:
                enable(endpoint)
            elif not enabled:
                disable(endpoint, WebhookEndpoint.Reason.OWNER)
        return Response(WebhookSerializer(endpoint).data)

    @extend_schema(operation_id="delete_webhook", summary="Delete a webhook and its log")
    def delete(self, request: Request, webhook_id: int) -> Response:
        self.endpoint().delete()
        return Response(status=status.HTTP_204_NO_CONTENT)


class RotateWebhookView(_OwnWebhooks):
    @extend_schema(
        operation_id="rotate_webhook",
        summary="A new secret for a webhook; the answer has it, once",
        request=RotateWebhookSerializer,
        responses={200: NewWebhookSerializer, **_PROBLEMS},
    )
    def post(self, request: Request, webhook_id: int) -> Response:
        endpoint = self.endpoint()
        serializer = RotateWebhookSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        secret = endpoint.rotate(timedelta(seconds=serializer.validated_data["overlap_seconds"]))
        return _with_secret(endpoint, secret, status.HTTP_200_OK)


class TestWebhookView(_OwnWebhooks):
    @extend_schema(
        operation_id="test_webhook",
        summary="Send a `test` event, whatever events the webhook asks for",
        request=None,
        responses={202: DeliverySerializer, **_PROBLEMS, 429: ProblemSerializer},
    )
    def post(self, request: Request, webhook_id: int) -> Response:
        endpoint = self.endpoint(enabled=True)
        _count(request, "tests", TESTS_PER_MINUTE)
        delivery = send_test(endpoint)
        return Response(DeliverySerializer(delivery).data, status.HTTP_202_ACCEPTED)


class WebhookDeliveriesView(_OwnWebhooks):
    @extend_schema(
        operation_id="list_webhook_deliveries",
        summary="Deliveries to a webhook, newest first",
        parameters=[DeliveriesQuerySerializer],
        responses={200: DeliverySerializer(many=True), **_PROBLEMS},
    )
    def get(self, request: Request, webhook_id: int) -> Response:
        wanted = DeliveriesQuerySerializer.of(request)
        since: datetime | None = wanted.pop("since", None)
        rows = self.endpoint().deliveries.filter(**wanted)
        if since is not None:
            rows = rows.filter(created_at__gte=since)
        page = self.paginate_queryset(rows)
        return self.get_paginated_response(DeliverySerializer(page, many=True).data)


class WebhookDeliveryView(_OwnWebhooks):
    @extend_schema(
        operation_id="get_webhook_delivery",
        summary="One delivery, with its payload and every attempt",
        responses={200: DeliveryDetailSerializer, **_PROBLEMS},
    )
    def get(self, request: Request, webhook_id: int, delivery_id: int) -> Response:
        return Response(DeliveryDetailSerializer(self.delivery(self.endpoint())).data)


class ResendDeliveryView(_OwnWebhooks):
    @extend_schema(
        operation_id="resend_webhook_delivery",
        summary="Send this once more, with the same id",
        request=None,
        responses={202: DeliverySerializer, **_PROBLEMS, 429: ProblemSerializer},
    )
    def post(self, request: Request, webhook_id: int, delivery_id: int) -> Response:
        endpoint = self.endpoint(enabled=True)
        delivery = self.delivery(endpoint)
        _count(request, "resends", RESENDS_PER_MINUTE)
        resend(endpoint.deliveries.filter(pk=delivery.pk))
        delivery.refresh_from_db()
        return Response(DeliverySerializer(delivery).data, status.HTTP_202_ACCEPTED)


class ResendFailedView(_OwnWebhooks):
    @extend_schema(
        operation_id="resend_failed_webhook_deliveries",
        summary="Resend deliveries that were given up since a time",
        request=ResendFailedSerializer,
        responses={202: ResentSerializer, **_PROBLEMS, 429: ProblemSerializer},
    )
    def post(self, request: Request, webhook_id: int) -> Response:
        endpoint = self.endpoint(enabled=True)
        serializer = ResendFailedSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        _count(request, "resends", RESENDS_PER_MINUTE)
        since = serializer.validated_data["since"]
        failed = endpoint.deliveries.filter(status=WebhookDelivery.Status.FAILED)
        count = resend(failed.filter(created_at__gte=since))
        return Response({"resent": count}, status.HTTP_202_ACCEPTED)


def _count(request: Request, what: str, limit: int) -> None:
    """Count an action of the user; raises Throttled."""
    name = f"webhook-{what}:user:{identity_of(request).user_id}"
    if wait := count_in_minute(name, limit):
        raise Throttled(wait, f"You may ask for {limit} {what} a minute.")


def _with_secret(endpoint: WebhookEndpoint, secret: str, code: int) -> Response:
    body = {**WebhookSerializer(endpoint).data, "secret": secret}
    return Response(body, code, headers={"Cache-Control": "no-store"})
