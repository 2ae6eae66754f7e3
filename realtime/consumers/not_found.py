"""The consumer of every unknown path."""

from realtime import protocol
from realtime.consumers.socket import SocketConsumer
from realtime.protocol import CloseCode, ErrorCode


class NotFoundConsumer(SocketConsumer):
    """Accepts and explains the error, since a browser cannot read a refused handshake."""

    async def connect(self) -> None:
        await self.accept()
        await self.refuse(
            ErrorCode.INVALID_MESSAGE,
            "no such endpoint; try /ws/predictions/{symbol}, /ws/market-data/{symbol} or "
            "/ws/alerts",
            CloseCode.NOT_FOUND,
        )

    async def end(self, code: CloseCode, reason: str) -> None:
        if not self.ended:
            self.count_refused(code)
        await super().end(code, reason)

    async def receive_message(self, message: protocol.AnyClientMessage) -> None:
        """Ignore messages sent before the close arrived."""
