"""One symbol as an engine follows it: state machine, positions, uncommitted changes."""

import logging
import time
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from heapq import merge

from realtime.alerts.evaluator import Fired, SymbolMachine, TimedUpdate
from realtime.alerts.firing import Draft, draft
from realtime.alerts.progress import Moved, Saved
from realtime.alerts.rule_state import Rule
from realtime.conf import conf
from realtime.delivery.layers import StreamLayer
from realtime.delivery.stream_state import Page
from realtime.delivery.updates import Update
from realtime.protocol import Position, update_time
from realtime.streams import Channel, Stream

logger = logging.getLogger(__name__)


class Tracked:
    """`channels` are those that rules read, `drafts` the alerts fired since the last commit."""

    def __init__(self, layer: StreamLayer, symbol: str, saved: Saved) -> None:
        self.symbol = symbol
        self.machine = SymbolMachine(symbol, saved.state)
        self.positions = dict(saved.positions)
        self.fence = saved.fence
        self.changed = False
        self.committed_at = 0.0  # on the clock of `time.monotonic`
        self.drafts: list[Draft] = []
        self._fired: Counter[Hashable] = Counter()  # by owner, since the last commit
        self._layer = layer
        self._saved = saved.rules
        self._followed: dict[int, int] = {}  # revisions of rules, by id

    def follow(self, rules: Iterable[Rule]) -> None:
        """Replace the rules by these; an unchanged rule keeps its state."""
        wanted = {rule.id: rule for rule in rules}
        for id in self._followed.keys() - wanted.keys():
            del self._followed[id]
            self.machine.drop(id)
        for id, rule in wanted.items():
            if self._followed.get(id) != rule.revision:
                self._followed[id] = rule.revision
                self.put(rule)

    def put(self, rule: Rule) -> None:
        saved = self._saved.pop((rule.id, rule.revision), None)
        try:
            self.machine.put(rule, saved)
        except Exception as exc:  # a state that another program has written
            self.machine.fail(rule, exc)

    # Updates ----------------------------------------------------------------------------------

    def take(self, update: Update) -> None:
        """Evaluate an update, unless that was done before."""
        at = self.positions.get(update.stream.channel)
        if at is not None and (update.epoch != at.epoch or update.offset > at.offset):
            self._evaluate(update)

    async def missing_before(self, update: Update) -> list[Update]:
        """The updates before this one that have not arrived; raises BackendUnavailable."""
        channel = update.stream.channel
        at = self.positions.get(channel)
        if at is None or (update.epoch == at.epoch and update.offset <= at.offset + 1):
            return []
        missed = await self._missed(channel)
        return [
            each for each in missed
            if each.epoch != update.epoch or each.offset < update.offset
        ]  # fmt: skip

    async def catch_up(self) -> None:
        """Everything that the history holds beyond the positions; raises BackendUnavailable."""
        missed = [await self._missed(channel) for channel in self.positions]
        # The updates of two streams, in the order of their publication.
        for update in merge(*missed, key=lambda update: update_time(update.body)):
            self._evaluate(update)
        self.advance(0)  # raises if the stored state is inconsistent

    async def _missed(self, channel: Channel) -> list[Update]:
        stream = Stream(channel, self.symbol)
        length = conf.REALTIME_HISTORY_LENGTH[channel]
        page = await self._layer.read_newest(stream, length)
        known = page.known(self.positions[channel])
        missed = page.after(self.positions[channel])
        lost = page.offset - known - len(missed)
        if lost > 0:
            logger.warning(
                "%d updates of %s after offset %d are no longer held: alert rules missed them",
                lost, stream.group, known,
            )  # fmt: skip
        return missed

    def _evaluate(self, update: Update) -> None:
        channel = update.stream.channel
        at = milliseconds_of(update)
        position = Position(update.epoch, update.offset)
        before = self.positions[channel]
        for fired in self.machine.update(TimedUpdate(channel, at, update.data)):
            # Changes by time alone happened before this update.
            self._draft(fired, channel, before if fired.timed else position)
        self.positions[channel] = position
        self.changed = True

    def is_due(self, now: int) -> bool:
        due = self.machine.due
        return due is not None and due <= now

    def advance(self, now: int) -> None:
        """Advance the clock, for conditions that wait for a time."""
        if not self.is_due(now):
            return
        channel, position = next(iter(self.positions.items()))
        for fired in self.machine.advance(now):
            self._draft(fired, channel, position)
        self.changed = True

    def _draft(self, fired: Fired, channel: Channel, position: Position) -> None:
        """One draft more than may be stored shows that there are more; the rest is not made."""
        limit: int = conf.REALTIME_ALERTS_PER_USER_PER_MINUTE
        self._fired[fired.rule.owner_id] += 1
        if limit and self._fired[fired.rule.owner_id] > limit + 1:
            return
        try:
            self.drafts.append(draft(fired, channel, position))
        except Exception as exc:
            self.machine.fail(fired.rule, exc)

    def failed(self) -> list[tuple[Rule, Exception]]:
        """The rules that could not be evaluated since the last call."""
        failed = self.machine.failed
        if failed:
            self.machine.failed = []
        return failed

    # Commits ----------------------------------------------------------------------------------

    def moved(self) -> Moved:
        """The changes to commit; call `committed` afterwards."""
        dirty = self.machine.dirty
        self.machine.dirty = {}
        return Moved(
            symbol=self.symbol,
            fence=self.fence,
            positions=dict(self.positions),
            state=self.machine.as_data(),
            rules={
                (state.rule.id, state.rule.revision): state.as_data() for state in dirty.values()
            },
        )

    def committed(self) -> None:
        self.fence += 1
        self.committed_at = time.monotonic()
        self.changed = False
        self.drafts.clear()
        self._fired.clear()


def first_position(page: Page, since: int) -> Position:
    """Where a new stream begins: at its first update after `since`.

    The update before is included, so that the previous value is known.
    """
    later = [update for update in page.updates if milliseconds_of(update) >= since]
    first = later[0].offset if later else page.offset + 1
    return Position(page.epoch, max(0, first - 2))


def milliseconds_of(update: Update) -> int:
    """When it was published."""
    return round(update_time(update.body).timestamp() * 1000)


def with_channels(
    positions: Mapping[Channel, Position], wanted: set[Channel], found: Mapping[Channel, Position]
) -> dict[Channel, Position]:
    """Positions of the wanted channels: as they were, else as they are now."""
    return {channel: positions.get(channel) or found[channel] for channel in sorted(wanted)}
