"""`GET connections`: how many sockets are connected."""

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from realtime.api.base import ApiView
from realtime.api.serializers import ConnectionsSerializer, ProblemSerializer
from realtime.connections import connection_manager
from realtime.streams import CHANNELS


class ConnectionsView(ApiView):
    """Open WebSockets, over all processes; for anybody with a credential."""

    @extend_schema(
        operation_id="connections",
        responses={200: ConnectionsSerializer, 401: ProblemSerializer, 503: ProblemSerializer},
    )
    def get(self, request: Request) -> Response:
        counts = connection_manager.get_counts()
        counts = {channel: counts.get(channel, 0) for channel in CHANNELS}
        return Response(
            {
                "total": sum(counts.values()),
                "counts": counts,
                "channels": [channel for channel, count in counts.items() if count],
                "stale": connection_manager.get_stale_streams(),
            }
        )
