"""The common part of views that read streams: their answers, their errors, their limit."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from rest_framework import serializers, status
from rest_framework.exceptions import APIException, PermissionDenied, Throttled
from rest_framework.request import Request

from realtime.access.addresses import address_in_meta
from realtime.access.identity import Identity
from realtime.api.authentication import identity_of
from realtime.api.base import QuerySerializer, Unavailable
from realtime.delivery.layers import MemoryStreamLayer, RedisStreamLayer, reading_layer
from realtime.delivery.publisher import BackendUnavailable
from realtime.delivery.stream_state import Page
from realtime.limits.policy import count_read, message_rate
from realtime.protocol import Position
from realtime.streams import Channel, InvalidSymbol, Stream, parse_symbol

MAX_SYMBOLS: Final = 200
FindAddress = Callable[[], str | None]


class NoHistory(APIException):
    status_code = status.HTTP_501_NOT_IMPLEMENTED
    default_detail = "The channel layer (CHANNEL_LAYERS) of this server keeps no history."


def parsed(symbol: str) -> str:
    try:
        return parse_symbol(symbol)
    except InvalidSymbol as exc:
        raise serializers.ValidationError(exc.reason) from exc


class SymbolsQuerySerializer(QuerySerializer):
    symbol = serializers.CharField(required=False, help_text="One value, or several: `AAPL,MSFT`.")

    def validate_symbol(self, text: str) -> list[str]:
        symbols = [parsed(symbol.strip()) for symbol in text.split(",")]
        if len(symbols) > MAX_SYMBOLS:
            raise serializers.ValidationError(f"More than {MAX_SYMBOLS} symbols.")
        return list(dict.fromkeys(symbols))


class PositionSerializer(serializers.Serializer[Any]):
    """A stream's position, from which a WebSocket continues with `since`."""

    epoch = serializers.CharField(allow_null=True)
    offset = serializers.IntegerField(allow_null=True)


def check_symbols(identity: Identity, channel: Channel, symbols: Sequence[str]) -> None:
    """Raises PermissionDenied for a symbol that the credential may not read."""
    for symbol in symbols:
        if not identity.allows(channel, symbol):
            raise PermissionDenied(f"This credential may not read {channel} of {symbol}.")


def check_rate(request: Request, symbols: int) -> None:
    """Count this request; raises Throttled above the rate of a socket's messages."""
    take_read(identity_of(request), address_finder(request), symbols)


def address_finder(request: Request) -> FindAddress:
    return lambda: address_in_meta(request.META)


def not_needed() -> str | None:
    """The address of a client with a credential, whose requests count together."""
    return None


def take_read(identity: Identity, find_address: FindAddress, symbols: int) -> None:
    """`check_rate` for a client, whichever way its request came."""
    wait = count_read(identity, find_address, symbols)
    if wait:
        rate, _ = message_rate(identity)
        raise Throttled(wait, f"More than {rate:g} reads per second; every ten symbols are one.")


def layer_with_history() -> RedisStreamLayer | MemoryStreamLayer:
    layer = reading_layer()
    if layer is None:
        raise NoHistory
    return layer


def newest_pages(channel: Channel, symbols: Sequence[str]) -> dict[str, Page]:
    """The position of each stream and its newest update; raises NoHistory and Unavailable."""
    streams = [Stream(channel, symbol) for symbol in symbols]
    try:
        return dict(zip(symbols, layer_with_history().read_newest_sync(streams), strict=True))
    except BackendUnavailable as exc:
        raise Unavailable(str(exc)) from exc


def page_of(stream: Stream, since: Position | None, most: int) -> Page:
    """Updates of one stream; raises NoHistory and Unavailable."""
    try:
        return layer_with_history().read_page_sync(stream, since, most)
    except BackendUnavailable as exc:
        raise Unavailable(str(exc)) from exc


def position_of(page: Page | None) -> Mapping[str, str | int | None]:
    """`epoch` and `offset`; null where they are not known."""
    if page is None:
        return {"epoch": None, "offset": None}
    return {"epoch": page.epoch, "offset": page.offset}
