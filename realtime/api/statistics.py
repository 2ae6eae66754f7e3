"""`GET connections`: how many sockets are connected; `GET /metrics`: numbers for monitoring."""

from collections.abc import Mapping
from typing import Any

from django.http import HttpResponse
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.request import Request
from rest_framework.response import Response

from realtime.access.identity import Identity
from realtime.api.authentication import ReadsMetrics, identity_of
from realtime.api.base import ApiView
from realtime.api.documented import extend_schema
from realtime.api.metrics import exposition
from realtime.api.serializers import ConnectionsSerializer, ProblemSerializer
from realtime.connections import connection_manager
from realtime.streams import CHANNELS


class ConnectionsView(ApiView):
    """Open WebSockets of all processes; for operators.

    Operators are staff, a key with the scope `metrics`, or a client in `REALTIME_METRICS_NETWORKS`.
    Stale streams are named if the credential may read them.
    """

    permission_classes = [ReadsMetrics]

    @extend_schema(
        operation_id="connections",
        summary="Open sockets by channel, and stale streams",
        responses={
            200: ConnectionsSerializer,
            401: ProblemSerializer,
            403: ProblemSerializer,
            503: ProblemSerializer,
        },
    )
    def get(self, request: Request) -> Response:
        counts = connection_manager.get_counts()
        counts = {channel: counts.get(channel, 0) for channel in CHANNELS}
        return Response(
            {
                "total": sum(counts.values()),
                "counts": counts,
                "channels": [channel for channel, count in counts.items() if count],
                "stale": _allowed(connection_manager.get_stale_streams(), identity_of(request)),
            }
        )


def _allowed(streams: Mapping[str, list[str]], identity: Identity) -> dict[str, list[str]]:
    """The streams that this client may read, without empty channels."""
    readable = {
        channel: [symbol for symbol in symbols if identity.allows(channel, symbol)]
        for channel, symbols in streams.items()
    }
    return {channel: symbols for channel, symbols in readable.items() if symbols}


class _OneFormat(BaseContentNegotiation):
    """Ignores the format that a scraper prefers: errors are JSON, as everywhere."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        return parsers[0]

    def select_renderer(self, request: Request, renderers: Any, format_suffix: Any = None) -> Any:
        return renderers[0], renderers[0].media_type


class MetricsView(ApiView):
    """The project's numbers in Prometheus' text format; for operators."""

    permission_classes = [ReadsMetrics]
    content_negotiation_class = _OneFormat

    @extend_schema(exclude=True)
    def get(self, request: Request) -> HttpResponse:
        return HttpResponse(exposition(), content_type=CONTENT_TYPE_PLAIN_0_0_4)
