"""Which streams a socket reads, and how that changes."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Final

from realtime import protocol
from realtime.consumers.admission import AdmittedConsumer
from realtime.delivery.readers import RateLimitedReader
from realtime.delivery.updates import Reader
from realtime.limits.policy import max_subscriptions
from realtime.protocol import ErrorCode, ProtocolError, StreamInfo
from realtime.session.requests import Change, requested, to_leave
from realtime.session.subscriptions import ANSWER, Membership
from realtime.streams import Channel, Stream

# Seconds that `connected` and `subscribed` wait for the channel layer. After that the socket is
# served without, and hears the rest when the layer is back.
JOIN_PATIENCE: Final = 1.0


class SubscribingConsumer(AdmittedConsumer):
    """A socket of one channel; `members` are its subscriptions."""

    channel: ClassVar[Channel]
    members: Membership

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._changing: asyncio.Task[None] | None = None

    def make_reader(self, stream: Stream, max_rate: float | None) -> Reader | None:
        """What stands between the stream and the socket; None for nothing."""
        return None if max_rate is None else RateLimitedReader(self.socket, max_rate)

    async def in_turn(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run a change of subscriptions after the one before; do not hold up `pong` for it."""
        before = self._changing
        if before is None or before.done():
            await work()
            return

        async def later() -> None:
            await asyncio.wait([before])
            await self.guarded(work)

        self._changing = self.spawn(later())

    async def _on_subscribe(self, message: protocol.Subscribe) -> None:
        change = requested(
            self.channel,
            message,
            self.members.streams,
            self.identity,
            max_subscriptions(self.identity),
        )
        if change.max_rate is not None and not self.numbered:
            raise ProtocolError(
                ErrorCode.INVALID_MESSAGE,
                "max_rate: the channel layer of this server cannot limit rates",
                details={"field": "max_rate"},
                id=message.id,
            )
        await self.change(change, message.id)

    async def change(self, change: Change, id: str | int | None) -> None:
        """Make a change and answer `subscribed`: now, or when the channel layer is back."""
        if await self.members.join_groups(change, JOIN_PATIENCE):
            await self._finish(change, id)
        else:
            self._changing = self.spawn(self._join_later(change, id))

    async def _join_later(self, change: Change, id: str | int | None) -> None:
        joined = False
        while not joined:
            await asyncio.sleep(0.2)
            joined = await self.members.join_groups(change, patience=60.0)
        await self._finish(change, id)

    async def _finish(self, change: Change, id: str | int | None) -> None:
        await self.members.leave(list(change.leave))
        self.members.apply(
            change, self.make_reader, lambda infos: self._answer(protocol.Subscribed, infos, id)
        )

    async def _on_unsubscribe(self, message: protocol.Unsubscribe) -> None:
        leaving = to_leave(self.channel, message.symbols, self.members.streams, message.id)
        await self.members.leave(leaving)
        positions = self.members.positions()
        answer = self._answer(protocol.Unsubscribed, positions, message.id)
        self.socket.send_once(ANSWER, protocol.encode(answer))

    def _answer(
        self, kind: type[protocol.Subscribed], infos: dict[str, StreamInfo], id: str | int | None
    ) -> protocol.Subscribed:
        symbols = self.members.symbols
        message = kind(channel=self.channel, symbols=symbols, streams=infos)
        if len(symbols) == 1:
            message.symbol = symbols[0]
        return protocol.answering(message, id)
