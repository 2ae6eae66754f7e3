"""The updates that wait for one socket. Pure: no socket, no loop, no clock.

Texts leave in the order in which they came, with one exception: while an update of a stream waits,
a newer one of the same stream takes its place in the queue and says how many it `folded`. Taking
the *older* one's place keeps every `ping` behind the updates that its `heads` speak of.

Texts that the server sends of its own accord, one per kind and stream (`put_once`), are not
counted: a reader of thousands of streams is not slow just because they all start at once.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final

from realtime.delivery.updates import Update
from realtime.streams import Stream

# A kind of message, and the stream that it is about.
Topic = tuple[str, Stream | None]

SNAPSHOT: Final = "snapshot"


class _Waiting:
    """A queued update, the number of older ones that it replaces, and the bytes counted for it."""

    __slots__ = ("counted", "folded", "update")

    def __init__(self, update: Update, folded: int, counted: int) -> None:
        self.update = update
        self.folded = folded
        self.counted = counted


class _Once:
    """A text that is not counted; a snapshot is serialised only when it leaves."""

    __slots__ = ("content", "topic")

    def __init__(self, topic: Topic, content: bytes | Update) -> None:
        self.topic = topic
        self.content = content


class _Snapshots:
    """The snapshots of all streams of a `*`: one place in the queue, serialised as they leave."""

    __slots__ = ("updates",)

    def __init__(self, updates: Iterable[Update]) -> None:
        self.updates = deque(updates)


class Outbox:
    """A queue bounded by bytes; `full` means that the reader is too slow and must be closed.

    The queue is created when the first text has to wait, which saves memory for fast readers.
    """

    __slots__ = ("_foldable", "_once", "_queue", "_snapshots", "folded", "limit", "size")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0  # bytes of text waiting, without those of `put_once`
        self.folded = 0  # updates replaced by newer ones, over the life of the socket
        self._queue: deque[bytes | _Waiting | _Once | _Snapshots] | None = None
        # Places in the queue of each stream's newest update.
        self._foldable: dict[Stream, _Waiting] = {}
        self._once: dict[Topic, _Once] | None = None
        self._snapshots: _Snapshots | None = None

    def __bool__(self) -> bool:
        return bool(self._queue)

    @property
    def full(self) -> bool:
        return self.size > self.limit

    def put(self, text: bytes) -> None:
        """Queue a text that must not be dropped: an answer, an alert, a ping, a gap."""
        self._append(text)
        self.size += len(text)

    def put_once(self, topic: Topic, content: bytes | Update, *, replace: bool = False) -> None:
        """Queue a text of which there is one per topic; a second waiting one is counted.

        `replace`: it replaces the first one instead.
        """
        if self._once is None:
            self._once = {}
        older = self._once.get(topic)
        if older is None:
            once = self._once[topic] = _Once(topic, content)
            self._append(once)
        elif replace:
            older.content = content
        else:
            self.put(once_text(content))

    def put_snapshots(self, updates: Iterable[Update]) -> None:
        """`put_once` for the snapshots of many streams."""
        if self._snapshots is None:
            self._snapshots = _Snapshots(updates)
            self._append(self._snapshots)
            return
        for update in updates:
            self.put_once((SNAPSHOT, update.stream), update)

    def _append(self, item: bytes | _Waiting | _Once | _Snapshots) -> None:
        if self._queue is None:
            self._queue = deque()
        self._queue.append(item)

    def put_update(self, update: Update, folded: int = 0) -> None:
        """Queue an update that already stands for `folded` older ones.

        It replaces a waiting update of the same stream.
        """
        if not update.foldable:
            self.put(update.text)
            return
        older = self._foldable.get(update.stream)
        if older is not None:
            if older.counted:
                self.size += len(update.body) - older.counted
                older.counted = len(update.body)
            self.folded += 1
            older.folded += folded + 1
            older.update = update
            return
        # The reader has not yet had time to take the snapshot.
        begins = self._snapshots is not None or (
            self._once is not None and (SNAPSHOT, update.stream) in self._once
        )
        waiting = _Waiting(update, folded, 0 if begins else len(update.body))
        self._foldable[update.stream] = waiting
        self._append(waiting)
        self.size += waiting.counted

    def seal(self) -> None:
        """Stop folding the waiting texts, before a text that refers to their offsets.

        A gap or a snapshot after an update that a later one has replaced would go back in time.
        """
        self._foldable.clear()

    def take(self, limit: int) -> list[bytes]:
        """Remove and return the oldest texts, about `limit` bytes of them and at least one."""
        texts: list[bytes] = []
        taken = 0
        while self._queue and taken < limit:
            item = self._queue[0]
            if isinstance(item, _Snapshots) and item.updates:
                text = item.updates.popleft().snapshot_text
                texts.append(text)
                taken += len(text)
                continue
            self._queue.popleft()
            if isinstance(item, _Snapshots):
                self._snapshots = None
                continue
            if isinstance(item, _Waiting):
                self.size -= item.counted
                text = self._render(item)
            elif isinstance(item, _Once):
                text = once_text(item.content)
                if self._once is not None:
                    del self._once[item.topic]
            else:
                self.size -= len(item)
                text = item
            texts.append(text)
            taken += len(text)
        if not self._queue:
            self._queue = self._once = self._snapshots = None
        return texts

    def _render(self, waiting: _Waiting) -> bytes:
        update = waiting.update
        if self._foldable.get(update.stream) is waiting:
            del self._foldable[update.stream]
        return update.folded_text(waiting.folded) if waiting.folded else update.text

    def clear(self) -> None:
        self._queue = self._once = self._snapshots = None
        self._foldable.clear()
        self.size = 0


def once_text(content: bytes | Update) -> bytes:
    return content if isinstance(content, bytes) else content.snapshot_text
