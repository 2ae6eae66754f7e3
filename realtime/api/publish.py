"""`POST publish`: one update or a list, from any client with the `publish` scope."""

from typing import Any, Final, Literal

import msgspec
from drf_spectacular.utils import OpenApiExample, OpenApiResponse
from rest_framework.request import Request
from rest_framework.response import Response

from realtime.access.identity import Identity
from realtime.api.answers import MAX_BATCH
from realtime.api.authentication import HasPublishScope
from realtime.api.base import ApiView, Direct, ViewAnswers
from realtime.api.documented import extend_schema
from realtime.api.publishing import publish, shown
from realtime.api.responses import IDEMPOTENCY_KEY, IDEMPOTENT, one_or_many, respond
from realtime.api.serializers import (
    PROBLEMS,
    ProblemSerializer,
    PublicationSerializer,
    UpdateSerializer,
)
from realtime.broadcast import (
    Broadcast,
    InvalidUpdate,
    abroadcast_many,
    market_data_update,
    prediction_update,
)
from realtime.limits.policy import acount_published

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
    answers = [shown(publication) for publication in await abroadcast_many(updates)]
    return msgspec.json.encode(answers if isinstance(given, list) else answers[0])


class PublishView(ApiView):
    """Push updates to the connected clients.

    The body is one update or a list of at most 1,000, which are published in order. If one is
    refused, nothing is published; the 400 names the field, in a list with its index:
    `{"3.data.price": ["…"]}`. Above the limit of updates a second, `Retry-After` of the 429 says
    how long to wait.
    """

    permission_classes = [HasPublishScope]
    direct = Direct(publish_directly, publish, "publish")

    @extend_schema(
        operation_id="publish",
        summary="Publish updates",
        parameters=[IDEMPOTENCY_KEY],
        request=one_or_many("Updates", UpdateSerializer),
        responses={
            201: one_or_many("Published", PublicationSerializer),
            **PROBLEMS,
            **IDEMPOTENT,
            429: ProblemSerializer,
            503: OpenApiResponse(ProblemSerializer, description="Redis did not confirm."),
        },
        examples=_EXAMPLES,
    )
    def post(self, request: Request) -> Response:
        return respond(publish, request)
