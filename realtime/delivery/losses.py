"""Counts updates that are lost for good, and logs them in one line for all streams."""

import asyncio
import logging
from typing import Final

from realtime.streams import Stream

logger = logging.getLogger(__name__)

# Seconds during which losses are gathered into one line of the log.
TELL_SECONDS: Final = 1.0


class Losses:
    """Gathers losses for one line in the log, since an outage affects all streams at once."""

    def __init__(self) -> None:
        self.total = 0  # updates dropped from the history before this process read them
        self._untold: dict[str, int] = {}  # updates lost since the last line, by stream
        self._timer: asyncio.TimerHandle | None = None

    def note(self, stream: Stream, updates: int) -> None:
        """Count lost updates of a stream; 0 of them if only its epoch has changed."""
        self.total += updates
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TELL_SECONDS, self._tell)
        self._untold[stream.group] = self._untold.get(stream.group, 0) + updates

    def _tell(self) -> None:
        losses, self._untold, self._timer = self._untold, {}, None
        lost = {group: updates for group, updates in losses.items() if updates}
        if lost:
            worst = max(lost, key=lambda group: lost[group])
            logger.warning(
                "%d updates of %d streams are lost, %d of them of %s",
                sum(lost.values()), len(lost), lost[worst], worst,
            )  # fmt: skip
        if len(losses) > len(lost):
            logger.warning(
                "%d streams have a new epoch without a missing update: Redis has been restarted",
                len(losses) - len(lost),
            )

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
