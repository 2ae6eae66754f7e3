"""`GET streams`: which streams there are, of those that the client may read."""

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response

from realtime.access.identity import Identity
from realtime.api.authentication import identity_of
from realtime.api.base import ApiView, Choice, QuerySerializer
from realtime.api.documented import extend_schema
from realtime.api.reading import check_rate, layer_with_history
from realtime.api.serializers import PROBLEMS, ProblemSerializer
from realtime.streams import CHANNELS, MAX_SYMBOL_LENGTH, Channel

DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 1000
Place = tuple[Channel, str]  # a channel and a symbol, in whose order streams are listed


class StreamListQuerySerializer(QuerySerializer):
    """Which streams, and how many of them."""

    channel = Choice(choices=CHANNELS, required=False, help_text="Only those of this channel.")
    search = serializers.CharField(
        required=False,
        max_length=MAX_SYMBOL_LENGTH,
        help_text="Only those with this part in their symbol, in upper or lower case.",
    )
    after = serializers.CharField(
        required=False,
        max_length=64,
        help_text="`next` of the answer before: the streams after it.",
    )
    limit = serializers.IntegerField(
        default=DEFAULT_LIMIT,
        min_value=1,
        max_value=MAX_LIMIT,
        help_text="How many streams an answer has at most.",
    )

    def validate_after(self, text: str) -> Place:
        channel, slash, symbol = text.partition("/")
        if not slash or channel not in CHANNELS:
            raise serializers.ValidationError("Send `next` of an earlier answer: channel/symbol.")
        return channel, symbol


class ListedStreamSerializer(serializers.Serializer[Any]):
    """One stream, as a client subscribes to it."""

    channel = serializers.ChoiceField(choices=CHANNELS)
    symbol = serializers.CharField(help_text="Of the channel `alerts`: `all` or `user`.")


class StreamListSerializer(serializers.Serializer[Any]):
    """Streams by channel and symbol."""

    streams = ListedStreamSerializer(many=True)
    next = serializers.CharField(
        allow_null=True, help_text="`after` of the next request; null at the end of the list."
    )


class ReadsSomething(BasePermission):
    """Requires the scope of any channel."""

    message = f"This credential has none of the scopes {', '.join(CHANNELS)}."

    def has_permission(self, request: Request, view: object) -> bool:
        identity = identity_of(request)
        return any(identity.allows(channel) for channel in CHANNELS)


class StreamListView(ApiView):
    """The streams that have had an update, as far as this credential may read them.

    A stream without an update can be subscribed to all the same; it is listed from its first one.
    """

    permission_classes = [ReadsSomething]

    @extend_schema(
        operation_id="list_streams",
        summary="Streams that exist",
        parameters=[StreamListQuerySerializer],
        responses={
            200: StreamListSerializer,
            **PROBLEMS,
            429: ProblemSerializer,
            501: ProblemSerializer,
            503: ProblemSerializer,
        },
    )
    def get(self, request: Request) -> Response:
        wanted = StreamListQuerySerializer.of(request)
        identity = identity_of(request)
        channels = _channels(identity, wanted.get("channel"))
        check_rate(request, symbols=1)
        found = _readable(identity, channels, wanted.get("search", "").upper(), wanted.get("after"))
        page = list(islice(found, wanted["limit"] + 1))
        shown = page[: wanted["limit"]]
        return Response(
            {
                "streams": [{"channel": channel, "symbol": symbol} for channel, symbol in shown],
                "next": "/".join(shown[-1]) if len(page) > len(shown) else None,
            }
        )


def _channels(identity: Identity, named: Channel | None) -> list[Channel]:
    """The channels to list, in their order; raises PermissionDenied."""
    if named is None:
        return sorted(channel for channel in CHANNELS if identity.allows(channel))
    if not identity.allows(named):
        raise PermissionDenied(f"This credential lacks the scope {named}.")
    return [named]


def _readable(
    identity: Identity, channels: list[Channel], search: str, after: Place | None
) -> Iterator[Place]:
    """In order; raises NoHistory and BackendUnavailable."""
    for channel in channels:
        for symbol in _symbols(identity, channel):
            place = channel, symbol
            if (after is None or place > after) and search in symbol.upper():
                yield place


def _symbols(identity: Identity, channel: Channel) -> Iterator[str]:
    if channel == "alerts":
        yield from ("all", "user") if identity.is_authenticated else ("all",)
        return
    for symbol in sorted(layer_with_history().read_symbols(channel)):
        if identity.allows(channel, symbol):
            yield symbol
