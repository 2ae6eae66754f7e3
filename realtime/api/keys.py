"""`keys`: users manage their own API keys."""

from datetime import timedelta
from typing import Final

from django.core.exceptions import ValidationError as ModelError
from django.db import transaction
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema_view
from rest_framework import generics, serializers, status
from rest_framework.exceptions import PermissionDenied, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from realtime.access.revocation import key_changed
from realtime.api.authentication import IsUser, identity_of
from realtime.api.base import ApiView, Pages
from realtime.api.documented import extend_schema
from realtime.api.fields import ModelSerializer
from realtime.models import KEY_LIMITS, ApiKey
from realtime.streams import CHANNELS
from realtime.users import one_at_a_time

# Enough for all programs of a user, but a stolen password must not fill the table.
MAX_KEYS: Final = 100
MAX_OVERLAP: Final = timedelta(days=30)
_SETTINGS: Final = ("name", "scopes", "symbols", "allowed_origins", "expires_at")


class ApiKeySerializer(ModelSerializer[ApiKey]):
    """A key without its secret."""

    scopes = serializers.ListField(child=serializers.CharField(), default=list(CHANNELS))
    symbols = serializers.DictField(
        required=False,
        help_text='Limits a scope to symbols: `{"market-data": ["BTC*"]}`. Absent: every symbol.',
    )
    allowed_origins = serializers.ListField(
        child=serializers.CharField(), required=False, help_text="`https://app.example.com`"
    )
    status = serializers.ChoiceField(choices=ApiKey.Status.choices, read_only=True)

    class Meta:
        model = ApiKey
        fields: tuple[str, ...] = (
            "prefix", *_SETTINGS, *KEY_LIMITS, "status",
            "created_at", "last_used_at", "revoked_at", "previous_expires_at",
        )  # fmt: skip
        # Limits are the operator's to set: a user who could raise them would have none.
        read_only_fields = (
            "prefix", *KEY_LIMITS,
            "created_at", "last_used_at", "revoked_at", "previous_expires_at",
        )  # fmt: skip
        # The model reports errors, see _problems().
        validators: list[object] = []
        extra_kwargs: dict[str, object] = {"name": {"validators": []}}


class NewApiKeySerializer(ApiKeySerializer):
    """A key with its secret, which no other answer shows."""

    key = serializers.CharField(read_only=True)

    class Meta(ApiKeySerializer.Meta):
        fields = (*ApiKeySerializer.Meta.fields, "key")


class RotateSerializer(serializers.Serializer[object]):
    overlap_seconds = serializers.IntegerField(
        default=0,
        min_value=0,
        max_value=int(MAX_OVERLAP.total_seconds()),
        help_text="How long the old secret keeps working.",
    )


class _OwnKeys(ApiView, generics.GenericAPIView[ApiKey]):
    permission_classes = [IsUser]
    serializer_class = ApiKeySerializer
    lookup_field = "prefix"

    def get_queryset(self) -> QuerySet[ApiKey]:
        return ApiKey.objects.get_queryset().filter(owner_id=identity_of(self.request).user_id)


@extend_schema_view(get=extend_schema(operation_id="list_keys", summary="My keys"))
class KeysView(_OwnKeys, generics.ListCreateAPIView[ApiKey]):
    pagination_class = Pages

    @extend_schema(
        operation_id="create_key",
        summary="A new key; the answer has its secret, once",
        request=ApiKeySerializer,
        responses={201: NewApiKeySerializer},
    )
    def post(self, request: Request, *args: object, **kwargs: object) -> Response:
        serializer = ApiKeySerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        wanted = serializer.validated_data
        _check_rights(request, wanted["scopes"])
        with one_at_a_time(identity_of(request).user_id):
            if self.get_queryset().filter(revoked_at=None).count() >= MAX_KEYS:
                raise PermissionDenied(f"You have {MAX_KEYS} keys. Revoke one that is not in use.")
            try:
                key, raw = ApiKey.objects.create_key(request.user, **wanted)
            except ModelError as exc:
                raise _problems(exc) from exc
        return _with_secret(key, raw, status.HTTP_201_CREATED)


@extend_schema_view(get=extend_schema(operation_id="get_key", summary="One of my keys"))
class KeyView(_OwnKeys, generics.RetrieveUpdateDestroyAPIView[ApiKey]):
    http_method_names = ["get", "patch", "delete", "head", "options"]

    @extend_schema(operation_id="change_key", summary="Change a key that is not revoked")
    def patch(self, request: Request, *args: object, **kwargs: object) -> Response:
        key = self.get_object()
        if key.revoked_at is not None:
            raise PermissionDenied("A revoked key cannot be changed. Create a new one.")
        serializer = ApiKeySerializer(key, data=request.data, partial=True)
        serializer.is_valid(raise_exception=True)
        # A user without a right may not even widen a key to which an operator granted it.
        _check_rights(request, [*key.scopes, *serializer.validated_data.get("scopes", [])])
        for name, value in serializer.validated_data.items():
            setattr(key, name, value)
        with transaction.atomic():
            try:
                key.full_clean()
            except ModelError as exc:
                raise _problems(exc) from exc
            key.save(update_fields=list(serializer.validated_data))
        return Response(ApiKeySerializer(key).data)

    @extend_schema(operation_id="revoke_key", summary="Revoke a key; it stays in the list")
    def delete(self, request: Request, *args: object, **kwargs: object) -> Response:
        key = self.get_object()
        with transaction.atomic():
            key.revoke()
            key_changed(key)
        return Response(status=status.HTTP_204_NO_CONTENT)


class RotateKeyView(_OwnKeys):
    @extend_schema(
        operation_id="rotate_key",
        summary="A new secret for a key; the answer has it, once",
        request=RotateSerializer,
        responses={200: NewApiKeySerializer},
    )
    def post(self, request: Request, *args: object, **kwargs: object) -> Response:
        key = self.get_object()
        serializer = RotateSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        if key.status != ApiKey.Status.ACTIVE:
            raise PermissionDenied(f"The key is {key.status.value}. Create a new one.")
        overlap = timedelta(seconds=serializer.validated_data["overlap_seconds"])
        raw = key.rotate(overlap)
        return _with_secret(key, raw, status.HTTP_200_OK)


def _check_rights(request: Request, scopes: list[str]) -> None:
    identity = identity_of(request)
    if "publish" in scopes and not identity.allows("publish"):
        raise PermissionDenied("You may not publish, so your keys may not either.")
    if "metrics" in scopes and not identity.allows("metrics"):
        raise PermissionDenied("You may not read metrics, so your keys may not either.")


def _problems(error: ModelError) -> ValidationError:
    problems = error.message_dict
    # To the owner, an error of the constraint on owner and name is about the name.
    if "__all__" in problems:
        problems["name"] = problems.pop("__all__")
    return ValidationError(problems)


def _with_secret(key: ApiKey, raw: str, code: int) -> Response:
    body = {**ApiKeySerializer(key).data, "key": raw}
    return Response(body, code, headers={"Cache-Control": "no-store"})
