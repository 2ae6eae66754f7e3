"""Asks every process for its open connections, or to end some of them.

The question goes to the group that announcements of credentials use, and each process that has
connections answers on a channel of the asker. Those that do not answer in time are named by their
leases: what they hold is not in the answer.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from asgiref.sync import sync_to_async

from realtime.access.live_sockets import GROUP, ROLL_CALL, live_sockets
from realtime.access.roster import ConnectionRow, Order, Request, Selection
from realtime.connections import connection_manager
from realtime.delivery.layers import RedisLoopLayer, StreamLayer, required_layer
from realtime.retry import set_within

logger = logging.getLogger(__name__)

# Seconds that the processes have to answer.
PATIENCE: Final = 5.0
# How many rows from the first one on can be reached; a selection can always be narrowed.
MAX_ROWS: Final = 2000
DEFAULT_REASON: Final = "An operator has ended this connection."
MAX_REASON: Final = 200


@dataclass
class Roll:
    """The answers: of how many connections, and the rows of the first ones.

    `silent`: the processes that have connections, and did not answer in time.
    """

    count: int = 0
    rows: list[ConnectionRow] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)


async def call_roll(selection: Selection, order: Order) -> Roll:
    """The connections of all processes; raises StatisticsUnavailable and BackendUnavailable.

    Raises ImproperlyConfigured with a channel layer of others.
    """
    roll = await _ask(Request(selection=selection, order=order))
    keyed = {order.key(row): row for row in roll.rows}
    roll.rows = [keyed[key] for key in order.first(list(keyed))]
    return roll


async def end_connections(selection: Selection, reason: str, operator: str) -> Roll:
    """End the selected connections in all processes; raises like `call_roll`."""
    roll = await _ask(Request(selection=selection, end_reason=reason or DEFAULT_REASON))
    logger.info(
        "%s has ended %d connections (%s): %s", operator, roll.count, _about(selection), reason
    )
    return roll


def _about(selection: Selection) -> str:
    given = msgspec.to_builtins(selection).items()
    return ", ".join(f"{name} {value}" for name, value in given if value not in (None, "", []))


async def _ask(request: Request) -> Roll:
    layer = required_layer()
    if not isinstance(layer, RedisLoopLayer):
        await live_sockets(layer).listening  # this process is all there is
    answers = _Answers()
    channel = await layer.new_channel()
    layer.attach(channel, answers.take)
    question = {
        "type": ROLL_CALL,
        "request": msgspec.to_builtins(request),
        "reply_channel": channel,
    }
    try:
        answers.expect(await layer.ask_group(GROUP, question))
        await set_within(answers.complete, PATIENCE)
    finally:
        layer.detach(channel)
    return answers.roll(await _processes(layer))


async def _processes(layer: StreamLayer) -> Mapping[str, str]:
    """The processes that have connections: their names by their ids."""
    if not isinstance(layer, RedisLoopLayer):
        return {}
    return await sync_to_async(connection_manager.get_processes, thread_sensitive=False)()


class _Answers:
    """Gathers what the processes say, until all of them that were reached have said it."""

    def __init__(self) -> None:
        self.complete = asyncio.Event()
        self._expected: int | None = None
        self._answered: set[str] = set()
        self._counts: dict[str, int] = {}
        self._rows: list[ConnectionRow] = []

    def expect(self, processes: int) -> None:
        self._expected = processes
        self._check()

    def take(self, page: Mapping[str, Any]) -> None:
        self._counts[page["process"]] = page["count"]
        for row in page["rows"]:
            row["process"] = page["name"]
            self._rows.append(row)
        if page["last"]:
            self._answered.add(page["process"])
            self._check()

    def _check(self) -> None:
        if self._expected is not None and len(self._answered) >= self._expected:
            self.complete.set()

    def roll(self, processes: Mapping[str, str]) -> Roll:
        silent = sorted(processes[each] for each in processes.keys() - self._answered)
        missing = (self._expected or 0) - len(self._answered) - len(silent)
        silent += ["a process without a name"] * max(0, missing)
        return Roll(sum(self._counts.values()), self._rows, silent)
