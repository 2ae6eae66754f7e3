"""What a test has published, for the tests of a project.

pytest has the fixture `realtime_messages` (realtime/pytest_plugin.py), unittest the mixin below.
"""

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Self
from unittest import TestCase, TestResult

from channels import DEFAULT_CHANNEL_LAYER
from channels.layers import channel_layers
from django.db import connections

from realtime import broadcast
from realtime.delivery.layers import MemoryStreamLayer
from realtime.delivery.recording import recorders
from realtime.protocol import update_data
from realtime.streams import ALERTS_ALL, CHANNELS, Stream, symbol_stream, user_alerts

Data = Mapping[str, Any]


class Messages(list[dict[str, Any]]):
    """The data of updates, oldest first; `hints` say what else was published, or waits."""

    hints: Sequence[str] = ()


class RealtimeMessages:
    """Records the updates that this process publishes while it is entered."""

    def __init__(self) -> None:
        self._published: list[tuple[Stream, bytes]] = []
        self._lock = threading.Lock()

    def __call__(self, channel: str, symbol: str | None = None, *, user: Any = None) -> Messages:
        """The data of what was published on a stream, oldest first.

        Of `alerts`: those for everybody, or those for `user` (an instance or its primary key).
        """
        stream = _stream(channel, symbol, user)
        with self._lock:
            found = Messages(update_data(body) for each, body in self._published if each == stream)
        found.hints = self._hints()
        return found

    def __repr__(self) -> str:
        return f"<RealtimeMessages: {self._summary() or 'nothing was published'}>"

    def clear(self) -> None:
        """Forget what was published so far."""
        with self._lock:
            self._published.clear()

    def __enter__(self) -> Self:
        recorders.append(self._record)
        return self

    def __exit__(self, *exc: object) -> None:
        recorders.remove(self._record)
        # The next test finds streams without updates.
        if isinstance(channel_layers.backends.get(DEFAULT_CHANNEL_LAYER), MemoryStreamLayer):
            del channel_layers.backends[DEFAULT_CHANNEL_LAYER]

    def _record(self, stream: Stream, body: bytes) -> None:
        with self._lock:
            self._published.append((stream, body))

    def _summary(self) -> str:
        with self._lock:
            counts = Counter(stream.group for stream, _ in self._published)
        return ", ".join(f"{count} in {group}" for group, count in counts.items())

    def _hints(self) -> list[str]:
        hints = [f"published in this test: {self._summary() or 'nothing'}"]
        if waiting := waiting_for_commit():
            hints.append(
                f"{waiting} call(s) wait for the commit of a transaction: publish within "
                "captureOnCommitCallbacks(execute=True), with pytest "
                "django_capture_on_commit_callbacks(execute=True)"
            )
        return hints


def waiting_for_commit() -> int:
    """Calls that will publish when the open transactions are committed."""
    callbacks = [each[1] for one in connections.all() for each in one.run_on_commit]
    return sum(callback.__module__ == broadcast.__name__ for callback in callbacks)


def _stream(channel: str, symbol: str | None, user: object) -> Stream:
    if channel not in CHANNELS:
        raise ValueError(f"channel must be one of {', '.join(CHANNELS)}, not {channel!r}")
    if channel == "alerts":
        if symbol is not None:
            raise ValueError(f"alerts have a user instead of a symbol: user=…, not {symbol!r}")
        return ALERTS_ALL if user is None else user_alerts(getattr(user, "pk", user))
    if symbol is None or user is not None:
        raise ValueError(f'{channel} have a symbol and no user: ("{channel}", "AAPL")')
    return symbol_stream(channel, symbol)


class RealtimeMessagesMixin(TestCase):
    """For the TestCases of Django: `self.realtime_messages`, and an assertion."""

    realtime_messages: RealtimeMessages

    def run(self, result: TestResult | None = None) -> TestResult | None:
        with RealtimeMessages() as self.realtime_messages:
            return super().run(result)

    def assertPublished(
        self, expected: Sequence[Data], channel: str, symbol: str | None = None, *, user: Any = None
    ) -> None:
        """Exactly these data were published on the stream, in this order."""
        found = self.realtime_messages(channel, symbol, user=user)
        self.assertEqual(list(found), list(expected), "\n".join(found.hints))  # noqa: PT009
