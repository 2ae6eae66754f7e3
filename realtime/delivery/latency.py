"""How long updates take from their publication to the sockets of this process, by samples."""

import asyncio
from collections.abc import Mapping
from itertools import islice
from typing import Final

from realtime.delivery.cork import cork_of
from realtime.delivery.sockets import Socket
from realtime.delivery.totals import totals
from realtime.delivery.updates import Reader, Update, age_of

# Of a burst, one update in EVERY is measured, and one after each SPARSE_SECONDS: what a measurement
# costs would be more than a hundredth of what it measures.
SPARSE_SECONDS: Final = 0.1
EVERY: Final = 64
# Readers that are looked at to find a socket among them.
_LOOKED_AT: Final = 4


class Latency:
    """`skip` counts the updates until the next one that is measured."""

    __slots__ = ("_resting", "skip")

    def __init__(self) -> None:
        self.skip = 0
        self._resting = False

    def measure(self, update: Update, readers: Mapping[object, Reader]) -> None:
        """Measure an update that all readers have just been given."""
        owners = (reader.owner for reader in islice(readers.values(), _LOOKED_AT))
        if not any(isinstance(owner, Socket) for owner in owners):
            return
        loop = asyncio.get_running_loop()
        self.skip = EVERY - 1
        if not self._resting:
            self._resting = True
            loop.call_later(SPARSE_SECONDS, self._rested)
        if cork_of(loop).active:
            loop.call_soon(_observe, update)  # behind the write, which ends this turn
        else:
            _observe(update)

    def _rested(self) -> None:
        self._resting = False
        self.skip = 0


def _observe(update: Update) -> None:
    age = age_of(update)
    if age is not None:
        totals.observe("delivery", age, update.stream.channel)
