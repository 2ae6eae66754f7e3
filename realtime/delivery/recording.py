"""Records what this process publishes, for a project's tests: see realtime/testing.py."""

from collections.abc import Callable, Sequence
from typing import Final

from realtime.delivery.history_scripts import Published
from realtime.streams import Stream

Recorder = Callable[[Stream, bytes], None]
recorders: Final[list[Recorder]] = []


def record(items: Sequence[tuple[Stream, bytes]]) -> None:
    """Pass published updates to the recorders."""
    for recorder in recorders:
        for stream, body in items:
            recorder(stream, body)


def record_published(
    items: Sequence[tuple[Stream, bytes] | tuple[Stream, bytes, str]],
    published: Sequence[Published],
) -> None:
    """Record the updates that the channel layer accepted, without repetitions."""
    if recorders:
        new = zip(items, published, strict=True)
        record([(item[0], item[1]) for item, answer in new if not answer.repeated])
