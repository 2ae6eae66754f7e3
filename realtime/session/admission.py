"""Whether one more socket may be open, by its page's origin and the connection limits."""

import asyncio
from collections.abc import Mapping
from typing import Final, NoReturn

from realtime.access.addresses import client_address
from realtime.access.live_sockets import EVICT, GROUP
from realtime.access.origins import origin_allowed
from realtime.conf import conf
from realtime.delivery.layers import StreamLayer
from realtime.limits.policy import (
    RETRY_AFTER_MS,
    Refusal,
    check_handshakes,
    connection_limits,
    keep_slot,
    take_slot,
)
from realtime.limits.slots import slots_of
from realtime.protocol import CloseCode, ErrorCode, ProtocolError
from realtime.session.connection import Connection, SocketScope

# With the policy `close_oldest`: how many sockets are evicted for a new one at most, and seconds to
# wait for each.
MAX_EVICTIONS: Final = 5
EVICTION_SECONDS: Final = 0.1
# Seconds within which every process counts the sockets of a key whose limit has changed.
COUNT_SECONDS: Final = 1.0


class Admission:
    """The slots of one connection, one under each of its limits, until it ends.

    Without a layer of this project connections are not limited.
    """

    __slots__ = ("_connection", "_layer", "_scope", "_slots")

    def __init__(
        self, connection: Connection, scope: SocketScope, layer: StreamLayer | None
    ) -> None:
        self._connection = connection
        self._scope = scope
        self._layer = layer
        self._slots: tuple[str, ...] = ()

    def close(self) -> None:
        self._free(self._slots)

    def _free(self, slots: tuple[str, ...]) -> None:
        if self._layer is not None and slots:
            slots_of(self._layer).free(self._connection.connection_id, slots)

    @property
    def address(self) -> str | None:
        return client_address(self._scope.get("client"), self._scope["headers"])

    async def check_origin(self) -> None:
        if not origin_allowed(self._scope["headers"], self._connection.identity):
            await self._connection.refuse(
                ErrorCode.FORBIDDEN,
                "pages of this Origin may not connect; REALTIME_ALLOWED_ORIGINS names those that "
                "may, or the API key does",
                CloseCode.FORBIDDEN,
            )

    async def check_handshakes(self) -> None:
        if self._layer is not None and conf.REALTIME_HANDSHAKES_PER_IP_PER_MINUTE:
            refusal = await check_handshakes(self._layer, self.address)
            if refusal is not None:
                await self._refuse(refusal)

    async def take_slots(self) -> None:
        """Take a slot under each limit, by the policy at the expense of the oldest socket."""
        if self._layer is None:
            return
        limits = self._limits()
        wanted = {each: limit for each, limit in limits.items() if each not in self._slots}
        if wanted:
            await self._take(self._layer, wanted)
        # After an `auth` with another credential the socket no longer counts for the old one.
        self._free(tuple(each for each in self._slots if each not in limits))
        self._slots = tuple(limits)

    async def _take(self, layer: StreamLayer, wanted: Mapping[str, int]) -> None:
        connection_id = self._connection.connection_id
        refusal = await take_slot(layer, connection_id, wanted)
        for _ in range(MAX_EVICTIONS):
            if refusal is None or not refusal.evict or not _may_evict():
                break
            oldest = {"type": EVICT, "connection_id": refusal.evict}
            await layer.group_send(GROUP, oldest)
            await asyncio.sleep(EVICTION_SECONDS)
            refusal = await take_slot(layer, connection_id, wanted)
        if refusal is not None:
            await self._refuse(refusal)

    def _limits(self) -> dict[str, int]:
        return connection_limits(self._connection.identity, lambda: self.address)

    async def _refuse(self, refusal: Refusal) -> NoReturn:
        await self._connection.refuse(
            ErrorCode.CONNECTION_LIMIT,
            refusal.message,
            CloseCode.LIMIT_EXCEEDED,
            retry_after_ms=refusal.retry_after_ms,
        )

    # When the limits change -------------------------------------------------------------------

    async def count_again(self) -> None:
        """Count this socket for its key, whose limit was lowered or is new.

        Which sockets have to go is known only once every process has counted its own.
        """
        limits = self._limits()
        self._slots = tuple(dict.fromkeys((*self._slots, *limits)))
        await self._keep(limits)
        self._connection.timer("surplus", COUNT_SECONDS, self._close_surplus)

    async def _close_surplus(self) -> None:
        refusal = await self._keep(self._limits())
        if refusal is not None:
            await self._refuse(refusal)

    async def _keep(self, limits: Mapping[str, int]) -> Refusal | None:
        if self._layer is None:
            return None
        return await keep_slot(
            self._layer, self._connection.connection_id, limits, newest_first=not _may_evict()
        )

    async def evicted(self) -> None:
        """Close this connection, which a newer one replaces."""
        self._connection.send_last(
            ProtocolError(
                ErrorCode.CONNECTION_LIMIT,
                "a newer connection has replaced this one",
                retry_after_ms=RETRY_AFTER_MS,
            )
        )
        await self._connection.end(CloseCode.LIMIT_EXCEEDED, "replaced by a newer connection")


def _may_evict() -> bool:
    policy: str = conf.REALTIME_CONNECTION_LIMIT_POLICY
    return policy == "close_oldest"
