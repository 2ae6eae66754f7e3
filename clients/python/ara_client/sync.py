"""The client for scripts and notebooks: the same without `await`, also inside a running loop."""

import asyncio
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from functools import update_wrapper
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar

from ara_client.client import Client, Since
from ara_client.connector import GetToken
from ara_client.events import Alert, Event, MarketData, Prediction
from ara_client.frames import Rows
from ara_client.gate import Severity
from ara_client.positions import Position
from ara_client.subscription import Subscription

P = ParamSpec("P")
T = TypeVar("T")
U = TypeVar("U", MarketData, Prediction, Alert)


def _blocking(
    method: Callable[Concatenate[Client, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate["SyncClient", P], T]:
    """A method of Client that waits for its result."""

    def call(self: "SyncClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._wait_for(method(self._client, *args, **kwargs))

    update_wrapper(call, method)
    return call


class SyncSubscription(Generic[U]):
    """`Subscription` for a plain `for`."""

    def __init__(self, client: "SyncClient", subscription: Subscription[U]) -> None:
        self._client = client
        self._subscription: Subscription[U] = subscription

    @property
    def positions(self) -> dict[str, Position]:
        """How far each stream was received: what `since=` takes."""
        return self._subscription.positions

    def __iter__(self) -> Iterator[U]:
        for event in self.events():
            if isinstance(event, self._subscription.kind):
                yield event

    def events(self) -> Iterator[Event]:
        """Updates, and what happens to the streams and the connection, in order."""
        while event := self._client._wait_for(self._next()):
            yield event

    async def _next(self) -> Event | None:
        return self._subscription.pop() if await self._subscription.wait() else None

    def take(self, count: int, *, timeout: float | None = None) -> Rows[U]:
        """The next `count` updates, or those that came within `timeout` seconds."""
        return self._client._wait_for(self._subscription.take(count, timeout=timeout))

    def subscribe(self, *symbols: str) -> None:
        """Add symbols; raises RequestFailed."""
        self._client._wait_for(self._subscription.subscribe(*symbols))

    def unsubscribe(self, *symbols: str) -> None:
        """End the subscriptions of these symbols; raises RequestFailed."""
        self._client._wait_for(self._subscription.unsubscribe(*symbols))

    def close(self) -> None:
        """End it."""
        self._client._wait_for(self._subscription.aclose())

    def __enter__(self) -> Self:
        self._client._wait_for(self._subscription.__aenter__())
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class SyncClient:
    """`Client` without `await`; its connections live in a thread of their own.

    Use it as a context manager, or call `close` in the end.
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
        self._client = Client(
            url, api_key=api_key, token=token, get_token=get_token, timeout=timeout,
            give_up_after=give_up_after, ssl_context=ssl_context,
        )  # fmt: skip
        self._loop = asyncio.new_event_loop()
        # A daemon: a script that forgets to close it ends all the same.
        self._thread = threading.Thread(target=self._run, name="ara_client", daemon=True)
        self._thread.start()

    def market_data(
        self,
        *symbols: str,
        since: Since | None = None,
        history: int = 0,
        max_rate: float | None = None,
    ) -> SyncSubscription[MarketData]:
        """Market data of these symbols, as `Client.market_data`."""
        subscription = self._client.market_data(
            *symbols, since=since, history=history, max_rate=max_rate
        )
        return SyncSubscription(self, subscription)

    def predictions(
        self,
        *symbols: str,
        since: Since | None = None,
        history: int = 0,
        max_rate: float | None = None,
    ) -> SyncSubscription[Prediction]:
        """Predictions for these symbols, as `Client.predictions`."""
        subscription = self._client.predictions(
            *symbols, since=since, history=history, max_rate=max_rate
        )
        return SyncSubscription(self, subscription)

    def alerts(
        self,
        *,
        min_severity: Severity | None = None,
        symbols: Sequence[str] | None = None,
        since: Since | None = None,
        history: int = 0,
    ) -> SyncSubscription[Alert]:
        """Alerts for everybody and for the user, as `Client.alerts`."""
        subscription = self._client.alerts(
            min_severity=min_severity, symbols=symbols, since=since, history=history
        )
        return SyncSubscription(self, subscription)

    request_prediction = _blocking(Client.request_prediction)
    publish = _blocking(Client.publish)
    publish_many = _blocking(Client.publish_many)
    send_alert = _blocking(Client.send_alert)
    ack = _blocking(Client.ack)
    record_prediction = _blocking(Client.record_prediction)
    record_predictions = _blocking(Client.record_predictions)
    latest = _blocking(Client.latest)
    latest_predictions = _blocking(Client.latest_predictions)
    history = _blocking(Client.history)
    prediction_history = _blocking(Client.prediction_history)
    bars = _blocking(Client.bars)
    scores = _blocking(Client.scores)

    def close(self) -> None:
        """End all subscriptions, and the thread."""
        if self._thread.is_alive():
            self._wait_for(self._client.aclose())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        if not self._thread.is_alive():
            work.close()
            raise RuntimeError("this client is closed")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:  # Ctrl-C, too, ends what it waits for
            future.cancel()
            raise
