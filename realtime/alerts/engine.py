"""The engine: follows the streams that rules name, evaluates rules, stores alerts and sends them.

Alerts are committed with the positions of the streams before they are sent, so a process that is
killed anywhere continues without omitting or repeating anything. Several engines share
the symbols among themselves.

One user's rule may concern thousands of symbols. They are taken up, committed and released in
slices, and all other work gets its turn after each slice: narrow rules come before wide ones, users
with few firings before users with many.

A rule or symbol that cannot be evaluated or stored is set aside alone, and everything else
continues. The engine retries only while a backend is away.
"""

import asyncio
import contextlib
import logging
import time
import uuid
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Final, TypeVar

from django.db import Error as DatabaseError
from django.db import IntegrityError

from realtime import workers
from realtime.alerts import progress
from realtime.alerts.engines import BEAT_SECONDS, Members
from realtime.alerts.followed_symbol import Tracked, first_position, with_channels
from realtime.alerts.inbox import PUBLISHING_SECONDS, escalate, prune
from realtime.alerts.progress import NEW, Commit, Overtaken, Problem, Saved
from realtime.alerts.rule_editing import RULES_GROUP
from realtime.alerts.rule_index import RuleIndex
from realtime.alerts.rule_state import Rule
from realtime.alerts.sending import PATIENCE, resend, send, store_late
from realtime.alerts.waiting import Waiting
from realtime.aside import set_aside
from realtime.cancelling import cancel, run_until
from realtime.conf import conf
from realtime.db import shared_thread
from realtime.delivery.follow import Lost, subscribe
from realtime.delivery.layers import StreamLayer, required_layer
from realtime.delivery.publisher import BackendUnavailable
from realtime.delivery.updates import Update
from realtime.models import Alert
from realtime.protocol import Position
from realtime.retry import Retry, Stopped, set_within
from realtime.streams import WILDCARD, Channel, Stream

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Updates that the queue holds, and updates that are evaluated before the next commit.
MAX_WAITING: Final = 5000
BATCH: Final = 1000
# Seconds of evaluation before the next commit: the lease must be renewed in time.
BATCH_SECONDS: Final = 0.3
# Symbols in one transaction: SQLite has one writer, and others wait for it.
SLICE: Final = 30
# Seconds of taking up symbols, or of committing, before all other work gets its turn.
SLICE_SECONDS: Final = 0.05
# Seconds between two changes of the set of streams, while symbols are being taken up.
FOLLOW_SECONDS: Final = 1.0
# Seconds between two commits while nothing fires; uncommitted updates are evaluated again after a
# crash.
FLUSH_SECONDS: Final = 0.5
# Seconds between two polls for changed rules, in addition to announcements.
POLL_SECONDS: Final = 0.7
# Seconds after which all rules are compared, changed or not.
REREAD_SECONDS: Final = 60.0
# Seconds by which time-based conditions are evaluated late, after updates in transit.
GRACE_SECONDS: Final = 0.25
# The same under overload, for symbols without waiting updates.
BUSY_GRACE_SECONDS: Final = 2.0
# The same after an outage of Redis: missed updates are evaluated first.
SETTLE_SECONDS: Final = 2.0
# Seconds after which a symbol that was set aside is tried again.
ASIDE_SECONDS: Final = 600.0
# Seconds between two deletions of old alerts.
PRUNE_SECONDS: Final = 3600.0
# Seconds until symbols are read again after another engine has committed one of them.
_OVERTAKEN_SECONDS: Final = 0.3
# Seconds for telling the other engines that this one ends; without it they notice when its lease
# ends.
_LEAVE_SECONDS: Final = 0.3


async def run_alerts(stop: asyncio.Event) -> None:
    """Evaluate alert rules until `stop` is set; any number of processes may.

    Raises ImproperlyConfigured with a channel layer without streams.
    """
    await run_until(stop, _run(stop, required_layer()))


async def _run(stop: asyncio.Event, layer: StreamLayer) -> None:
    members = Members(layer, uuid.uuid4().hex[:12])
    aside: dict[str, float] = {}
    try:
        while not stop.is_set():
            try:
                await _Engine(stop, layer, members, aside).run()
            except Overtaken as exc:
                logger.info("%s; reading it again", exc)
                await set_within(stop, _OVERTAKEN_SECONDS)
    except Stopped:
        pass
    finally:
        with contextlib.suppress(BackendUnavailable, TimeoutError):
            async with asyncio.timeout(_LEAVE_SECONDS):
                await members.leave()
        await shared_thread.close()


class _Engine:
    """One run: from the stored state until `stop`, or until another engine overtakes it."""

    def __init__(
        self, stop: asyncio.Event, layer: StreamLayer, members: Members, aside: dict[str, float]
    ) -> None:
        self.stop = stop
        self.aside = aside  # symbols, and until when
        self.layer = layer
        self.members = members
        self.index = RuleIndex()
        self.tracked: dict[str, Tracked] = {}
        self.waiting = Waiting()
        self.arrived = asyncio.Event()
        self.room = asyncio.Event()
        self.rules_changed = True
        self.wanted: set[str] = set()
        # Symbols to take up, to release, or with changed rules; symbols of narrow rules first.
        self.unsettled: OrderedDict[str, None] = OrderedDict()
        self.sent: list[str] = []
        self.streams: set[Stream] = set()
        self.reading: asyncio.Task[None] | None = None
        self.joining: asyncio.Task[set[Stream]] | None = None
        self.channels: list[str] = []  # those that hold what is read, or will be
        self.moved = False  # are there other streams to be read?
        self.fingerprint: progress.Fingerprint | None = None
        self.retry = Retry(stop, outages=(DatabaseError, BackendUnavailable))
        self._unreadable: dict[int, int] = {}  # revisions of rules that cannot be read, by id
        self._flushed = self._polled = self._beaten = -1000.0
        self._settled = 0.0
        self._pruned = -PRUNE_SECONDS
        self._followed = -FOLLOW_SECONDS
        self._read_at = 0.0

    async def run(self) -> None:
        """Raises Overtaken, Stopped."""
        channel = await self.layer.new_channel()
        self.layer.attach(channel, lambda message: self._hear_of_rules())
        try:
            await self._wait_out(partial(self.layer.group_add, RULES_GROUP, channel))
            while not self.stop.is_set():
                await self._maintain()
                await self._settle_some()
                await self._follow()
                await self._evaluate()
            await self._commit_all()
        finally:
            if self.joining is not None:
                await cancel(self.joining)
            await self._stop_reading()
            self._release(tuple(self.channels))
            self.layer.detach(channel)

    def _hear_of_rules(self) -> None:
        self.rules_changed = True
        self.arrived.set()

    async def _wait_out(self, operation: Callable[[], Awaitable[T]]) -> T:
        return await self.retry.until_done(operation)

    # Evaluating -------------------------------------------------------------------------------

    async def _evaluate(self) -> None:
        """Evaluate updates that have arrived, or times that are due; commit if anything fired."""
        if self.waiting or self.unsettled:
            await asyncio.sleep(0)  # let the readers run
        else:
            self.arrived.clear()
            await set_within(self.arrived, self._patience())
        began = time.monotonic()
        workers.step(lag=self.waiting.lag())
        for _ in range(min(BATCH, len(self.waiting))):
            await self._take(*self.waiting.take())
            workers.did(1)
            if time.monotonic() - began > BATCH_SECONDS:
                break
        self.room.set()
        if time.monotonic() > self._settled and len(self.waiting) < MAX_WAITING:
            grace = BUSY_GRACE_SECONDS if self.waiting else GRACE_SECONDS
            now = int((time.time() - grace) * 1000)
            for tracked in tuple(self.tracked.values()):
                if tracked.symbol in self.waiting or not tracked.is_due(now):
                    continue
                try:
                    if self._in_line(tracked):
                        tracked.advance(now)
                except Exception as exc:
                    await self._set_aside(tracked.symbol, exc)
        for tracked in tuple(self.tracked.values()):
            for rule, cause in tracked.failed():
                await self._note(Problem(tracked.symbol, rule.id, cause))
        await self._commit()

    def _patience(self) -> float:
        """Seconds until something is due."""
        soonest = FLUSH_SECONDS / 2
        now = (time.time() - GRACE_SECONDS) * 1000
        for tracked in self.tracked.values():
            due = tracked.machine.due
            if due is not None:
                soonest = min(soonest, (due - now) / 1000)
        return max(0.005, soonest)

    async def _take(self, update: Update, looked: bool) -> None:
        """Evaluate an update, after any missing updates before it."""
        symbol, channel = update.stream.symbol, update.stream.channel
        tracked = self.tracked.get(symbol)
        if tracked is not None:
            # Otherwise the symbol is taken up soon, and the update is found in its history.
            if self._in_line(tracked):
                await self._apart(symbol, self._evaluate_one(tracked, update, looked))
        elif (
            channel in self.index.channels(symbol)
            and not self._is_aside(symbol)
            and self.members.own(symbol)
        ):
            self.wanted.add(symbol)
            self.unsettled[symbol] = None
            self.unsettled.move_to_end(symbol, last=False)

    async def _evaluate_one(self, tracked: Tracked, update: Update, looked: bool) -> None:
        missing = []
        if not looked:
            missing = await self._wait_out(partial(tracked.missing_before, update))
        if missing:
            self.waiting.put_first([*missing, update])
        else:
            tracked.take(update)

    # Committing -------------------------------------------------------------------------------

    async def _commit(self) -> None:
        """Store what has fired and, when due, all other changes; raises Overtaken.

        Stores slices for a limited time; the rest follows after the next updates.
        """
        part = self._fired()
        now = time.monotonic()
        if now - self._flushed > FLUSH_SECONDS:
            self._flushed = now
            quiet = (each for each in self.tracked.values() if each.changed and not each.drafts)
            part += sorted(quiet, key=lambda tracked: tracked.committed_at)
            if self.sent and not part:
                await self._store(())
        for begin in range(0, len(part), SLICE):
            await self._store(part[begin : begin + SLICE])
            if time.monotonic() - now > SLICE_SECONDS:
                break

    def _fired(self) -> list[Tracked]:
        """What has fired, first for users with few firings."""
        fired = [tracked for tracked in self.tracked.values() if tracked.drafts]
        owners = Counter(draft.owner_id for tracked in fired for draft in tracked.drafts)
        return sorted(
            fired, key=lambda tracked: min(owners[draft.owner_id] for draft in tracked.drafts)
        )

    async def _commit_all(self) -> None:
        while changed := [each for each in self.tracked.values() if each.changed]:
            await self._store(changed[:SLICE])
        if self.sent:
            await self._store(())

    async def _store(self, changed: Sequence[Tracked]) -> None:
        """Commit one transaction, send what has fired, then leave as much time to other writers."""
        began = time.monotonic()
        alerts = await self._write(changed)
        took = time.monotonic() - began
        self.sent = await send(alerts) if alerts else []
        if len(changed) == SLICE:
            await asyncio.sleep(min(took, SLICE_SECONDS))

    async def _write(self, changed: Sequence[Tracked]) -> list[Alert]:
        parts = [Commit([tracked.moved()], list(tracked.drafts)) for tracked in changed]
        try:
            alerts = await self._stored(Commit.of(parts, self.sent))
        except (Stopped, Overtaken):
            raise
        except Exception as exc:
            logger.warning("a commit failed, so each symbol is committed by itself: %s", exc)
            return await self._write_each(changed, parts)
        for tracked in changed:
            tracked.committed()
        return alerts

    async def _write_each(self, changed: Sequence[Tracked], parts: list[Commit]) -> list[Alert]:
        alerts = await self._stored(Commit(sent=self.sent))
        for tracked, part in zip(changed, parts, strict=True):
            stored = await self._apart(tracked.symbol, self._stored(part))
            if stored is not None:
                tracked.committed()
                alerts += stored
        return alerts

    async def _stored(self, commit: Commit) -> list[Alert]:
        return await self._wait_out(partial(shared_thread.run(progress.write), commit))

    # Setting aside ----------------------------------------------------------------------------

    async def _apart(self, symbol: str, work: Awaitable[T]) -> T | None:
        """Run work on one symbol; on a failure, set the symbol aside for a while."""
        try:
            return await work
        except (Stopped, Overtaken):
            raise
        except Exception as exc:
            await self._set_aside(symbol, exc)
            return None

    async def _set_aside(self, symbol: str, exc: Exception) -> None:
        self.tracked.pop(symbol, None)
        self.aside[symbol] = time.monotonic() + ASIDE_SECONDS
        await self._note(Problem(symbol, None, exc))

    def _is_aside(self, symbol: str) -> bool:
        return time.monotonic() < self.aside.get(symbol, 0.0)

    async def _note(self, problem: Problem) -> None:
        logger.error("%s; it is set aside", problem)
        with contextlib.suppress(IntegrityError):  # the rule was deleted meanwhile
            await self._wait_out(partial(shared_thread.run(progress.note), problem))

    # Rules, engines, leftovers ----------------------------------------------------------------

    async def _maintain(self) -> None:
        if self.reading is not None and self.reading.done():
            self.reading.result()  # it ends only with an error: the caller restarts it
        now = time.monotonic()
        moved = False
        if now - self._beaten >= BEAT_SECONDS:
            self._beaten = now
            moved = await self._beat()
        if self.rules_changed or now - self._polled >= POLL_SECONDS:
            self._polled, self.rules_changed = now, False
            moved = await self._read_rules() or moved
        if moved:
            await self._choose_symbols()
            self.moved = True

    async def _beat(self) -> bool:
        try:
            changed = await self.members.beat()
            alone = len(self.members.names) == 1 and self.members.names[0] == self.members.name
            patience = 0.0 if alone and not self.streams else PATIENCE
            again = resend(self.layer, patience=patience, published=PUBLISHING_SECONDS)
            await self._chore("sending alerts again", again)
            await self._chore("storing alerts late", store_late(self.layer))
            await self._chore("escalating alerts", shared_thread.run(escalate)())
            due = time.monotonic() - self._pruned > PRUNE_SECONDS
            if due and not await self._chore("pruning alerts", shared_thread.run(prune)()):
                self._pruned = time.monotonic()
        except (BackendUnavailable, DatabaseError):
            self._settled = time.monotonic() + SETTLE_SECONDS
            return False
        return changed

    async def _chore(self, name: str, work: Awaitable[T]) -> T | None:
        """Background work: when it fails, rules still fire."""
        done: list[T] = []
        with set_aside(name):
            done.append(await work)
        return done[0] if done else None

    async def _read_rules(self) -> bool:
        """Apply changed rules; True if they may concern other symbols."""
        fingerprint = await self._wait_out(shared_thread.run(progress.fingerprint))
        read = time.monotonic()
        # A user who was deactivated changes no rule.
        if fingerprint == self.fingerprint and read - self._read_at < REREAD_SECONDS:
            return False
        self._read_at = read
        live = await self._wait_out(shared_thread.run(progress.live_revisions))
        gone = [id for id in self.index.rules if id not in live]
        known = {id: rule.revision for id, rule in self.index.rules.items()} | self._unreadable
        new = [id for id, revision in live.items() if known.get(id) != revision]
        rules, problems = await self._wait_out(partial(shared_thread.run(progress.load_rules), new))
        for problem in problems:
            await self._note(problem)
            if problem.rule_id is not None:
                gone.append(problem.rule_id)
                self._unreadable[problem.rule_id] = live[problem.rule_id]
        changed = [rule for id in gone if (rule := self.index.drop(id)) is not None]
        for rule in rules:
            if (before := self.index.drop(rule.id)) is not None:
                changed.append(before)
            self._unreadable.pop(rule.id, None)
            self.index.put(rule)
        self.fingerprint = fingerprint
        self._unsettle([*changed, *rules])
        return True

    def _unsettle(self, rules: Sequence[Rule]) -> None:
        """Mark the symbols of these rules as unsettled, symbols of narrow rules first."""
        named = sorted(
            (rule.definition.symbols for rule in rules if not rule.definition.every_symbol),
            key=len,
        )
        first = OrderedDict.fromkeys(symbol for symbols in named for symbol in symbols)
        every = any(rule.definition.every_symbol for rule in rules)
        self.unsettled = first | self.unsettled | dict.fromkeys(self.tracked if every else ())

    # Symbols ----------------------------------------------------------------------------------

    async def _choose_symbols(self) -> None:
        """Choose the symbols to follow: those that rules name and that this engine owns."""
        self.wanted = await self._wanted_symbols()
        for symbol in (*self.tracked, *self.wanted):
            if self._is_misplaced(symbol):
                self.unsettled.setdefault(symbol)

    async def _wanted_symbols(self) -> set[str]:
        symbols = set(self.index.symbols)
        for channel in self.index.wildcards:
            streams = await self._wait_out(partial(self.layer.find_streams, channel))
            symbols.update(stream.symbol for stream in streams)
        return {
            symbol for symbol in symbols if self.members.own(symbol) and not self._is_aside(symbol)
        }

    def _is_misplaced(self, symbol: str) -> bool:
        """Must the symbol be taken up (perhaps with other channels) or released?"""
        tracked = self.tracked.get(symbol)
        if symbol not in self.wanted:
            return tracked is not None
        return tracked is None or set(tracked.positions) != self.index.channels(symbol)

    def _in_line(self, tracked: Tracked) -> bool:
        """Give a symbol its current rules; False if its channels have changed."""
        if tracked.symbol not in self.unsettled:
            return True
        if self._is_misplaced(tracked.symbol):
            return False
        tracked.follow(self.index.of(tracked.symbol))
        del self.unsettled[tracked.symbol]
        return True

    async def _settle_some(self) -> None:
        began = time.monotonic()
        while self.unsettled and time.monotonic() - began < SLICE_SECONDS:
            await self._settle(list(islice(self.unsettled, SLICE)))

    async def _settle(self, part: Sequence[str]) -> None:
        """Take up these symbols, release them, or give them their current rules."""
        misplaced = [symbol for symbol in part if self._is_misplaced(symbol)]
        self.moved = self.moved or bool(misplaced)
        held = [self.tracked[symbol] for symbol in misplaced if symbol in self.tracked]
        if any(tracked.changed for tracked in held):
            await self._store([tracked for tracked in held if tracked.changed])
        await self._leave([symbol for symbol in misplaced if symbol not in self.wanted])
        arriving = [symbol for symbol in misplaced if symbol in self.wanted]
        late = set(arriving) - set(await self._take_up(arriving))
        for symbol in part:
            if symbol not in late:
                self.unsettled.pop(symbol, None)
                if (tracked := self.tracked.get(symbol)) is not None:
                    tracked.follow(self.index.of(symbol))

    async def _leave(self, symbols: Sequence[str]) -> None:
        left = [self.tracked.pop(symbol) for symbol in symbols if symbol in self.tracked]
        unnamed = {
            tracked.symbol: tracked.fence
            for tracked in left
            if not self.index.channels(tracked.symbol)
        }
        if unnamed:
            await self._wait_out(partial(shared_thread.run(progress.forget_symbols), unnamed))

    async def _take_up(self, symbols: Sequence[str]) -> Sequence[str]:
        """Take up symbols where the last commit left them; returns those for which there was time.

        A symbol that fails is set aside. Raises Stopped.
        """
        if not symbols:
            return ()
        try:
            found = await self._begin(symbols)
        except (Stopped, Overtaken):
            raise
        except Exception as exc:
            if len(symbols) > 1:
                return [each for symbol in symbols for each in await self._take_up([symbol])]
            await self._set_aside(symbols[0], exc)
            return symbols
        for symbol, saved in found.items():
            await self._apart(symbol, self._catch_up(symbol, saved))
        return list(found)

    async def _catch_up(self, symbol: str, saved: Saved) -> None:
        tracked = self.tracked[symbol] = Tracked(self.layer, symbol, saved)
        tracked.follow(self.index.of(symbol))
        await self._wait_out(tracked.catch_up)

    async def _begin(self, symbols: Sequence[str]) -> dict[str, Saved]:
        """Symbols with a position in each channel that rules read; new symbols are stored."""
        began = time.monotonic()
        held = await self._wait_out(partial(shared_thread.run(progress.load_symbols), symbols))
        found: dict[str, Saved] = {}
        for symbol in symbols:
            if found and time.monotonic() - began > SLICE_SECONDS:
                break
            saved = held.get(symbol, NEW)
            positions = await self._positions(symbol, saved.positions)
            found[symbol] = replace(saved, positions=positions)
        new = {symbol: saved.positions for symbol, saved in found.items() if symbol not in held}
        if new:
            await self._wait_out(partial(shared_thread.run(progress.begin_symbols), new))
        return found

    async def _positions(
        self, symbol: str, held: Mapping[Channel, Position]
    ) -> dict[Channel, Position]:
        wanted = self.index.channels(symbol)
        found: dict[Channel, Position] = {}
        for channel in wanted - set(held):
            length = conf.REALTIME_HISTORY_LENGTH[channel]
            read = partial(self.layer.read_newest, Stream(channel, symbol), length)
            since = min(rule.since for rule in self.index.of(symbol))
            found[channel] = first_position(await self._wait_out(read), since)
        return with_channels(held, wanted, found)

    # Reading ----------------------------------------------------------------------------------

    async def _follow(self) -> None:
        """Read the streams that rules use; the current reader continues until these are joined."""
        if self.joining is not None:
            if not self.joining.done():
                return
            await self._read_joined(self.joining)
        now = time.monotonic()
        if not self.moved or (self.unsettled and now - self._followed < FOLLOW_SECONDS):
            return
        self._followed, self.moved = now, bool(self.unsettled)
        streams = self._wanted_streams()
        if streams != self.streams:
            channel = await self.layer.new_channel()
            self.layer.attach(channel, lambda message: None)
            self.channels.append(channel)
            self.joining = asyncio.create_task(self._join(streams, channel))

    def _wanted_streams(self) -> set[Stream]:
        # A `*` is read once its symbols are taken up: others would be read from the beginning.
        wildcards = {
            channel
            for channel in self.index.wildcards
            if not self.unsettled or Stream(channel, WILDCARD) in self.streams
        }
        streams = {Stream(channel, WILDCARD) for channel in wildcards}
        for symbol in self.index.symbols:
            tracked = self.tracked.get(symbol)
            if tracked is not None:
                names = tracked.positions.keys() - wildcards
                streams.update(Stream(channel, symbol) for channel in names)
        return streams

    async def _join(self, streams: set[Stream], channel: str) -> set[Stream]:
        """Register the streams with the layer, so that reading can begin at once."""
        for stream in streams:
            await self._wait_out(partial(self.layer.group_add, stream.group, channel))
            await self._wait_out(partial(self.layer.prepare, stream, {}))
            await asyncio.sleep(0)
        self.arrived.set()
        return streams

    async def _read_joined(self, joining: "asyncio.Task[set[Stream]]") -> None:
        self.joining = None
        self.streams = joining.result()
        await self._stop_reading()
        if self.streams:
            self.reading = asyncio.create_task(self._read(self.streams))
        self._release(self.channels[:-1])

    def _release(self, channels: Sequence[str]) -> None:
        for channel in channels:
            self.layer.detach(channel)
            self.channels.remove(channel)

    async def _read(self, streams: set[Stream]) -> None:
        since = {
            Stream(channel, symbol): place
            for symbol, tracked in self.tracked.items()
            for channel, place in tracked.positions.items()
        }
        ordered = sorted(streams, key=lambda stream: stream.group)
        async with aclosing(subscribe(ordered, since)) as items:
            async for item in items:
                if isinstance(item, Lost):
                    continue  # the next update reads the history
                self.waiting.add(item)
                self.arrived.set()
                if len(self.waiting) >= MAX_WAITING:
                    self.room.clear()
                    await self.room.wait()

    async def _stop_reading(self) -> None:
        if self.reading is not None:
            await cancel(self.reading)
            self.reading = None
        self.waiting.clear()
