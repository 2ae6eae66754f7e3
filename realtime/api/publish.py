"""`POST publish`: one update, or a list of them, from anybody with the `publish` scope."""

import re
from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, PolymorphicProxySerializer
from rest_framework import status
from rest_framework.exceptions import PermissionDenied, Throttled, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from realtime.access.identity import Identity
from realtime.api.authentication import HasPublishScope, identity_of
from realtime.api.base import ApiView, Direct, Unconfirmed, ViewAnswers
from realtime.api.documented import extend_schema
from realtime.api.serializers import (
    PROBLEMS,
    ProblemSerializer,
    PublicationSerializer,
    UpdateSerializer,
)
from realtime.broadcast import (
    Broadcast,
    InvalidUpdate,
    Publication,
    PublishFailed,
    abroadcast_many,
    alert_update,
    broadcast_many,
    market_data_update,
    prediction_update,
)
from realtime.limits.policy import acount_published, count_published, publish_rate
from realtime.streams import WILDCARD, InvalidSymbol, parse_symbol

MAX_BATCH: Final = 1000

# The broadcast functions name their own arguments; in a request all of them are `data`.
_ARGUMENT: Final = re.compile(r"^(?:prediction_data|market_data|alert_data)\b")

_BUILDERS: Final[dict[str, Callable[[dict[str, Any]], Broadcast]]] = {
    "prediction_update": lambda update: prediction_update(update["symbol"], update["data"]),
    "market_data_update": lambda update: market_data_update(update["symbol"], update["data"]),
    "alert": lambda update: alert_update(update["data"], update.get("user_id")),
}

_EXAMPLES = [
    OpenApiExample(
        "Market data",
        value={
            "type": "market_data_update",
            "symbol": "AAPL",
            "data": {"price": 149.5, "volume": 1000000},
        },
        request_only=True,
    ),
    OpenApiExample(
        "Two at once",
        value=[
            {
                "type": "prediction_update",
                "symbol": "AAPL",
                "data": {"predicted_price": 150.25, "confidence": 0.85},
            },
            {"type": "alert", "data": {"message": "Price exceeded $150", "severity": "high"}},
        ],
        request_only=True,
    ),
]


class _Update(msgspec.Struct, forbid_unknown_fields=True):
    """An update that needs no second look: alerts are stored first, and the view says what is
    wrong with others."""

    type: Literal["prediction_update", "market_data_update"]
    symbol: str
    data: dict[str, Any]

    def build(self) -> Broadcast:
        build = market_data_update if self.type == "market_data_update" else prediction_update
        return build(self.symbol, self.data)


_decoder: Final = msgspec.json.Decoder(_Update | list[_Update])


async def publish_directly(identity: Identity, body: bytes) -> bytes:
    """`PublishView.post` for nearly all of its requests, see direct.py."""
    try:
        given = _decoder.decode(body)
        items = given if isinstance(given, list) else [given]
        updates = [item.build() for item in items]
    except (msgspec.MsgspecError, RecursionError, InvalidUpdate) as exc:
        raise ViewAnswers from exc
    allowed = all(identity.allows("publish", update.stream.symbol) for update in updates)
    if not (allowed and 1 <= len(updates) <= MAX_BATCH):
        raise ViewAnswers
    if await acount_published(identity, len(updates)):
        raise ViewAnswers
    try:
        shown = [_shown(publication) for publication in await abroadcast_many(updates)]
    except PublishFailed as exc:
        raise Unconfirmed(str(exc)) from exc
    return msgspec.json.encode(shown if isinstance(given, list) else shown[0])


class PublishView(ApiView):
    """Push updates to the connected clients.

    The body is one update or a list of at most 1,000, which are published in order. If one is
    refused, nothing was published; the 400 names the field, in a list with its index:
    `{"3.data.price": ["…"]}`. Above the limit of updates a second the 429 says in `Retry-After`
    how long to wait.
    """

    permission_classes = [HasPublishScope]
    direct = Direct(publish_directly, "publish")

    @extend_schema(
        operation_id="publish",
        request=PolymorphicProxySerializer(
            component_name="Updates",
            serializers=[UpdateSerializer, UpdateSerializer(many=True)],
            resource_type_field_name=None,
            many=False,
        ),
        responses={
            201: PublicationSerializer,
            **PROBLEMS,
            429: ProblemSerializer,
            503: OpenApiResponse(ProblemSerializer, description="Redis did not confirm."),
        },
        examples=_EXAMPLES,
    )
    def post(self, request: Request) -> Response:
        identity = identity_of(request)
        if not isinstance(request.data, list):
            publications = _publish([_read(request.data, "", identity)], identity)
            return Response(_shown(publications[0]), status.HTTP_201_CREATED)
        if not 1 <= len(request.data) <= MAX_BATCH:
            raise ValidationError({"updates": [f"A list has 1 to {MAX_BATCH} updates."]})
        updates = [_read(item, f"{index}.", identity) for index, item in enumerate(request.data)]
        publications = _publish(updates, identity)
        return Response([_shown(publication) for publication in publications], 201)


def _publish(updates: list[Broadcast], identity: Identity) -> list[Publication]:
    """Publish within the limit; raises Throttled."""
    wait = count_published(identity, len(updates))
    if wait:
        limit = publish_rate(identity)
        raise Throttled(wait, f"More than {limit} updates per second; nothing was published.")
    return broadcast_many(updates)


def _read(item: object, where: str, identity: Identity) -> Broadcast:
    """One update, checked, encoded and allowed; raises ValidationError or PermissionDenied."""
    serializer = UpdateSerializer(data=item)
    if not serializer.is_valid():
        errors = {f"{where}{field}": texts for field, texts in serializer.errors.items()}
        raise ValidationError(errors)
    update = serializer.validated_data
    symbol = _symbol_of(update)
    if not identity.allows("publish", symbol):
        target = "alerts for every symbol" if symbol == WILDCARD else f"updates for {symbol}"
        raise PermissionDenied(f"This credential may not publish {target}.")
    try:
        return _BUILDERS[update["type"]](update)
    except InvalidUpdate as exc:
        raise ValidationError({where + _ARGUMENT.sub("data", exc.field): [exc.reason]}) from exc


def _symbol_of(update: dict[str, Any]) -> str:
    """What a key that is limited to symbols is asked for; an alert may be about none: `*`."""
    if update["type"] != "alert":
        symbol: str = update["symbol"]
        return symbol
    try:
        return parse_symbol(update["data"].get("symbol"))
    except InvalidSymbol:
        return WILDCARD


def _shown(publication: Publication) -> dict[str, object]:
    stored = {} if publication.stored is None else {"stored": publication.stored}
    return {
        "channel": publication.stream.channel,
        "stream": publication.stream.symbol,
        "epoch": publication.epoch,
        "offset": publication.offset,
        "receivers": publication.receivers,
        **stored,
        **({"warnings": dict(publication.warnings)} if publication.warnings else {}),
    }
