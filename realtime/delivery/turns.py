"""Clients' input is parsed a little per turn of the event loop, for all connections together.

One read from the kernel may hold forty thousand frames, or chunks of a body, of a few bytes each.
Parsed at once, they stop everybody for half a second. So would the snapshots of thousands of
streams, which are written in the same turns.
"""

import asyncio
import logging
import time
import weakref
from collections import OrderedDict
from typing import Final, Protocol

logger = logging.getLogger(__name__)

# What one turn of the loop may spend on connections that have sent much.
TURN_SECONDS: Final = 0.002


class Sender(Protocol):
    """A connection with input that is not parsed yet."""

    transport: asyncio.Transport

    def take_turn(self) -> bool:
        """Parse a slice; say whether there is another one to parse."""


class Turns:
    """Connections that wait to be parsed; each gets a slice before any gets its next."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[Sender, None] = OrderedDict()
        self._scheduled = False

    def add(self, sender: Sender) -> None:
        """Let it take turns from the next turn of the loop on."""
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
    except Exception:  # the others go on
        logger.exception("what a client sent could not be parsed")
        sender.transport.abort()
        return False


_turns: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Turns]" = weakref.WeakKeyDictionary()


def turns_of(loop: asyncio.AbstractEventLoop) -> Turns:
    """The turns of an event loop."""
    turns = _turns.get(loop)
    if turns is None:
        turns = _turns[loop] = Turns()
    return turns
