"""What waits for one socket. Pure: no socket, no loop, no clock.

Texts leave in the order in which they came, with one exception: while an update of a stream waits,
a newer one of the same stream takes its place in the queue and says how many it `folded`. Taking
the *older* one's place keeps every `ping` behind the updates that its `heads` speak of.
"""

from collections import deque

from realtime.delivery.updates import Update
from realtime.streams import Stream


class _Waiting:
    """An update in the queue, and how many older ones it stands for."""

    __slots__ = ("folded", "update")

    def __init__(self, update: Update, folded: int) -> None:
        self.update = update
        self.folded = folded


class Outbox:
    """Bounded by bytes: `full` tells that the reader is too slow and must go.

    Memory stays small while nothing waits: the queue is made when the first text has to.
    """

    __slots__ = ("_foldable", "_queue", "folded", "limit", "size")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0  # bytes of text waiting
        self.folded = 0  # updates replaced by newer ones, over the life of the socket
        self._queue: deque[bytes | _Waiting] | None = None
        # Where in the queue the newest update of a stream waits.
        self._foldable: dict[Stream, _Waiting] = {}

    def __bool__(self) -> bool:
        return bool(self._queue)

    @property
    def full(self) -> bool:
        return self.size > self.limit

    def put(self, text: bytes) -> None:
        """Queue what must not be dropped: an answer, an alert, a ping, a gap."""
        if self._queue is None:
            self._queue = deque()
        self._queue.append(text)
        self.size += len(text)

    def put_update(self, update: Update, folded: int = 0) -> None:
        """Queue an update that already stands for `folded` older ones.

        It replaces the waiting one of the same stream.
        """
        if not update.foldable:
            self.put(update.text)
            return
        older = self._foldable.get(update.stream)
        if older is not None:
            self.size += len(update.body) - len(older.update.body)
            self.folded += 1
            older.folded += folded + 1
            older.update = update
            return
        if self._queue is None:
            self._queue = deque()
        waiting = self._foldable[update.stream] = _Waiting(update, folded)
        self._queue.append(waiting)
        self.size += len(update.body)

    def seal(self) -> None:
        """Leave what waits as it is, before a text that speaks of the offsets up to it.

        A gap or a snapshot behind an update that a later one replaced would go back in time.
        """
        self._foldable.clear()

    def take(self, limit: int) -> list[bytes]:
        """Remove and return the oldest texts, about `limit` bytes of them and at least one."""
        texts: list[bytes] = []
        taken = 0
        while self._queue and taken < limit:
            item = self._queue.popleft()
            if isinstance(item, _Waiting):
                self.size -= len(item.update.body)
                text = self._render(item)
            else:
                self.size -= len(item)
                text = item
            texts.append(text)
            taken += len(text)
        if not self._queue:
            self._queue = None
        return texts

    def _render(self, waiting: _Waiting) -> bytes:
        update = waiting.update
        if self._foldable.get(update.stream) is waiting:
            del self._foldable[update.stream]
        return update.folded_text(waiting.folded) if waiting.folded else update.text

    def clear(self) -> None:
        self._queue = None
        self._foldable.clear()
        self.size = 0
