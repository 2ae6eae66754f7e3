"""Changes of what one socket is subscribed to, from the message to its answer.

Changes run one at a time, in the order of the requests.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from realtime import protocol
from realtime.limits.policy import max_subscriptions
from realtime.protocol import ErrorCode, ProtocolError, StreamInfo
from realtime.session.connection import Connection
from realtime.session.requests import Change, requested, to_leave
from realtime.session.subscriptions import ANSWER, Answer, Subscriptions

# Seconds for which `connected` and `subscribed` wait for the channel layer. Then the socket is
# served without positions, and gets the rest when the layer is back.
JOIN_PATIENCE: Final = 1.0


class Changes:
    """Changes the subscriptions of one socket, and answers the client."""

    __slots__ = ("_connection", "_last", "_subscriptions")

    def __init__(self, connection: Connection, subscriptions: Subscriptions) -> None:
        self._connection = connection
        self._subscriptions = subscriptions
        self._last: asyncio.Task[None] | None = None

    async def in_turn(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run a change after the one before, without holding up `pong`."""
        before = self._last
        if before is None or before.done():
            await work()
            return

        async def later() -> None:
            await asyncio.wait([before])
            await self._connection.guarded(work)

        self._last = self._connection.spawn(later())

    async def begin(self, change: Change, connected: Answer) -> None:
        """Make the first change, and answer `connected`: with positions, if they are known soon."""
        if await self._subscriptions.join_groups(change, JOIN_PATIENCE):
            self._subscriptions.apply(change, self._connection.make_reader, connected)
        else:
            self._connection.send_message(connected({}))
            self._last = self._connection.spawn(self._join_later(change, None))

    async def subscribe(self, message: protocol.Subscribe) -> None:
        identity = self._connection.identity
        change = requested(
            self._connection.channel,
            message,
            self._subscriptions.streams,
            identity,
            max_subscriptions(identity),
        )
        if change.max_rate is not None and not self._subscriptions.numbered:
            raise ProtocolError(
                ErrorCode.INVALID_MESSAGE,
                "max_rate: the channel layer of this server cannot limit rates",
                details={"field": "max_rate"},
                id=message.id,
            )
        await self.make(change, message.id)

    async def make(self, change: Change, id: str | int | None) -> None:
        """Make a change and answer `subscribed`, now or when the channel layer is back."""
        if await self._subscriptions.join_groups(change, JOIN_PATIENCE):
            await self._finish(change, id)
        else:
            self._last = self._connection.spawn(self._join_later(change, id))

    async def _join_later(self, change: Change, id: str | int | None) -> None:
        joined = False
        while not joined:
            await asyncio.sleep(0.2)
            joined = await self._subscriptions.join_groups(change, patience=60.0)
        await self._finish(change, id)

    async def _finish(self, change: Change, id: str | int | None) -> None:
        await self._subscriptions.leave(list(change.leave))
        self._subscriptions.apply(
            change,
            self._connection.make_reader,
            lambda infos: self._answer(protocol.Subscribed, infos, id),
        )

    async def unsubscribe(self, message: protocol.Unsubscribe) -> None:
        leaving = to_leave(
            self._connection.channel, message.symbols, self._subscriptions.streams, message.id
        )
        await self._subscriptions.leave(leaving)
        answer = self._answer(protocol.Unsubscribed, self._subscriptions.positions(), message.id)
        self._connection.socket.send_once(ANSWER, protocol.encode(answer))

    async def end_forbidden(self) -> None:
        """End the subscriptions that the credential no longer allows, and tell the client which."""
        channel, identity = self._connection.channel, self._connection.identity
        if channel == "alerts":
            return
        forbidden = [
            stream
            for stream in self._subscriptions.streams.values()
            if not identity.allows(channel, stream.symbol)
        ]
        if forbidden:
            await self._subscriptions.leave(forbidden)
            symbols = {stream.symbol: "forbidden" for stream in forbidden}
            self._connection.send_error(
                ProtocolError(
                    ErrorCode.FORBIDDEN,
                    f"your credential does not allow {', '.join(symbols)}; "
                    "these subscriptions have ended",
                    details={"symbols": symbols},
                )
            )

    def _answer(
        self, kind: type[protocol.Subscribed], infos: dict[str, StreamInfo], id: str | int | None
    ) -> protocol.Subscribed:
        symbols = self._subscriptions.symbols
        message = kind(channel=self._connection.channel, symbols=symbols, streams=infos)
        if len(symbols) == 1:
            message.symbol = symbols[0]
        return protocol.answering(message, id)
