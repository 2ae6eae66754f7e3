"""The client: subscriptions over WebSockets, requests over HTTP."""

import asyncio
import json
import ssl
from collections.abc import Mapping, Sequence
from typing import Any, Self, TypeVar

from ara_client import events
from ara_client.calls import Calls
from ara_client.connector import Connector, GetToken, Lost, receive
from ara_client.errors import NotAnAraServer, RequestFailed, Unreachable, is_terminal, refusal
from ara_client.events import Alert, MarketData, Prediction
from ara_client.gate import AlertGate, Severity
from ara_client.positions import Position
from ara_client.rest import Rest
from ara_client.session import MAX_HISTORY, Channel, Session
from ara_client.subscription import MALFORMED, Subscription, positions_of, upper

# Where to go on: of several streams by name, of a single one as it is; a text is `epoch:offset`.
Since = Mapping[str, Position | str] | Position | str

U = TypeVar("U", MarketData, Prediction, Alert)


class Client(Calls):
    """A connection to one server, for asynchronous code.

    `url` is the address of the server, `http://localhost:8000` or `wss://example.com/prefix`. Give
    one credential or none: `api_key`, a `token` (JWT), or `get_token`, a function (asynchronous or
    not) that returns either; it is asked before each connect and when a token expires. A
    subscription whose connection is lost tries again until `give_up_after` seconds have passed
    without one, by default without an end. `timeout` is that of requests, in seconds.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        token: str | None = None,
        get_token: GetToken | None = None,
        timeout: float = 30.0,
        give_up_after: float | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        if sum(each is not None for each in (api_key, token, get_token)) > 1:
            raise ValueError("give one of api_key, token and get_token")
        self._connector = Connector(
            url, credential=api_key if token is None else token,
            get_token=get_token, ssl_context=ssl_context,
        )  # fmt: skip
        super().__init__(Rest(self._connector, timeout))
        self._timeout = timeout
        self._give_up_after = give_up_after
        self._subscriptions: set[Subscription[Any]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End all subscriptions."""
        for subscription in list(self._subscriptions):
            await subscription.aclose()

    def market_data(
        self,
        *symbols: str,
        since: Since | None = None,
        history: int = 0,
        max_rate: float | None = None,
    ) -> Subscription[MarketData]:
        """Market data of these symbols; `"*"` is all of them.

        A stream begins with its newest update (`snapshot`), or after the position in `since`, or
        with its last `history` updates (up to 300). `max_rate`: at most so many updates per second
        and symbol; the newest one stands for those in between (`folded`).
        """
        return self._follow("market-data", MarketData, symbols, since, history, max_rate)

    def predictions(
        self,
        *symbols: str,
        since: Since | None = None,
        history: int = 0,
        max_rate: float | None = None,
    ) -> Subscription[Prediction]:
        """Predictions for these symbols, as `market_data`; their outcomes are among `events()`."""
        return self._follow("predictions", Prediction, symbols, since, history, max_rate)

    def alerts(
        self,
        *,
        min_severity: Severity | None = None,
        symbols: Sequence[str] | None = None,
        since: Since | None = None,
        history: int = 0,
    ) -> Subscription[Alert]:
        """Alerts for everybody and for the user of the credential, also those of the inbox.

        `min_severity` and `symbols` filter them. `since` has the positions of `all` and `user`.
        """
        gate = AlertGate(min_severity, None if symbols is None else upper(symbols))
        session = self._session("alerts", since, ["all"], history, gate=gate)
        return self._open(session, Alert, "/ws/alerts", [])

    async def request_prediction(self, symbol: str, horizon: int = 1) -> Prediction:
        """A prediction of the server's model, `horizon` steps (1 to 30) ahead.

        Raises RequestFailed if none can be made.
        """
        try:
            async with asyncio.timeout(self._timeout):
                return await self._ask_prediction(upper([symbol])[0], horizon)
        except Lost as exc:
            raise self._ended(exc) from exc
        except TimeoutError:
            raise Unreachable(f"no prediction came within {self._timeout:g} s") from None

    async def _ask_prediction(self, symbol: str, horizon: int) -> Prediction:
        async with await self._connector.open("/ws/predictions") as connection:
            request = {"type": "request_prediction", "symbol": symbol, "horizon": horizon, "id": 1}
            await connection.send(json.dumps(request))
            while True:
                text = await receive(connection) or ""
                try:
                    found = _predicted(json.loads(text))
                except MALFORMED as exc:
                    raise NotAnAraServer(self._connector.foreign(text)) from exc
                if found is not None:
                    return found

    @staticmethod
    def _ended(exc: Lost) -> Exception:
        return refusal(exc.code, exc.reason) if is_terminal(exc.code) else Unreachable(exc.reason)

    def _follow(
        self,
        channel: Channel,
        kind: type[U],
        symbols: Sequence[str],
        since: Since | None,
        history: int,
        max_rate: float | None,
    ) -> Subscription[U]:
        names = upper(symbols)
        if not names:
            raise ValueError('name at least one symbol, or "*" for all of them')
        session = self._session(channel, since, names, history, max_rate=max_rate)
        return self._open(session, kind, f"/ws/{channel}", names)

    def _session(
        self,
        channel: Channel,
        since: Since | None,
        names: Sequence[str],
        history: int,
        *,
        max_rate: float | None = None,
        gate: AlertGate | None = None,
    ) -> Session:
        if not 0 <= history <= MAX_HISTORY:
            raise ValueError(f"history is from 0 to {MAX_HISTORY}, not {history}")
        return Session(
            channel, since=positions_of(since, names, channel), history=history, max_rate=max_rate,
            gate=gate, can_renew=self._connector.get_token is not None,
        )  # fmt: skip

    def _open(
        self, session: Session, kind: type[U], path: str, symbols: Sequence[str]
    ) -> Subscription[U]:
        subscription = Subscription(
            self._connector, session, kind, path, symbols, give_up_after=self._give_up_after
        )
        ended = {each for each in self._subscriptions if each.ended}
        self._subscriptions = (self._subscriptions - ended) | {subscription}
        return subscription


def _predicted(message: Mapping[str, Any]) -> Prediction | None:
    """The prediction that was asked for, if this message has it; raises RequestFailed."""
    if message["type"] == "error":
        raise RequestFailed(
            message["code"], message["message"], details=message.get("details"),
            retry=message["retry"],
        )  # fmt: skip
    is_answer = message["type"] == "prediction_update" and message.get("request_id")
    return events.prediction(message) if is_answer else None
