"""Joins everything that one turn of the event loop has for a socket into one write.

A burst of updates arrives in one read from Redis. Written one by one, each update costs a system
call per socket; held back until the read is processed, the whole burst costs one.
"""

import asyncio
import weakref
from typing import Protocol


class Corked(Protocol):
    """A socket with frames to write."""

    def flush(self) -> None: ...


class Cork:
    """While `active`, sockets collect their frames and add themselves to `sockets`, once each."""

    __slots__ = ("active", "sockets")

    def __init__(self) -> None:
        self.active = False
        self.sockets: list[Corked] = []

    def begin(self) -> None:
        """Hold frames back until this turn of the loop ends, before it waits for I/O again."""
        if not self.active:
            self.active = True
            asyncio.get_running_loop().call_soon(self._end)

    def _end(self) -> None:
        self.active = False
        sockets, self.sockets = self.sockets, []
        for socket in sockets:
            socket.flush()


_corks: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Cork]" = weakref.WeakKeyDictionary()


def cork_of(loop: asyncio.AbstractEventLoop) -> Cork:
    """The cork of an event loop."""
    cork = _corks.get(loop)
    if cork is None:
        cork = _corks[loop] = Cork()
    return cork
