"""Whether one more socket may be open: its page's origin, and the limits of connections."""

import asyncio
import random
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from django.conf import settings

from realtime.access.identity import Identity
from realtime.access.live_sockets import EVICT, GROUP
from realtime.access.origins import origin_allowed
from realtime.consumers.socket import SocketConsumer
from realtime.limits.policy import (
    RETRY_AFTER_MS,
    Refusal,
    check_handshakes,
    client_address,
    connection_limits,
    keep_slot,
    take_slot,
)
from realtime.protocol import CloseCode, ErrorCode, ProtocolError

# With the policy `close_oldest`: how many are asked to go for one newcomer, and for how long each.
MAX_EVICTIONS: Final = 5
EVICTION_SECONDS: Final = 0.1
# Seconds after which every process has counted the sockets of a key whose limit was changed.
COUNT_SECONDS: Final = 1.0


class AdmittedConsumer(SocketConsumer):
    """A socket that counts under limits, and holds its place in each of them until it ends."""

    identity: Identity

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.connection_id = f"{random.getrandbits(128):032x}"
        self._slots: tuple[str, ...] = ()

    def release(self) -> None:
        if self._slots:
            self.channel_layer.free_slot(self.connection_id, self._slots)
            self._slots = ()
        super().release()

    @property
    def _address(self) -> str | None:
        return client_address(self.scope.get("client"), self.scope["headers"])

    async def _check_origin(self) -> None:
        if not origin_allowed(self.scope["headers"], self.identity):
            await self.refuse(
                ErrorCode.FORBIDDEN,
                "pages of this Origin may not connect; REALTIME_ALLOWED_ORIGINS names those that "
                "may, or the API key does",
                CloseCode.FORBIDDEN,
            )

    async def _check_handshakes(self) -> None:
        if self.numbered and settings.REALTIME_HANDSHAKES_PER_IP_PER_MINUTE:
            refusal = await check_handshakes(self.channel_layer, self._address)
            if refusal is not None:
                await self._refuse_connection(refusal)

    async def _take_slot(self) -> None:
        """Room for one more under each limit, by the policy at the expense of the oldest one."""
        limits = connection_limits(self.identity, lambda: self._address) if self.numbered else {}
        wanted = {each: limit for each, limit in limits.items() if each not in self._slots}
        if wanted:
            refusal = await take_slot(self.channel_layer, self.connection_id, wanted)
            for _ in range(MAX_EVICTIONS):
                if refusal is None or not refusal.evict or not _may_evict():
                    break
                oldest = {"type": EVICT, "connection_id": refusal.evict}
                await self.channel_layer.group_send(GROUP, oldest)
                await asyncio.sleep(EVICTION_SECONDS)
                refusal = await take_slot(self.channel_layer, self.connection_id, wanted)
            if refusal is not None:
                await self._refuse_connection(refusal)
        # After an `auth` with another credential it does not count for the one before any more.
        left = tuple(each for each in self._slots if each not in limits)
        if left:
            self.channel_layer.free_slot(self.connection_id, left)
        self._slots = tuple(limits)

    async def _refuse_connection(self, refusal: Refusal) -> NoReturn:
        await self.refuse(
            ErrorCode.CONNECTION_LIMIT,
            refusal.message,
            CloseCode.LIMIT_EXCEEDED,
            retry_after_ms=refusal.retry_after_ms,
        )

    # When the limits change -------------------------------------------------------------------

    async def _count_again(self) -> None:
        """The key may have fewer sockets than before, or was without a limit: count this one.

        Who has to go is known when those of every process are counted.
        """
        limits = connection_limits(self.identity, lambda: self._address)
        self._slots = tuple(dict.fromkeys((*self._slots, *limits)))
        await self._keep_slot(limits)
        self.timer("surplus", COUNT_SECONDS, self._close_surplus)

    async def _close_surplus(self) -> None:
        refusal = await self._keep_slot(connection_limits(self.identity, lambda: self._address))
        if refusal is not None:
            await self._refuse_connection(refusal)

    async def _keep_slot(self, limits: Mapping[str, int]) -> Refusal | None:
        newest_first = not _may_evict()
        return await keep_slot(
            self.channel_layer, self.connection_id, limits, newest_first=newest_first
        )

    async def evicted(self) -> None:
        """A newer connection takes this one's place."""
        self.send_last(
            ProtocolError(
                ErrorCode.CONNECTION_LIMIT,
                "a newer connection took the place of this one",
                retry_after_ms=RETRY_AFTER_MS,
            )
        )
        await self.end(CloseCode.LIMIT_EXCEEDED, "replaced by a newer connection")


def _may_evict() -> bool:
    policy: str = settings.REALTIME_CONNECTION_LIMIT_POLICY
    return policy == "close_oldest"
