"""`connections/`: who is connected, and how operators end connections."""

from typing import Any, Final

from asgiref.sync import async_to_sync
from django.core.exceptions import ImproperlyConfigured
from drf_spectacular.utils import OpenApiResponse, extend_schema_field
from rest_framework import serializers, status
from rest_framework.exceptions import APIException, NotFound, ValidationError
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response

from realtime.access.connection_search import UnknownName, select, shown
from realtime.access.roll_call import (
    MAX_REASON,
    MAX_ROWS,
    Roll,
    call_roll,
    end_connections,
)
from realtime.access.roster import SORTS, Order, Selection
from realtime.api.authentication import IsUser, identity_of
from realtime.api.base import ApiView, Choice, QuerySerializer, Unavailable
from realtime.api.documented import extend_schema
from realtime.api.fields import DateTimeField
from realtime.api.serializers import PROBLEMS, ProblemSerializer, UserIdField
from realtime.models import may_end_connections, may_see_connections
from realtime.streams import CHANNELS

DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 500
_ERRORS: Final = {**PROBLEMS, 501: ProblemSerializer, 503: ProblemSerializer}
_REASON_HELP: Final = "Told to the clients."
_SILENT_HELP: Final = (
    "Processes with connections, `host:pid`, that did not answer in time: theirs are missing here."
)


class SeesConnections(BasePermission):
    """Staff with the permission; to end connections takes another one."""

    message = (
        "This is for staff with the permission realtime.view_liveconnection, and to end "
        "connections realtime.delete_liveconnection; with a token or a session, not a key."
    )

    def has_permission(self, request: Request, view: Any) -> bool:
        user = identity_of(request).user
        allowed = may_end_connections if request.method == "DELETE" else may_see_connections
        return IsUser().has_permission(request, view) and allowed(user)


class NotPossible(APIException):
    status_code = status.HTTP_501_NOT_IMPLEMENTED


class _Narrowing(QuerySerializer):
    """Which connections."""

    user = serializers.CharField(
        required=False, max_length=300, help_text="Of this user: the user name, or the primary key."
    )
    key = serializers.CharField(
        required=False,
        max_length=100,
        help_text="Of this API key: its visible part, `ara_k3f9a2bc`.",
    )
    channel = Choice(choices=CHANNELS, required=False)


class ConnectionQuerySerializer(_Narrowing):
    """Which connections, in which order, and how many of them."""

    search = serializers.CharField(
        default="",
        allow_blank=True,
        max_length=200,
        help_text="Words that each have to be somewhere in a row: part of a user name, address, "
        "symbol, id, or of a key's name.",
    )
    sort = Choice(
        choices=[*SORTS, *(f"-{name}" for name in SORTS)],
        default="-since",
        help_text="The column to sort by; with `-` from the largest to the smallest.",
    )
    limit = serializers.IntegerField(
        default=DEFAULT_LIMIT, min_value=1, max_value=MAX_LIMIT, help_text="Rows to return."
    )
    offset = serializers.IntegerField(
        default=0, min_value=0, max_value=MAX_ROWS - MAX_LIMIT, help_text="Rows to leave out."
    )


class EndQuerySerializer(_Narrowing):
    """Whose connections end, and why."""

    reason = serializers.CharField(required=False, max_length=MAX_REASON, help_text=_REASON_HELP)

    def validate(self, attrs: dict[str, object]) -> dict[str, object]:
        attrs = super().validate(attrs)
        if "user" not in attrs and "key" not in attrs:
            raise ValidationError({"user": ["Name a user or a key whose connections end."]})
        return attrs


class ReasonQuerySerializer(QuerySerializer):
    """Why a connection ends."""

    reason = serializers.CharField(required=False, max_length=MAX_REASON, help_text=_REASON_HELP)


@extend_schema_field({"anyOf": [{"type": "integer", "nullable": True}, {"type": "string"}]})
class _MaybeUserIdField(UserIdField):
    """The primary key of a user, or null for an anonymous client."""


class ConnectionSerializer(serializers.Serializer[Any]):
    """One open connection: a WebSocket or a client of server-sent events."""

    id = serializers.CharField(help_text="`connection_id` of `connected` and `status`.")
    channel = serializers.ChoiceField(choices=CHANNELS)
    transport = serializers.ChoiceField(choices=["websocket", "sse"])
    user = serializers.CharField(allow_null=True)
    user_id = _MaybeUserIdField(allow_null=True)
    credential = serializers.ChoiceField(choices=["anonymous", "jwt", "api_key", "session"])
    key = serializers.CharField(allow_null=True, help_text="The visible part of the API key.")
    key_name = serializers.CharField(allow_null=True)
    address = serializers.CharField(
        allow_null=True, help_text="As limits count it: of an IPv6 address the network, /64."
    )
    symbols = serializers.ListField(
        child=serializers.CharField(), help_text="The first ones that it is subscribed to."
    )
    symbol_count = serializers.IntegerField(help_text="How many there are.")
    since = DateTimeField()
    rtt_ms = serializers.FloatField(allow_null=True, help_text="Round trip of the last ping.")
    sent = serializers.IntegerField(help_text="Messages sent.")
    folded = serializers.IntegerField(help_text="Updates replaced by newer ones.")
    replayed = serializers.IntegerField(help_text="Missed updates that were sent.")
    waiting_bytes = serializers.IntegerField(help_text="What waits for the client to read.")
    process = serializers.CharField(help_text="`host:pid` of the server process.")


class LiveConnectionsSerializer(serializers.Serializer[Any]):
    """A part of the connections, and how many there are."""

    count = serializers.IntegerField(help_text="Of all that were asked for.")
    connections = ConnectionSerializer(many=True)
    silent = serializers.ListField(child=serializers.CharField(), help_text=_SILENT_HELP)


class EndedSerializer(serializers.Serializer[Any]):
    """What became of the connections."""

    ended = serializers.IntegerField()
    silent = serializers.ListField(child=serializers.CharField(), help_text=_SILENT_HELP)


class LiveConnectionsView(ApiView):
    """The open connections of all processes, asked of them when the request comes."""

    permission_classes = [SeesConnections]

    @extend_schema(
        operation_id="list_connections",
        summary="Who is connected",
        parameters=[ConnectionQuerySerializer],
        responses={200: LiveConnectionsSerializer, **_ERRORS},
    )
    def get(self, request: Request) -> Response:
        wanted = ConnectionQuerySerializer.of(request)
        limit, offset, sort = (wanted.pop(name) for name in ("limit", "offset", "sort"))
        order = Order(sort.removeprefix("-"), sort.startswith("-"), offset + limit)
        roll = _ask(_selection(wanted), order)
        body = {"count": roll.count, "connections": shown(roll.rows[offset:])}
        return Response({**body, "silent": roll.silent})

    @extend_schema(
        operation_id="end_connections",
        summary="End the connections of a user or a key",
        parameters=[EndQuerySerializer],
        responses={200: EndedSerializer, **_ERRORS},
    )
    def delete(self, request: Request) -> Response:
        wanted = EndQuerySerializer.of(request)
        reason = wanted.pop("reason", "")
        roll = _end(request, _selection(wanted), reason)
        return Response({"ended": roll.count, "silent": roll.silent})


class LiveConnectionView(ApiView):
    """One open connection, in whichever process it is."""

    permission_classes = [SeesConnections]

    @extend_schema(
        operation_id="get_connection",
        summary="One connection",
        responses={200: ConnectionSerializer, 404: ProblemSerializer, **_ERRORS},
    )
    def get(self, request: Request, connection_id: str) -> Response:
        roll = _ask(Selection(id=connection_id), Order())
        _require_found(roll)
        return Response(shown(roll.rows)[0])

    @extend_schema(
        operation_id="end_connection",
        summary="End one connection",
        parameters=[ReasonQuerySerializer],
        responses={
            204: OpenApiResponse(description="It is told why, and closed with 4409."),
            404: ProblemSerializer,
            **_ERRORS,
        },
    )
    def delete(self, request: Request, connection_id: str) -> Response:
        reason = ReasonQuerySerializer.of(request).get("reason", "")
        _require_found(_end(request, Selection(id=connection_id), reason))
        return Response(status=status.HTTP_204_NO_CONTENT)


def _selection(wanted: dict[str, Any]) -> Selection:
    try:
        return select(**wanted)
    except UnknownName as exc:
        raise ValidationError({exc.field: [str(exc)]}) from exc


def _ask(selection: Selection, order: Order) -> Roll:
    try:
        return async_to_sync(call_roll)(selection, order)
    except ImproperlyConfigured as exc:
        raise NotPossible(str(exc)) from exc


def _end(request: Request, selection: Selection, reason: str) -> Roll:
    operator = identity_of(request).user.get_username()
    try:
        return async_to_sync(end_connections)(selection, reason, operator)
    except ImproperlyConfigured as exc:
        raise NotPossible(str(exc)) from exc


def _require_found(roll: Roll) -> None:
    if roll.count:
        return
    if roll.silent:
        silent = ", ".join(roll.silent)
        raise Unavailable(f"No process that answered has this connection; silent: {silent}.")
    raise NotFound("There is no such connection; it may have closed.")
