"""What this process publishes, for the tests of a project: see realtime/testing.py."""

from collections.abc import Callable, Sequence
from typing import Final

from realtime.streams import Stream

Recorder = Callable[[Stream, bytes], None]
recorders: Final[list[Recorder]] = []


def record(items: Sequence[tuple[Stream, bytes]]) -> None:
    """Updates that the channel layer has taken."""
    for recorder in recorders:
        for stream, body in items:
            recorder(stream, body)
