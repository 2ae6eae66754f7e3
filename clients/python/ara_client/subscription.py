"""A subscription: an asynchronous iterator that survives lost connections."""

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Final, Generic, NoReturn, Self, TypeVar, cast

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from ara_client.connector import Connector, Lost, receive
from ara_client.errors import AraError, NotAnAraServer, Unreachable
from ara_client.events import Alert, Event, Gap, MarketData, Prediction, Reconnecting, Update
from ara_client.frames import Rows
from ara_client.positions import Position
from ara_client.session import (
    BROKEN,
    Drop,
    Effect,
    Emit,
    Finish,
    Renew,
    Send,
    Session,
    Settle,
    Wait,
)

logger: Final = logging.getLogger("ara_client")

U = TypeVar("U", MarketData, Prediction, Alert)

# What reading a message raises that is not of the protocol.
MALFORMED: Final = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
# So many events wait for their reader; then the socket is not read, and the server folds.
MAX_WAITING: Final = 1000
_TICK_SECONDS: Final = 0.25
_STEP: Final = 500  # symbols of one message


class Subscription(Generic[U]):
    """Updates, each once and in order, however often the connection is lost.

    Iterate over it for the updates, or over `events()` for everything that happens. It begins with
    the first step of an iteration, and ends with `aclose` or with its client; leaving a loop keeps
    it. `async with` waits until the server has confirmed it.
    """

    def __init__(
        self,
        connector: Connector,
        session: Session,
        kind: type[U],
        path: str,
        symbols: Sequence[str],
        *,
        give_up_after: float | None,
    ) -> None:
        self._connector = connector
        self._session = session
        self.kind: type[U] = kind
        self._path = path
        self._symbols = symbols
        self._give_up_after = give_up_after
        self._connection: ClientConnection | None = None
        self._task: asyncio.Task[None] | None = None
        self._renewal: asyncio.Task[None] | None = None
        self._answers: dict[int, asyncio.Future[None]] = {}
        self._first: list[asyncio.Future[None]] = []
        self._waiting: deque[Event] = deque()
        self._read: dict[str, Position] = {}
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self._live = asyncio.Event()
        self._closed = False
        self._error: Exception | None = None

    @property
    def positions(self) -> dict[str, Position]:
        """How far each stream was read: what `since=` takes, now or in another process."""
        unread = {_stream_of(event) for event in self._waiting}
        known = self._session.positions.known()
        read = {name: self._read[name] for name in unread & self._read.keys()}
        return {name: at for name, at in known.items() if name not in unread} | read

    @property
    def ended(self) -> bool:
        """It receives nothing any more."""
        return self._closed or (self._task is not None and self._task.done())

    def __aiter__(self) -> AsyncIterator[U]:
        return self._updates()

    async def _updates(self) -> AsyncIterator[U]:
        async for event in self.events():
            if isinstance(event, self.kind):
                yield event

    async def events(self) -> AsyncIterator[Event]:
        """Updates, and what happens to the streams and the connection, in order."""
        while await self.wait():
            while self._waiting:
                yield self.pop()

    async def wait(self) -> bool:
        """Wait until an event waits; False: no other will come. Raises what ended it."""
        self._start()
        while not self._waiting:
            if self.ended:
                if self._error is not None:
                    raise self._error
                return False
            self._filled.clear()
            await self._filled.wait()
        return True

    def pop(self) -> Event:
        """The event that has waited longest."""
        event = self._waiting.popleft()
        at = Position(event.epoch, event.to_offset) if isinstance(event, Gap) else _position(event)
        if at is not None:
            self._read[_stream_of(event)] = at
        self._emptied.set()
        return event

    async def take(self, count: int, *, timeout: float | None = None) -> Rows[U]:
        """The next `count` updates, or those that came within `timeout` seconds."""
        updates: Rows[U] = Rows()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while len(updates) < count and await self.wait():
                    event = self.pop()
                    if isinstance(event, self.kind):
                        updates.append(event)
        return updates

    async def subscribe(self, *symbols: str) -> None:
        """Add symbols; raises RequestFailed."""
        self._start()
        await self._request(self._session.subscribe(upper(symbols), time.monotonic()))

    async def unsubscribe(self, *symbols: str) -> None:
        """End the subscriptions of these symbols; raises RequestFailed."""
        self._start()
        await self._request(self._session.unsubscribe(upper(symbols), time.monotonic()))

    async def __aenter__(self) -> Self:
        self._start()
        assert self._task is not None
        confirmed = asyncio.create_task(self._confirmed())
        try:
            await asyncio.wait([confirmed, self._task], return_when=asyncio.FIRST_COMPLETED)
        finally:
            confirmed.cancel()
        if self._task.done():
            raise self._error or AraError("the subscription was closed")
        return self

    async def _confirmed(self) -> None:
        await self._live.wait()
        if self._first:
            await asyncio.wait(self._first)

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End it; what still waits can be read."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._filled.set()

    def _start(self) -> None:
        if self._task is not None or self._closed:
            return
        for begin in range(0, len(self._symbols), _STEP):
            some = self._symbols[begin : begin + _STEP]
            id, _ = self._session.subscribe(some, time.monotonic())
            self._first.append(self._answer(id))
        self._task = asyncio.create_task(self._run())

    def _answer(self, id: int) -> asyncio.Future[None]:
        self._answers[id] = asyncio.get_running_loop().create_future()
        return self._answers[id]

    async def _request(self, request: tuple[int, list[Effect]]) -> None:
        id, effects = request
        answer = self._answer(id)
        self._emptied.set()
        with suppress(Lost):
            await self._carry_out(effects)
        await answer

    async def _run(self) -> None:
        try:
            await self._keep_connected()
        except asyncio.CancelledError:
            pass
        except Exception as exc:
            self._error = exc
        finally:
            self._end()

    def _end(self) -> None:
        if self._renewal is not None:
            self._renewal.cancel()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(self._error or AraError("the subscription was closed"))
                answer.exception()  # nobody may be waiting
        self._answers.clear()
        self._filled.set()

    async def _keep_connected(self) -> None:
        alone_since = time.monotonic()
        while True:
            try:
                await self._converse()
            except Lost as exc:
                lost = exc
            if self._live.is_set():
                alone_since = time.monotonic()
            self._live.clear()
            effects = self._session.dropped(lost.code, lost.reason, time.monotonic())
            wait = await self._carry_out(effects)
            limit = self._give_up_after
            if limit is not None and time.monotonic() + wait - alone_since > limit:
                raise Unreachable(f"{lost.reason}; gave up after {limit:g} s")
            await asyncio.sleep(wait)

    async def _converse(self) -> NoReturn:
        """One connection; ends with Lost or AraError."""
        self._connection = await self._connector.open(self._path)
        self._session.start(time.monotonic())
        try:
            while True:
                text = await receive(self._connection, _TICK_SECONDS)
                if text is None:
                    await self._carry_out(self._session.tick(time.monotonic()))
                else:
                    await self._carry_out(self._understand(text))
        finally:
            connection, self._connection = self._connection, None
            with suppress(Exception):
                await connection.close()

    def _understand(self, text: str) -> list[Effect]:
        try:
            message = json.loads(text)
            effects = self._session.received(message, time.monotonic())
        except MALFORMED as exc:
            reason = self._connector.foreign(text)
            if not self._live.is_set():
                raise NotAnAraServer(reason) from exc
            raise Lost(BROKEN, reason) from exc
        if message["type"] == "connected":
            self._live.set()
        return effects

    async def _carry_out(self, effects: Iterable[Effect]) -> float:
        """Returns the seconds to wait, if that is among the effects."""
        wait = 0.0
        for effect in effects:
            match effect:
                case Send(message):
                    await self._send(message)
                case Emit(event):
                    await self._tell(event)
                case Wait(seconds):
                    wait = seconds
                case Drop(reason):
                    if self._connection is not None:
                        self._connection.transport.abort()  # nobody may be there to say goodbye to
                    raise Lost(BROKEN, reason)
                case Finish(error):
                    raise error
                case Settle(id, failure):
                    self._settle(id, failure)
                case Renew():
                    if self._connector.get_token is not None:
                        self._renewal = asyncio.create_task(self._renew())
        return wait

    async def _send(self, message: dict[str, object]) -> None:
        if self._connection is not None:
            with suppress(ConnectionClosed):  # which `receive` will see, with its code
                await self._connection.send(json.dumps(message))

    async def _tell(self, event: Event) -> None:
        if isinstance(event, Reconnecting):
            logger.warning("%s; next attempt in %.1f s", event.reason, event.wait)
        self._waiting.append(event)
        self._filled.set()
        # A request of the reader itself must get its answer.
        while len(self._waiting) >= MAX_WAITING and not self._answers:
            self._emptied.clear()
            await self._emptied.wait()

    def _settle(self, id: int, error: AraError | None) -> None:
        answer = self._answers.pop(id, None)
        if answer is None or answer.done():
            return
        if error is None:
            answer.set_result(None)
        elif answer in self._first:
            raise error  # without it there is nothing to iterate over
        else:
            answer.set_exception(error)

    async def _renew(self) -> None:
        try:
            token = await self._connector.credential()
        except (Lost, AraError, ValueError) as exc:
            logger.warning("%s", exc)
            return
        if token is not None:
            await self._carry_out(self._session.renewed(token))


def _stream_of(event: Event) -> str:
    return event.audience if isinstance(event, Alert) else getattr(event, "symbol", "")


def _position(event: Event) -> Position | None:
    return event.position if isinstance(event, Update | Alert) else None


def upper(symbols: Iterable[str]) -> list[str]:
    """Symbols as the server writes them, without repetitions; raises TypeError."""
    names = list(symbols)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"a symbol is a string, not {name!r}")
    return list(dict.fromkeys(name.strip().upper() for name in names))


def positions_of(since: object, symbols: Sequence[str], channel: str) -> dict[str, Position]:
    """`since`: positions by symbol, or one of the only symbol; as Position or `epoch:offset`."""
    if since is None:
        return {}
    if not isinstance(since, Mapping):
        if len(symbols) != 1:
            raise ValueError("since: with several symbols give a dict, {symbol: position}")
        since = {symbols[0]: since}
    given = cast(Mapping[str, object], since)
    fold = str if channel == "alerts" else str.upper
    return {fold(name): _parsed(at) for name, at in given.items()}


def _parsed(at: object) -> Position:
    return at if isinstance(at, Position) else Position.parse(str(at))
