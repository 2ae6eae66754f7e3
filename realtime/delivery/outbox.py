"""What waits for one socket. Pure: no socket, no loop, no clock.

Texts leave in the order in which they came, with one exception: while an update of a stream waits,
a newer one of the same stream takes its place in the queue and says how many it `folded`. Taking
the *older* one's place keeps every `ping` behind the updates that its `heads` speak of.
"""

from collections import OrderedDict

from realtime.delivery.updates import Update
from realtime.streams import Stream


class Outbox:
    """Bounded by bytes: `full` tells that the reader is too slow and must go.

    Memory stays small while nothing waits: the queue is made when the first text has to.
    """

    __slots__ = ("_serial", "_waiting", "folded", "limit", "size")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0  # bytes of text waiting
        self.folded = 0  # updates replaced by newer ones, over the life of the socket
        self._waiting: OrderedDict[Stream | int, bytes | tuple[Update, int]] | None = None
        self._serial = 0

    def __bool__(self) -> bool:
        return bool(self._waiting)

    @property
    def full(self) -> bool:
        return self.size > self.limit

    def put(self, text: bytes) -> None:
        """Queue what must not be dropped: an answer, an alert, a ping, a gap."""
        if self._waiting is None:
            self._waiting = OrderedDict()
        self._serial += 1
        self._waiting[self._serial] = text
        self.size += len(text)

    def put_update(self, update: Update) -> None:
        """Queue an update; replaces the waiting one of the same stream."""
        if not update.foldable:
            self.put(update.text)
            return
        if self._waiting is None:
            self._waiting = OrderedDict()
        stream = update.stream
        older = self._waiting.get(stream)
        count = 0
        if older is not None:
            assert isinstance(older, tuple)  # streams are keys of updates only
            count = older[1] + 1
            self.folded += 1
            self.size -= len(older[0].body)
        self._waiting[stream] = (update, count)
        self.size += len(update.body)

    def take(self, limit: int) -> list[bytes]:
        """Remove and return the oldest texts, about `limit` bytes of them and at least one."""
        texts: list[bytes] = []
        taken = 0
        while self._waiting and taken < limit:
            _, item = self._waiting.popitem(last=False)
            if isinstance(item, tuple):
                update, count = item
                self.size -= len(update.body)
                text = update.folded_text(count) if count else update.text
            else:
                text = item
                self.size -= len(text)
            texts.append(text)
            taken += len(text)
        if not self._waiting:
            self._waiting = None
        return texts

    def clear(self) -> None:
        self._waiting = None
        self.size = 0
