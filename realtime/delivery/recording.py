"""What this process publishes: counted, and recorded for a project's tests.

See realtime/testing.py.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from realtime.delivery.history_scripts import Published
from realtime.delivery.totals import count_published
from realtime.streams import Stream

Recorder = Callable[[Stream, bytes], None]
recorders: Final[list[Recorder]] = []


def record(items: Sequence[tuple[Stream, bytes]]) -> None:
    """Count published updates, and pass them to the recorders."""
    count_published(Counter(stream.channel for stream, _ in items))
    for recorder in recorders:
        for stream, body in items:
            recorder(stream, body)


def record_published(
    items: Sequence[tuple[Stream, bytes] | tuple[Stream, bytes, str]],
    published: Sequence[Published],
) -> None:
    """Record the updates that the channel layer accepted, without repetitions."""
    new = zip(items, published, strict=True)
    record([(item[0], item[1]) for item, answer in new if not answer.repeated])
