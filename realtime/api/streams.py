"""`GET streams/{channel}/{symbol}`: the updates that a socket would replay."""

from typing import Any, Final, cast

import msgspec
from rest_framework import serializers
from rest_framework.exceptions import NotFound, PermissionDenied, ValidationError
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response

from realtime.access.identity import Identity
from realtime.api.authentication import identity_of
from realtime.api.base import ApiView, QuerySerializer
from realtime.api.documented import extend_schema
from realtime.api.reading import check_rate, check_symbols, page_of, position_of
from realtime.api.serializers import PROBLEMS, ProblemSerializer
from realtime.delivery.stream_state import Page
from realtime.protocol import Gap, InvalidPosition, Position, encode, parse_position
from realtime.streams import (
    ALERTS_ALL,
    CHANNELS,
    Channel,
    InvalidSymbol,
    Stream,
    parse_symbol,
    user_alerts,
)

DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 1000


class StreamQuerySerializer(QuerySerializer):
    """The position to read from, and the number of updates."""

    since = serializers.CharField(
        required=False,
        help_text="`epoch:offset`, such as `next` of an earlier answer: updates after it, oldest "
        "first. Without it: the newest updates.",
    )
    limit = serializers.IntegerField(
        default=DEFAULT_LIMIT,
        min_value=1,
        max_value=MAX_LIMIT,
        help_text="At most so many updates.",
    )

    def validate_since(self, text: str) -> Position:
        try:
            return parse_position(text)
        except InvalidPosition as exc:
            raise serializers.ValidationError(str(exc)) from exc


class StreamSerializer(serializers.Serializer[Any]):
    """Updates in order, as sent to WebSockets, and the position after the last one."""

    channel = serializers.CharField()
    symbol = serializers.CharField()
    epoch = serializers.CharField()
    offset = serializers.IntegerField()
    next = serializers.CharField(help_text="For `since` of the next request: `epoch:offset`.")
    more = serializers.BooleanField(help_text="There are further updates: ask again at once.")
    gap = serializers.DictField(
        allow_null=True, help_text="The message `gap` of a WebSocket: updates lost for good."
    )
    updates = serializers.ListField(
        child=serializers.DictField(), help_text="Messages with `type`, `data` and `offset`."
    )


class MayReadChannel(BasePermission):
    """Requires the scope that the path names."""

    def has_permission(self, request: Request, view: Any) -> bool:
        channel = view.kwargs["channel"]
        if channel not in CHANNELS:
            known = ", ".join(CHANNELS)
            raise NotFound(f"There is no channel {channel[:64]!r}; there are {known}.")
        self.message = f"This credential lacks the scope {channel}."
        return identity_of(request).allows(channel)


class StreamView(ApiView):
    """The updates of one stream after a position, for clients without a WebSocket.

    They are the updates that a WebSocket would replay, however far back, as long as they are held.
    `gap` names updates that are no longer held. The streams of the channel `alerts` are `all` and
    `user`.
    """

    permission_classes = [MayReadChannel]

    @extend_schema(
        operation_id="read_stream",
        summary="Updates of a stream since a position",
        parameters=[StreamQuerySerializer],
        responses={
            200: StreamSerializer,
            **PROBLEMS,
            429: ProblemSerializer,
            501: ProblemSerializer,
            503: ProblemSerializer,
        },
    )
    def get(self, request: Request, channel: str, symbol: str) -> Response:
        stream = _stream(cast(Channel, channel), symbol, identity_of(request))
        wanted = StreamQuerySerializer.of(request)
        check_rate(request, symbols=1)
        since = wanted.get("since")
        page = page_of(stream, since, wanted["limit"])
        return Response(
            {
                "channel": channel,
                "symbol": stream.symbol,
                **position_of(page),
                "next": f"{page.epoch}:{page.offset}",
                "more": page.more,
                "gap": None if since is None else _gap(stream, page, since),
                "updates": [msgspec.json.decode(each.replayed_text) for each in page.updates],
            }
        )


def _stream(channel: Channel, symbol: str, identity: Identity) -> Stream:
    """The stream that a path names; raises ValidationError, NotFound and PermissionDenied."""
    if channel == "alerts":
        return _alerts(symbol, identity)
    try:
        name = parse_symbol(symbol)
    except InvalidSymbol as exc:
        raise ValidationError({"symbol": [exc.reason]}) from exc
    check_symbols(identity, channel, [name])
    return Stream(channel, name)


def _alerts(name: str, identity: Identity) -> Stream:
    if name == "all":
        return ALERTS_ALL
    if name != "user":
        raise NotFound("Alerts have the streams all and user.")
    if not identity.is_authenticated:
        raise PermissionDenied("The stream user is for users: send a token or a key.")
    return user_alerts(identity.user_id)


def _gap(stream: Stream, page: Page, since: Position) -> Any:
    """The updates that a reader at `since` has lost; None if there are none."""
    lost = page.gap_after(since)
    if since.epoch == page.epoch and since.offset > page.offset:
        lost = page.offset + 1, page.offset  # beyond the head: continue from here
    if lost is None:
        return None
    gap = Gap(symbol=stream.symbol, from_offset=lost[0], to_offset=lost[1], epoch=page.epoch)
    return msgspec.json.decode(encode(gap))
