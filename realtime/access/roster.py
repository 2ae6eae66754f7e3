"""The open connections of one process, as rows for operators who look.

Nothing is kept for it: a row is read from its connection when `roll_call` asks for it, a few at a
time, so that thousands of connections do not hold up the event loop.
"""

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Final, Literal, Protocol, TypedDict

import msgspec

from realtime.access.identity import Identity, IdentityKind
from realtime.streams import Channel
from realtime.users import UserId
from realtime.workers import process_name

Transport = Literal["websocket", "sse"]
# Connections that are looked at, or ended, in one turn of the event loop.
_CHUNK: Final = 25
# Rows in one message between processes.
PAGE: Final = 200
ANSWER: Final = "access.roll"
# Symbols that a row names; the others are counted.
MAX_SYMBOLS: Final = 20


class ConnectionRow(TypedDict):
    """One connection. `since` is a Unix time; `process`, `host:pid`, is added by the asker."""

    id: str
    channel: Channel
    transport: Transport
    user: str
    user_id: UserId | None
    credential: IdentityKind
    key_id: int | None
    address: str | None
    symbols: list[str]
    symbol_count: int
    since: float
    rtt_ms: float | None
    sent: int
    folded: int
    replayed: int
    waiting_bytes: int
    process: str


SORTS: Final[Mapping[str, Callable[[ConnectionRow], str | float]]] = {
    "since": lambda row: row["since"],
    "user": lambda row: row["user"].lower(),
    "channel": lambda row: row["channel"],
    "address": lambda row: row["address"] or "",
    "symbols": lambda row: row["symbol_count"],
    "rtt_ms": lambda row: -1.0 if row["rtt_ms"] is None else row["rtt_ms"],
    "sent": lambda row: row["sent"],
    "folded": lambda row: row["folded"],
    "waiting_bytes": lambda row: row["waiting_bytes"],
}


class Listed(Protocol):
    """A connection that can be looked at and ended."""

    connection_id: str

    @property
    def identity(self) -> Identity: ...

    @property
    def channel(self) -> Channel: ...

    def describe(self) -> ConnectionRow: ...

    def end_by_operator(self, reason: str) -> None:
        """Say why and close; does not wait until that is done."""


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Which connections. All conditions have to be met; without any of them, all connections."""

    id: str | None = None
    channel: Channel | None = None
    user_id: UserId | None = None
    key_id: int | None = None
    # Words, each of which a row has somewhere; `search_keys`: keys in whose names they all are.
    search: str = ""
    search_keys: tuple[int, ...] = ()

    def covers(self, connection: Listed) -> bool:
        """All conditions but `search`, which takes a row."""
        identity = connection.identity
        return (
            self.id in (None, connection.connection_id)
            and self.channel in (None, connection.channel)
            and (self.user_id is None or self.user_id == identity.user_id)
            and self.key_id in (None, identity.key_id)
        )

    def finds(self, row: ConnectionRow) -> bool:
        if not self.search or row["key_id"] in self.search_keys:
            return True
        parts = (row["user"], row["address"] or "", row["id"], row["channel"], row["credential"])
        text = " ".join((*parts, row["transport"], *row["symbols"])).lower()
        return all(word in text for word in self.search.lower().split())


class Order(msgspec.Struct, frozen=True):
    """By which column, and how many rows from the first one on."""

    by: str = "since"
    descending: bool = False
    most: int = 100

    def first(self, rows: Sequence[tuple[str | float, str]]) -> list[tuple[str | float, str]]:
        """Of sort keys and ids, those that come first."""
        choose = heapq.nlargest if self.descending else heapq.nsmallest
        return choose(self.most, rows)

    def key(self, row: ConnectionRow) -> tuple[str | float, str]:
        return SORTS[self.by](row), row["id"]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator wants: the rows of a selection, or (with a reason) its end."""

    selection: Selection
    order: Order = Order()
    end_reason: str | None = None


class AnswerPage(TypedDict):
    """A part of the answer of one process. `count`: of the whole selection."""

    type: str
    name: str
    count: int
    rows: list[ConnectionRow]
    last: bool


async def answer_request(
    connections: Mapping[str, Listed], request: Request
) -> AsyncIterator[AnswerPage]:
    """The answer of this process, in pages of bounded size."""
    keys, found = [], []
    async for connection, row in _selected(connections, request.selection):
        keys.append(request.order.key(row))
        found.append(connection)
    if request.end_reason is not None:
        async for connection in _in_turns(found):
            connection.end_by_operator(request.end_reason)
        yield _page(len(found), [], last=True)
        return
    chosen = [connections[id] for _, id in request.order.first(keys) if id in connections]
    rows: list[ConnectionRow] = []
    async for connection in _in_turns(chosen):
        if len(rows) == PAGE:
            yield _page(len(found), rows, last=False)
            rows = []
        rows.append(connection.describe())
    yield _page(len(found), rows, last=True)


def _page(count: int, rows: list[ConnectionRow], *, last: bool) -> AnswerPage:
    return {"type": ANSWER, "name": process_name(), "count": count, "rows": rows, "last": last}


async def _selected(
    connections: Mapping[str, Listed], selection: Selection
) -> AsyncIterator[tuple[Listed, ConnectionRow]]:
    one = connections.get(selection.id or "")
    looked_at = list(connections.values()) if selection.id is None else [one] if one else []
    async for connection in _in_turns(looked_at):
        # It may have closed meanwhile.
        if connection.connection_id in connections and selection.covers(connection):
            row = connection.describe()
            if selection.finds(row):
                yield connection, row


async def _in_turns(connections: Iterable[Listed]) -> AsyncIterator[Listed]:
    """A few at a time: everything else has its turn of the event loop between them."""
    for number, connection in enumerate(connections):
        if number % _CHUNK == 0:
            await asyncio.sleep(0)
        yield connection
