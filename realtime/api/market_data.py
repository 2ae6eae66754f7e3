"""`GET market-data/latest`, the newest update of streams; `…/{symbol}/bars`, for charts."""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec
from django.http import QueryDict
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from realtime.access.identity import Identity
from realtime.api.authentication import HasMarketDataScope, identity_of
from realtime.api.base import ApiView, Choice, Direct, QuerySerializer, ViewAnswers
from realtime.api.documented import extend_schema
from realtime.api.fields import DateTimeField, ModelSerializer
from realtime.api.reading import (
    MAX_SYMBOLS,
    FindAddress,
    PositionSerializer,
    SymbolsQuerySerializer,
    address_finder,
    check_symbols,
    newest_pages,
    not_needed,
    position_of,
    take_read,
)
from realtime.api.serializers import PROBLEMS, ProblemSerializer
from realtime.bars.rollup import INTERVALS, Window, read_bars, stored_interval
from realtime.delivery.layers.current import current_layer
from realtime.delivery.publisher import BackendUnavailable
from realtime.delivery.stream_state import Page
from realtime.limits.policy import acount_read
from realtime.models import Bar
from realtime.streams import InvalidSymbol, Stream, parse_symbol

DEFAULT_LIMIT: Final = 500
MAX_LIMIT: Final = 5000


class BarsQuerySerializer(QuerySerializer):
    """The interval, the range and the number of bars."""

    interval = Choice(
        choices=INTERVALS,
        default="1m",
        help_text="In UTC; weeks begin on Monday. Up to `4h` made of bars of a minute.",
    )
    limit = serializers.IntegerField(
        default=DEFAULT_LIMIT, min_value=1, max_value=MAX_LIMIT, help_text="At most so many bars."
    )
    # `Field.source` is DRF's own; the metaclass takes declared fields out before that matters.
    source = serializers.CharField(  # type: ignore[assignment]
        required=False,
        allow_blank=True,
        max_length=64,
        help_text="Where prices come from: `replay`. Default: the source that was recorded last.",
    )
    before = DateTimeField(
        required=False, help_text="Only bars that begin before this time: `2024-01-01T12:00:00Z`."
    )
    after = DateTimeField(
        required=False,
        help_text="Only bars that begin after this time, from the first of them on.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        super().validate(attrs)
        if "after" in attrs and "before" in attrs and attrs["after"] >= attrs["before"]:
            raise ValidationError({"after": ["This must be earlier than `before`."]})
        return attrs


class BarSerializer(ModelSerializer[Bar]):
    """`start` is the bar's first moment; a bar that is not `closed` is still forming."""

    closed = serializers.BooleanField()

    class Meta:
        model = Bar
        fields = ("start", "open", "high", "low", "close", "volume", "updated_at", "closed")


class BarsSerializer(serializers.Serializer[object]):
    """Bars of one source, oldest first."""

    symbol = serializers.CharField()
    interval = serializers.CharField()
    source = serializers.CharField(  # type: ignore[assignment]
        allow_null=True, help_text="null: this symbol has no bars."
    )
    bars = BarSerializer(many=True)


class LatestQuerySerializer(SymbolsQuerySerializer):
    symbol = serializers.CharField(help_text="One value, or several: `AAPL,MSFT`; at most 200.")


class NewestSerializer(PositionSerializer):
    """The newest update of a stream, as sent to a WebSocket, and its position in the stream."""

    symbol = serializers.CharField()
    timestamp = DateTimeField(allow_null=True, help_text="null: there was no update yet.")
    data = serializers.DictField(allow_null=True)  # type: ignore[assignment]


class LatestMarketDataSerializer(serializers.Serializer[object]):
    market_data = NewestSerializer(many=True)


def _latest(
    identity: Identity, query: QueryDict, find_address: FindAddress = not_needed
) -> dict[str, object]:
    symbols = LatestQuerySerializer.read(query)["symbol"]
    check_symbols(identity, "market-data", symbols)
    take_read(identity, find_address, len(symbols))
    return _shown(newest_pages("market-data", symbols))


async def _alatest(identity: Identity, query: QueryDict) -> dict[str, object]:
    """`_latest` without a thread, for nearly all requests that have a credential."""
    if list(query) != ["symbol"]:
        raise ViewAnswers
    names = str(query["symbol"]).split(",")
    try:
        symbols = list(dict.fromkeys(parse_symbol(name.strip()) for name in names))
    except InvalidSymbol as exc:
        raise ViewAnswers from exc
    layer = current_layer()
    allowed = all(identity.allows("market-data", symbol) for symbol in symbols)
    if layer is None or not allowed or len(symbols) > MAX_SYMBOLS:
        raise ViewAnswers
    if await acount_read(identity, len(symbols)):
        raise ViewAnswers
    reads = [layer.read_newest(Stream("market-data", symbol), 1) for symbol in symbols]
    try:
        return _shown(dict(zip(symbols, await asyncio.gather(*reads), strict=True)))
    except BackendUnavailable as exc:
        raise ViewAnswers from exc


def _shown(pages: Mapping[str, Page]) -> dict[str, object]:
    return {"market_data": [_newest(*each) for each in pages.items()]}


def _newest(symbol: str, page: Page) -> dict[str, object]:
    update = msgspec.json.decode(page.updates[-1].text) if page.updates else {}
    found = {name: update.get(name) for name in ("timestamp", "data")}
    return {"symbol": symbol, **found, **position_of(page)}


class LatestMarketDataView(ApiView):
    """The newest market data of each symbol, with the position from which a socket continues.

    A symbol without updates has `data: null` and the position before its first update.
    """

    permission_classes = [HasMarketDataScope]
    direct = Direct(
        read=_latest, aread=_alatest, scope="market-data", method="GET",
        status=HTTPStatus.OK, takes_json=False,
    )  # fmt: skip

    @extend_schema(
        operation_id="latest_market_data",
        summary="Newest market data of some symbols",
        parameters=[LatestQuerySerializer],
        responses={
            200: LatestMarketDataSerializer,
            **PROBLEMS,
            429: ProblemSerializer,
            501: ProblemSerializer,
            503: ProblemSerializer,
        },
    )
    def get(self, request: Request) -> Response:
        query, find_address = request.query_params, address_finder(request)
        return Response(_latest(identity_of(request), query, find_address))


class BarsView(ApiView):
    """Open, high, low, close and volume of a symbol, from a minute to a week.

    The newest `limit` bars, oldest first; `before` the first of them gives those before it, and
    `after` any of them gives those that follow. A symbol without bars has an empty list.
    """

    permission_classes = [HasMarketDataScope]

    @extend_schema(
        operation_id="list_bars",
        summary="Bars of a symbol",
        parameters=[BarsQuerySerializer],
        responses={200: BarsSerializer, **PROBLEMS},
    )
    def get(self, request: Request, symbol: str) -> Response:
        name = _symbol(symbol)
        check_symbols(identity_of(request), "market-data", [name])
        wanted = BarsQuerySerializer.of(request)
        interval, source = wanted["interval"], wanted.get("source")
        if source is None:
            source = _latest_source(name, interval)
        window = Window(wanted.get("after"), wanted.get("before"), wanted["limit"])
        bars = [] if source is None else read_bars(name, interval, source, window)
        answer = {"symbol": name, "interval": interval, "source": source, "bars": bars}
        return Response(BarsSerializer(answer).data)


def _symbol(text: str) -> str:
    try:
        return parse_symbol(text)
    except InvalidSymbol as exc:
        raise ValidationError({"symbol": [exc.reason]}) from exc


def _latest_source(symbol: str, interval: str) -> str | None:
    """The source of the bar that was written last."""
    stored = stored_interval(interval)
    bars = Bar.objects.filter(symbol=symbol, interval=stored).order_by("-updated_at")
    return bars.values_list("source", flat=True).first()
