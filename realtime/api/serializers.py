"""Bodies that several views of the REST API share."""

from collections.abc import Mapping
from typing import Final

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from realtime.api.base import Choice
from realtime.payloads import MAX_ID
from realtime.users import InvalidUserId, UserId, parse_user_id, read_user_id

ID_HELP: Final = (
    "Of two items with the same id, sent with the same credential to the same stream within ten "
    "minutes, the second is not published and gets the first answer."
)
UPDATE_TYPES = ("prediction_update", "market_data_update", "alert")


@extend_schema_field({"oneOf": [{"type": "integer"}, {"type": "string"}]})
class UserIdField(serializers.Field[UserId, object, UserId, object]):
    """The primary key of a user: a number, or a text such as that of a UUID."""

    def to_internal_value(self, data: object) -> UserId:
        try:
            return read_user_id(data) if isinstance(data, str) else parse_user_id(data)
        except InvalidUserId as exc:
            raise serializers.ValidationError(str(exc)) from exc

    def to_representation(self, value: UserId) -> UserId:
        return value


class UpdateSerializer(serializers.Serializer[object]):
    """One update, with the same `type` as the message that clients will receive."""

    type = Choice(choices=UPDATE_TYPES)
    symbol = serializers.CharField(
        required=False, help_text="For every type except `alert`, whose symbol belongs in `data`."
    )
    # `Serializer.data` is shadowed for declared fields by DRF itself: the metaclass takes them out.
    data = serializers.DictField(  # type: ignore[assignment]
        help_text="Any JSON object; it reaches the clients as it is."
    )
    user_id = UserIdField(
        required=False,
        allow_null=True,
        help_text="For `alert` only: primary key of the user who receives it. Default: all users.",
    )
    id = serializers.CharField(required=False, max_length=MAX_ID, help_text=ID_HELP)


class PublicationSerializer(serializers.Serializer[object]):
    """The result of publishing an update."""

    channel = serializers.CharField()
    stream = serializers.CharField(help_text="The symbol; for alerts `all` or `user`.")
    epoch = serializers.CharField(
        allow_null=True,
        help_text="The name of the stream's numbering; a new one begins when Redis loses its data. "
        "null, as `offset` and `receivers` are: it is published once the request is committed "
        "(`ATOMIC_REQUESTS`).",
    )
    offset = serializers.IntegerField(
        allow_null=True, help_text="The update's number in the stream."
    )
    receivers = serializers.IntegerField(
        allow_null=True, help_text="Server processes that received it."
    )
    stored = serializers.BooleanField(
        required=False,
        help_text="For an alert: whether it is in the inbox, for clients that are away.",
    )
    warnings = serializers.DictField(
        child=serializers.CharField(),
        required=False,
        help_text="By field of `data`: problems that did not prevent publication.",
    )


class ConnectionsSerializer(serializers.Serializer[object]):
    """Open WebSockets of all processes."""

    total = serializers.IntegerField()
    counts = serializers.DictField(child=serializers.IntegerField(), help_text="By channel.")
    channels = serializers.ListField(
        child=serializers.CharField(), help_text="Channels with at least one connection."
    )
    stale = serializers.DictField(
        child=serializers.ListField(child=serializers.CharField()),
        help_text="Symbols by channel whose stream is quiet for longer than expected.",
    )


class ProblemSerializer(serializers.Serializer[object]):
    """What is wrong, in words."""

    detail = serializers.CharField()


# Errors of any view that reads a query or a body.
PROBLEMS: Final[Mapping[int, object]] = {
    400: ProblemSerializer,
    401: ProblemSerializer,
    403: ProblemSerializer,
}
