"""A small cache of recent look-ups."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class RecentCache(Generic[Value]):
    """Values of the last `seconds`, at most `size` of them; safe in threads."""

    def __init__(
        self, seconds: float, size: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds = seconds
        self._size = size
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: OrderedDict[bytes, tuple[float, Value]] = OrderedDict()
        # Counts calls of forget(): see put().
        self.generation = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, digest: bytes) -> Value | None:
        with self._lock:
            entry = self._entries.get(digest)
            if entry is None:
                return None
            good_until, value = entry
            if good_until <= self._clock():
                del self._entries[digest]
                return None
            return value

    def put(self, digest: bytes, value: Value, generation: int) -> None:
        """Keep a value; `generation` is the one before it was looked up.

        A value that was read before a forget() may be outdated, and is not kept.
        """
        with self._lock:
            if generation != self.generation:
                return
            self._entries[digest] = (self._clock() + self._seconds, value)
            self._entries.move_to_end(digest)
            while len(self._entries) > self._size:
                self._entries.popitem(last=False)

    def forget(self, concerns: Callable[[Value], bool] = lambda value: True) -> None:
        """Drop every value, or those that match."""
        with self._lock:
            self.generation += 1
            gone = [digest for digest, (_, value) in self._entries.items() if concerns(value)]
            for digest in gone:
                del self._entries[digest]
