"""Updates that wait for the engine, taken from each symbol in turn: a busy one delays only itself.

Pure.
"""

from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Final

from realtime.delivery.updates import Update, age_of

# Updates of one symbol that wait. Of any more, only the newest waits, and the ones before it are
# read from the history.
MAX_OF_SYMBOL: Final = 500


class Waiting:
    """Each update waits with a flag: have missing updates before it been looked up already?"""

    def __init__(self) -> None:
        self._queues: OrderedDict[str, deque[tuple[Update, bool]]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, symbol: str) -> bool:
        return symbol in self._queues

    def lag(self) -> float | None:
        """The age in seconds of the update that is next; 0.0 if none waits."""
        for queue in self._queues.values():
            return age_of(queue[0][0])
        return 0.0

    def add(self, update: Update) -> None:
        queue = self._queues.setdefault(update.stream.symbol, deque())
        if len(queue) >= MAX_OF_SYMBOL and queue[-1][0].stream == update.stream:
            queue[-1] = update, False
        else:
            queue.append((update, False))
            self._count += 1

    def take(self) -> tuple[Update, bool]:
        """The next update, and whether missing updates before it have been looked up."""
        symbol, queue = next(iter(self._queues.items()))
        self._count -= 1
        item = queue.popleft()
        if queue:
            self._queues.move_to_end(symbol)
        else:
            del self._queues[symbol]
        return item

    def put_first(self, updates: Sequence[Update]) -> None:
        """Put back missing updates of a symbol, with the update that revealed the hole."""
        queue = self._queues.setdefault(updates[0].stream.symbol, deque())
        queue.extendleft((update, True) for update in reversed(updates))
        self._count += len(updates)

    def clear(self) -> None:
        self._queues.clear()
        self._count = 0
