"""Predictions: updates, and new ones on request."""

import uuid

from realtime import protocol
from realtime.broadcast import OUTCOME
from realtime.conf import conf
from realtime.consumers.base import RealtimeConsumer
from realtime.delivery.process_layer import Message
from realtime.limits.policy import count_prediction
from realtime.limits.rates import Allowance
from realtime.predictions.predictors import PredictionFailed
from realtime.predictions.requests import request_prediction
from realtime.protocol import ErrorCode, ProtocolError
from realtime.session.answers import limit_left
from realtime.session.requests import parse_streams
from realtime.streams import WILDCARD


class PredictionsConsumer(RealtimeConsumer):
    """`/ws/predictions/{symbol}`."""

    channel = "predictions"
    events = {
        **RealtimeConsumer.events,
        OUTCOME: {"text": str, "symbol": str, "every": bool},
    }

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.requests = Allowance(conf.REALTIME_PREDICTIONS_PER_MINUTE)

    async def receive_other(self, message: protocol.AnyClientMessage) -> None:
        if isinstance(message, protocol.RequestPrediction):
            await self._on_request_prediction(message)
        else:
            await super().receive_other(message)

    async def _on_request_prediction(self, message: protocol.RequestPrediction) -> None:
        symbol = self._requested_symbol(message)
        if not await self._may_request():
            wait = self.requests.wait
            raise ProtocolError(
                ErrorCode.RATE_LIMITED,
                f"{self.requests.limit} predictions per minute; wait {wait:.0f} s",
                retry=True,
                retry_after_ms=int(wait * 1000) + 1,
                id=message.id,
            )
        answer = protocol.PredictionRequested(
            symbol=symbol,
            request_id=uuid.uuid4().hex,
            status="processing",
            message=f"Prediction of {symbol} requested",
        )
        self.send_message(protocol.answering(answer, message.id))
        self.spawn(self.guarded(lambda: self._predict(symbol, message, answer.request_id)))

    async def _may_request(self) -> bool:
        """Check this socket's own limit, which costs nothing, then that of its user or address."""
        if not self.requests.take():
            return False
        if self.stream_layer is not None:
            layer, identity = self.stream_layer, self.identity
            wait = await count_prediction(layer, identity, lambda: self.admission.address)
            if wait:
                self.requests.stop(wait)
                return False
        return True

    def _requested_symbol(self, message: protocol.RequestPrediction) -> str:
        symbols = self.subscriptions.symbols
        named = symbols if message.symbol is None else [message.symbol]
        if len(named) != 1 or named == [WILDCARD]:
            raise ProtocolError(
                ErrorCode.INVALID_MESSAGE,
                "symbol: name one symbol (not *), since this connection has no single one",
                details={"field": "symbol"},
                id=message.id,
            )
        symbol = parse_streams(self.channel, named, message.id)[0].symbol
        if not self.identity.allows(self.channel, symbol):
            raise ProtocolError(
                ErrorCode.FORBIDDEN,
                f"your credential does not allow predictions of {symbol}",
                details={"field": "symbol"},
                id=message.id,
            )
        return symbol

    async def _predict(
        self, symbol: str, message: protocol.RequestPrediction, request_id: str
    ) -> None:
        try:
            data = await request_prediction(symbol, message.horizon)
        except PredictionFailed as exc:
            raise ProtocolError(
                ErrorCode.PREDICTION_FAILED,
                str(exc),
                details={"symbol": symbol, "request_id": request_id, "reason": exc.kind},
                retry=True,
                id=message.id,
            ) from exc
        self.send_message(
            protocol.PredictionAnswer(symbol=symbol, data=dict(data), request_id=request_id)
        )

    async def prediction_outcome(self, event: Message) -> None:
        """Sent to the groups of its symbol and of every symbol, but only once to each socket."""
        if not event["every"] or event["symbol"] not in self.subscriptions.streams:
            self.socket.send(event["text"].encode())

    def limits(self) -> dict[str, dict[str, int]]:
        requests = limit_left(self.requests.limit, self.requests.left)
        return {**super().limits(), "predictions_per_minute": requests}
