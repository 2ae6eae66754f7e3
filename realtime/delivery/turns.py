"""Parses clients' input a little per turn of the event loop, for all connections together.

One read from the kernel may hold forty thousand frames, or chunks of a body, of a few bytes each.
Parsed at once, they would stop all clients for half a second. So would the snapshots of thousands
of streams, which are therefore written in the same turns.
"""

import asyncio
import logging
import time
import weakref
from collections import OrderedDict
from typing import Final, Protocol

logger = logging.getLogger(__name__)

# Seconds that one turn of the loop may spend on connections with much input.
TURN_SECONDS: Final = 0.002


class Sender(Protocol):
    """A connection with input to parse, or output to write."""

    transport: asyncio.Transport

    def take_turn(self) -> bool:
        """Process a slice; returns whether there is another one."""


class Turns:
    """Waiting connections; each gets a slice before any gets its next one."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[Sender, None] = OrderedDict()
        self._scheduled = False

    def add(self, sender: Sender) -> None:
        """Give the connection turns, from the next turn of the loop on."""
        self._waiting[sender] = None
        self._schedule()

    def _schedule(self) -> None:
        if self._waiting and not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._run)

    def _run(self) -> None:
        self._scheduled = False
        end = time.perf_counter() + TURN_SECONDS
        while self._waiting and time.perf_counter() < end:
            sender, _ = self._waiting.popitem(last=False)
            if _take_turn(sender):
                self._waiting[sender] = None
        self._schedule()


def _take_turn(sender: Sender) -> bool:
    try:
        return sender.take_turn()
    except Exception:  # the other connections go on
        logger.exception("the input of a client could not be parsed")
        sender.transport.abort()
        return False


_turns: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Turns]" = weakref.WeakKeyDictionary()


def turns_of(loop: asyncio.AbstractEventLoop) -> Turns:
    """The turns of an event loop."""
    turns = _turns.get(loop)
    if turns is None:
        turns = _turns[loop] = Turns()
    return turns
