"""The functions that publish.

Any code of this project that runs on the server side may call them: views, management
commands, Celery tasks, feeds. They check what they are given, not who asks; an entry point that a
stranger can reach (the REST API) checks the `publish` scope first.

In synchronous code a call has published when it returns, or raises. Inside `transaction.atomic()`
it publishes on commit: clients never hear of rows that roll back. Inside a running event loop the
same call starts at once and returns something to await; the `a…` functions are the plain
coroutines.
"""

import asyncio
import contextlib
import hashlib
import logging
import uuid
from collections.abc import Callable, Container, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType
from typing import Final, NoReturn

from asgiref.sync import async_to_sync
from channels.layers import BaseChannelLayer, get_channel_layer
from django.db import transaction
from django.utils.module_loading import import_string
from redis.exceptions import RedisError

from realtime import protocol
from realtime.bars.ticks import doubts
from realtime.conf import conf, spelled
from realtime.db import OUTAGES, in_database, reconnecting
from realtime.delivery import recording, unstored
from realtime.delivery.history_scripts import ONCE_SECONDS, Published
from realtime.delivery.layers import (
    Item,
    MemoryStreamLayer,
    group_send_sync,
    loop_layer,
    shared_layer,
)
from realtime.delivery.process_layer import UPDATE
from realtime.delivery.publisher import BackendUnavailable
from realtime.payloads import InvalidUpdate as InvalidUpdate
from realtime.payloads import check_data as check_data
from realtime.payloads import check_id as check_id
from realtime.payloads import check_severity, require_size
from realtime.protocol import update_data
from realtime.remembered import Remembered
from realtime.streams import (  # fmt: skip
    ALERTS_ALL,
    WILDCARD,
    Channel,
    InvalidSymbol,
    Stream,
    parse_symbol,
    user_alerts,
)
from realtime.users import InvalidUserId, UserId, parse_user_id

logger = logging.getLogger(__name__)


class PublishFailed(Exception):
    """Raised when the channel layer did not confirm all updates.

    `published` are those that it did confirm, by their position in what was given. One whose
    confirmation was lost may still arrive: whether to send it again is the caller's choice.
    """

    def __init__(self, reason: object, published: Mapping[int, Published] | None = None) -> None:
        super().__init__(reason, published)
        self.reason = reason
        self.published = dict(published or {})

    def __str__(self) -> str:
        reason = str(self.reason).rstrip(".")
        return f"not published: {reason}. {self._way_out()}"

    @staticmethod
    def _way_out() -> str:
        if conf.REALTIME_EMBEDDED_VALKEY:
            return "Start the server first: make run (or python manage.py serve)."
        name = spelled("REDIS_URL", "CHANNEL_LAYERS")
        return f"Check {name} and that the server it names is reachable."


@dataclass(frozen=True, slots=True)
class Broadcast:
    """One checked and encoded update, ready to be published. Made by the three functions below."""

    stream: Stream
    body: bytes
    # Of an alert that is to be stored before it is sent: its id, and whose it is.
    alert_id: str | None = None
    user_id: UserId | None = None
    # Of two updates with the same id in one stream, the second is not published; "": no id.
    id: str = ""
    # What its publisher should hear of, by field.
    warnings: Mapping[str, str] = field(default_factory=dict)


class Publication:
    """The result of publishing one update; `await` it in asynchronous code.

    `offset`, `epoch` and `receivers` (server processes that heard it) are known once it was
    published; before (inside a transaction, or not yet awaited) they are None.
    `stored`: is this alert in an inbox, for clients that are away? None for other updates.
    `repeated`: was an update of the same id published before? Then these are its numbers.
    `warnings`, by field of the data: problems that did not prevent publication.
    """

    __slots__ = ("_result", "_stored", "_task", "stream", "warnings")

    def __init__(self, stream: Stream, warnings: Mapping[str, str] = MappingProxyType({})) -> None:
        self.stream = stream
        self.warnings = warnings
        self._result: Published | None = None
        self._stored: bool | None = None
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Publication {self.stream.group} {self.epoch}:{self.offset}>"

    @property
    def offset(self) -> int | None:
        return None if self._result is None else self._result.offset

    @property
    def epoch(self) -> str | None:
        return None if self._result is None else self._result.epoch

    @property
    def receivers(self) -> int | None:
        return None if self._result is None else self._result.receivers

    @property
    def repeated(self) -> bool:
        return self._result is not None and self._result.repeated

    @property
    def stored(self) -> bool | None:
        return self._stored

    def __await__(self) -> Generator[object, None, "Publication"]:
        if self._task is not None:
            yield from self._task.__await__()
        return self


# What can be published ------------------------------------------------------------------------


# Each takes an `id`: if its stream got an update with the same id within the last ten minutes, it
# is not published again, and its caller gets the answer to the first one.


def prediction_update(
    symbol: str, prediction_data: Mapping[str, object], *, id: str | None = None
) -> Broadcast:
    """A new prediction for a symbol, for `broadcast_many`. Raises InvalidUpdate."""
    stream = _stream("predictions", symbol)
    data = check_data(prediction_data, "prediction_data")
    body = protocol.prediction_body(stream.symbol, data)
    return _broadcast(stream, body, "prediction_data", id)


def market_data_update(
    symbol: str, market_data: Mapping[str, object], *, id: str | None = None
) -> Broadcast:
    """New market data for a symbol, for `broadcast_many`. Raises InvalidUpdate."""
    stream = _stream("market-data", symbol)
    data = check_data(market_data, "market_data")
    body = protocol.market_data_body(stream.symbol, data)
    update = _broadcast(stream, body, "market_data", id)
    warnings = doubts(data, datetime.now(UTC))
    if not warnings:
        return update
    _warn_once(stream.symbol, str(data.get("source") or ""), warnings)
    return replace(update, warnings=warnings)


def _warn_once(symbol: str, source: str, warnings: Mapping[str, str]) -> None:
    """A line in the log for each source and field: publishers may not look at their answers."""
    for name, reason in warnings.items():
        if (source, name) not in _warned:
            _warned.add((source, name))
            logger.warning("market data of %s, source %r: %s: %s", symbol, source, name, reason)
    if len(_warned) > _MAX_WARNED:
        _warned.clear()


_warned: Final[set[tuple[str, str]]] = set()
_MAX_WARNED: Final = 1000


def alert_update(
    alert_data: Mapping[str, object],
    user_id: object = None,
    *,
    id: str | None = None,
    stored: bool = False,
) -> Broadcast:
    """An alert for one user, or for everybody, for `broadcast_many`. Raises InvalidUpdate.

    `user_id` is a primary key of AUTH_USER_MODEL, of a UUID also its text. The alert is stored
    before it is sent (REALTIME_ALERT_STORE), unless the caller has `stored` it. Then `id` is the id
    that clients see; otherwise theirs follows from it.
    """
    try:
        user = None if user_id is None else parse_user_id(user_id)
    except InvalidUserId as exc:
        raise InvalidUpdate("user_id", str(exc)) from None
    data = check_data(alert_data, "alert_data")
    check_severity(data, "alert_data")
    stream = ALERTS_ALL if user is None else user_alerts(user)
    audience = "all" if user is None else "user"
    uid = id if id and stored else _alert_uid(stream, id)
    body = protocol.alert_body(uid, audience, data)
    if stored:
        return _broadcast(stream, body, "alert_data")
    update = _broadcast(stream, body, "alert_data", id)
    return replace(update, alert_id=uid, user_id=user)


def _alert_uid(stream: Stream, id: str | None) -> str:
    """The same one for the same id in the same stream; ids of different streams do not collide."""
    if id is None:
        return uuid.uuid4().hex
    return hashlib.blake2b(f"{stream.group} {check_id(id)}".encode(), digest_size=16).hexdigest()


# Synchronous ----------------------------------------------------------------------------------


def broadcast_prediction_update(
    symbol: str, prediction_data: Mapping[str, object], *, id: str | None = None
) -> Publication:
    """Tell the subscribers of a symbol about a new prediction.

    `prediction_data` is a JSON object of any shape. Raises InvalidUpdate and PublishFailed.
    """
    return _publish([prediction_update(symbol, prediction_data, id=id)])[0]


def broadcast_market_data(
    symbol: str, market_data: Mapping[str, object], *, id: str | None = None
) -> Publication:
    """Tell the subscribers of a symbol about new market data.

    `market_data` is a JSON object of any shape. Raises InvalidUpdate and PublishFailed.
    """
    return _publish([market_data_update(symbol, market_data, id=id)])[0]


def send_alert(
    alert_data: Mapping[str, object], user_id: object = None, *, id: str | None = None
) -> Publication:
    """Send an alert to the sockets of one user, or to everybody on `/ws/alerts`.

    `alert_data` is a JSON object of any shape; `severity` (low, medium, high, critical) and
    `symbol` in it are what sockets filter by. Raises InvalidUpdate and PublishFailed.
    """
    return _publish([alert_update(alert_data, user_id, id=id)])[0]


def broadcast_many(broadcasts: Sequence[Broadcast]) -> list[Publication]:
    """Publish any number of updates, in order, in few round trips. Raises PublishFailed."""
    return _publish(broadcasts)


# Asynchronous ---------------------------------------------------------------------------------


async def abroadcast_prediction_update(
    symbol: str, prediction_data: Mapping[str, object], *, id: str | None = None
) -> Publication:
    """`broadcast_prediction_update` for asynchronous code."""
    return (await abroadcast_many([prediction_update(symbol, prediction_data, id=id)]))[0]


async def abroadcast_market_data(
    symbol: str, market_data: Mapping[str, object], *, id: str | None = None
) -> Publication:
    """`broadcast_market_data` for asynchronous code."""
    return (await abroadcast_many([market_data_update(symbol, market_data, id=id)]))[0]


async def asend_alert(
    alert_data: Mapping[str, object], user_id: object = None, *, id: str | None = None
) -> Publication:
    """`send_alert` for asynchronous code."""
    return (await abroadcast_many([alert_update(alert_data, user_id, id=id)]))[0]


async def abroadcast_many(broadcasts: Sequence[Broadcast]) -> list[Publication]:
    """`broadcast_many` for asynchronous code. Django has no asynchronous transactions: at once."""
    publications = [Publication(item.stream, item.warnings) for item in broadcasts]
    await _store_and_send(broadcasts, publications)
    return publications


# Outcomes of predictions -------------------------------------------------------------------------
# They are about a prediction that was published before, and take no place in the stream: a client
# that connects gets the newest prediction as its snapshot, not the end of an old one.

OUTCOME: Final = "prediction.outcome"


def broadcast_prediction_outcomes(outcomes: Sequence[protocol.PredictionOutcome]) -> None:
    """Tell the subscribers of their symbols, for synchronous code; raises PublishFailed.

    At once: call it after the commit of what it tells.
    """
    layer = _layer()
    try:
        for group, message in _outcome_messages(outcomes):
            group_send_sync(layer, group, message)
    except BackendUnavailable as exc:
        raise PublishFailed(exc) from exc


def _outcome_messages(
    outcomes: Sequence[protocol.PredictionOutcome],
) -> Iterator[tuple[str, dict[str, object]]]:
    """For the group of the symbol, and for those who read every symbol (`every`)."""
    for outcome in outcomes:
        stream = _stream("predictions", outcome.symbol)
        message = {
            "type": OUTCOME,
            "symbol": stream.symbol,
            "text": protocol.encode(outcome).decode(),
        }
        yield stream.group, {**message, "every": False}
        yield Stream("predictions", WILDCARD).group, {**message, "every": True}


async def recent_updates(
    channel: Channel, symbol: str, limit: int = 300
) -> list[dict[str, object]]:
    """The `data` of the newest `limit` updates of a stream, oldest first.

    As many as the history holds (REALTIME_HISTORY_LENGTH); none with a channel layer that keeps
    no history. Raises InvalidSymbol and PublishFailed.
    """
    layer = loop_layer(_layer())
    if layer is None:
        return []
    try:
        page = await layer.read_newest(Stream(channel, parse_symbol(symbol)), limit)
    except BackendUnavailable as exc:
        raise PublishFailed(exc.reason) from exc
    return [update_data(update.body) for update in page.updates]


# How they do it -------------------------------------------------------------------------------


def _publish(broadcasts: Sequence[Broadcast]) -> list[Publication]:
    publications = [Publication(item.stream, item.warnings) for item in broadcasts]
    if not broadcasts:
        return publications
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        # The task runs whether or not anybody awaits it; who awaits hears of its errors.
        task = loop.create_task(_store_and_send(broadcasts, publications))
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)
        for publication in publications:
            publication._task = task
        return publications
    record = _Record(broadcasts, publications)
    record.store()

    def send() -> None:
        try:
            _send_sync(broadcasts, publications)
        except PublishFailed as exc:
            record.settle(exc.published)
            raise
        record.settle()

    if transaction.get_connection().in_atomic_block:
        transaction.on_commit(send)
    else:
        send()
    return publications


# Keeps running tasks alive: the event loop itself holds only weak references.
_tasks: Final[set[asyncio.Task[None]]] = set()


def _send_sync(broadcasts: Sequence[Broadcast], publications: Sequence[Publication]) -> None:
    layer = shared_layer()
    if layer is None:
        # The standard way, for channel layers that have no synchronous one.
        async_to_sync(_send)(broadcasts, publications)
        return
    try:
        results = layer.send_updates_sync([_item(item) for item in broadcasts])
    except BackendUnavailable as exc:
        _failed(exc, publications)
    _confirm(publications, dict(enumerate(results)))


async def _store_and_send(
    broadcasts: Sequence[Broadcast], publications: Sequence[Publication]
) -> None:
    record = _Record(broadcasts, publications)
    if record:
        await record.in_thread(record.store)
    try:
        await _send(broadcasts, publications)
    except PublishFailed as exc:
        if record:
            await record.in_thread(partial(record.settle, exc.published))
        raise
    if record:
        await record.in_thread(record.settle)


class _Record:
    """Alerts in the inbox, by the function that REALTIME_ALERT_STORE names.

    One that cannot be stored is sent all the same: who is connected hears of it, and the engine
    stores it later. One that could not be sent is taken back: its caller sends it again, as another
    one.
    """

    def __init__(
        self, broadcasts: Sequence[Broadcast], publications: Sequence[Publication]
    ) -> None:
        self._alerts = {
            index: item for index, item in enumerate(broadcasts) if item.alert_id is not None
        }
        self._publications = publications
        self._failure: Exception | None = None
        self._settle: Callable[[Sequence[Broadcast]], object] | None = None

    def __bool__(self) -> bool:
        return bool(self._alerts) and bool(conf.REALTIME_ALERT_STORE)

    async def in_thread(self, work: Callable[[], None]) -> None:
        try:
            await in_database(work)()
        except Exception as exc:  # of opening a connection, before `work` begins
            self._failure = exc

    def store(self) -> None:
        try:
            if self:
                store = import_string(conf.REALTIME_ALERT_STORE)
                self._settle = reconnecting(store)(list(self._alerts.values()))
        except Exception as exc:
            self._failure = exc

    def settle(self, published: Container[int] | None = None) -> None:
        """After the sending: of all, or of those at these positions."""
        if not self:
            return
        unsent = []
        for index, item in self._alerts.items():
            if published is None or index in published:
                self._publications[index]._stored = self._holds(item)
            else:
                unsent.append(item)
        if self._failure is not None:
            self._note()
        elif self._settle is not None:
            self._end(unsent)

    def _holds(self, item: Broadcast) -> bool:
        # Of a store that does not say which ones it took it has taken all.
        taken: Container[str] | None = getattr(self._settle, "uids", None)
        return self._failure is None and (taken is None or item.alert_id in taken)

    def _end(self, unsent: Sequence[Broadcast]) -> None:
        assert self._settle is not None
        try:
            reconnecting(self._settle)(unsent)
        except Exception as exc:
            if unsent:
                logger.error("alerts that were not sent stay in the inbox: %s", exc)
            else:
                logger.warning("alerts were sent, but this could not be recorded: %s", exc)

    def _note(self) -> None:
        """Let an engine store the alerts that were sent, for users who are away."""
        missing = [
            (item.stream, item.alert_id)
            for index, item in self._alerts.items()
            if item.alert_id is not None and self._publications[index].stored is False
        ]
        if not missing:
            return
        later, layer = False, shared_layer()
        if isinstance(self._failure, OUTAGES) and layer is not None:
            with contextlib.suppress(BackendUnavailable):
                unstored.note(layer, missing)
                later = True
        logger.error(
            "alerts were sent but not stored%s: %s", ", which the alert engine does later" if later
            else ", for users who are away", self._failure,
        )  # fmt: skip


async def _send(broadcasts: Sequence[Broadcast], publications: Sequence[Publication]) -> None:
    configured = _layer()
    layer = loop_layer(configured)
    if layer is None:
        for item in broadcasts:
            await _send_plainly(configured, item)
        return
    try:
        results = await layer.send_updates([_item(item) for item in broadcasts])
    except BackendUnavailable as exc:
        _failed(exc, publications)
    _confirm(publications, dict(enumerate(results)))


async def _send_plainly(layer: BaseChannelLayer, item: Broadcast) -> None:
    """Through a stock channel layer: an ordinary group message, without offset and history.

    Only this process recognises a repetition.
    """
    once = f"{item.stream.group} {item.id}"
    if item.id and _sent_plainly.get(once):
        return
    text = protocol.update_text(item.body, None).decode()
    groups = [item.stream.group]
    if item.stream.channel != "alerts":
        groups.append(Stream(item.stream.channel, WILDCARD).group)
    try:
        for group in groups:
            await layer.group_send(group, {"type": UPDATE, "text": text})
    except (OSError, RedisError) as exc:
        raise PublishFailed(exc) from exc
    recording.record([(item.stream, item.body)])
    if item.id:
        _sent_plainly.put(once, True)


_sent_plainly: Final[Remembered[bool]] = Remembered(ONCE_SECONDS)


def _item(update: Broadcast) -> Item:
    if update.id:
        return update.stream, update.body, update.id
    return update.stream, update.body


def _confirm(publications: Sequence[Publication], results: Mapping[int, Published]) -> None:
    for index, result in results.items():
        publications[index]._result = result


def _failed(exc: BackendUnavailable, publications: Sequence[Publication]) -> NoReturn:
    _confirm(publications, exc.published)
    raise PublishFailed(exc.reason, exc.published) from exc


def _layer() -> BaseChannelLayer:
    layer = get_channel_layer()
    if layer is None:
        raise PublishFailed("CHANNEL_LAYERS is not configured")
    return layer


def reaches_other_processes() -> bool:
    """False with a layer of one process: a command that publishes would reach no client."""
    name = type(_layer()).__name__
    return not isinstance(_layer(), MemoryStreamLayer) and name != "InMemoryChannelLayer"


# Checking -------------------------------------------------------------------------------------


def _stream(channel: Channel, symbol: str) -> Stream:
    try:
        return Stream(channel, parse_symbol(symbol))
    except InvalidSymbol as exc:
        raise InvalidUpdate("symbol", exc.reason) from None


def _broadcast(stream: Stream, body: bytes, field: str, id: str | None = None) -> Broadcast:
    require_size(body, field)
    return Broadcast(stream, body) if id is None else Broadcast(stream, body, id=check_id(id))
