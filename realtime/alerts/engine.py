"""The engine: follows the streams that rules name, evaluates, stores what fires, and sends it.

Alerts are committed with the positions of the streams before they are sent, so a process that is
killed anywhere continues without omitting or repeating anything. Several engines share
the symbols among them.

A rule or symbol that cannot be evaluated or stored is set aside alone, and everything else
continues: only the failures of a backend that is away are waited out.
"""

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import Final, TypeVar

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import IntegrityError

from realtime.alerts import progress
from realtime.alerts.engines import BEAT_SECONDS, Members
from realtime.alerts.followed_symbol import Tracked, first_position, with_channels
from realtime.alerts.inbox import PUBLISHING_SECONDS, escalate, prune
from realtime.alerts.progress import Commit, Overtaken, Problem, Saved
from realtime.alerts.rule_editing import RULES_GROUP
from realtime.alerts.rule_index import RuleIndex
from realtime.alerts.sending import PATIENCE, resend, send, store_late
from realtime.alerts.waiting import Waiting
from realtime.aside import set_aside
from realtime.cancelling import cancel, run_until
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

# Updates that may wait here, and that are evaluated before the next commit.
MAX_WAITING: Final = 5000
BATCH: Final = 1000
# Seconds of evaluating before the next commit: the lease is to be renewed meanwhile.
BATCH_SECONDS: Final = 0.3
# Seconds between two commits while nothing fires: what was not committed is evaluated again.
FLUSH_SECONDS: Final = 0.5
# Seconds between two looks for changed rules, beside those that are announced.
POLL_SECONDS: Final = 0.7
# Seconds after which all rules are compared, changed or not.
REREAD_SECONDS: Final = 60.0
# Seconds by which time passes here later than it does: updates on their way come first.
GRACE_SECONDS: Final = 0.25
# The same while there is more to evaluate than time for it: for symbols with nothing waiting.
BUSY_GRACE_SECONDS: Final = 2.0
# Seconds for which nothing becomes due after Redis was away: what was missed comes first.
SETTLE_SECONDS: Final = 2.0
# Seconds after which a symbol that was set aside is tried again.
ASIDE_SECONDS: Final = 600.0
# Seconds between two times of deleting what is too old.
PRUNE_SECONDS: Final = 3600.0
# Seconds until symbols are read again after another engine has committed one of them.
_OVERTAKEN_SECONDS: Final = 0.3
# Seconds to tell the other engines that this one ends; they notice by themselves, only later.
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
    """One life: from what is stored, until `stop` or until another engine overtakes it."""

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
        self.sent: list[str] = []
        self.streams: set[Stream] = set()
        self.reading: asyncio.Task[None] | None = None
        self.fingerprint: progress.Fingerprint | None = None
        self.retry = Retry(stop, outages=(DatabaseError, BackendUnavailable))
        self._unreadable: dict[int, int] = {}  # revisions of rules that cannot be read, by id
        self._flushed = self._polled = self._beaten = -1000.0
        self._settled = 0.0
        self._pruned = -PRUNE_SECONDS
        self._read_at = 0.0

    async def run(self) -> None:
        """Raises Overtaken, Stopped."""
        channel = await self.layer.new_channel()
        self.layer.attach(channel, lambda message: self._hear_of_rules())
        try:
            await self._wait_out(partial(self.layer.group_add, RULES_GROUP, channel))
            while not self.stop.is_set():
                await self._maintain()
                await self._evaluate()
            await self._commit()
        finally:
            await self._stop_reading()
            self.layer.detach(channel)

    def _hear_of_rules(self) -> None:
        self.rules_changed = True
        self.arrived.set()

    async def _wait_out(self, operation: Callable[[], Awaitable[T]]) -> T:
        return await self.retry.until_done(operation)

    # Evaluating -------------------------------------------------------------------------------

    async def _evaluate(self) -> None:
        """Evaluate updates that have arrived, or times that are due; commit if anything fired."""
        if self.waiting:
            await asyncio.sleep(0)  # what reads must have its turns
        else:
            self.arrived.clear()
            await set_within(self.arrived, self._patience())
        began = time.monotonic()
        for _ in range(min(BATCH, len(self.waiting))):
            await self._take(*self.waiting.take())
            if time.monotonic() - began > BATCH_SECONDS:
                break
        self.room.set()
        if time.monotonic() > self._settled and len(self.waiting) < MAX_WAITING:
            grace = BUSY_GRACE_SECONDS if self.waiting else GRACE_SECONDS
            now = int((time.time() - grace) * 1000)
            for tracked in tuple(self.tracked.values()):
                if tracked.symbol in self.waiting:
                    continue
                try:
                    tracked.advance(now)
                except Exception as exc:
                    await self._set_aside(tracked.symbol, exc)
        fired = False
        for tracked in tuple(self.tracked.values()):
            fired = fired or bool(tracked.drafts)
            for rule, cause in tracked.failed():
                await self._note(Problem(tracked.symbol, rule.id, cause))
        if fired or time.monotonic() - self._flushed > FLUSH_SECONDS:
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
        """Evaluate an update; those before it that did not come take their turns first."""
        symbol, channel = update.stream.symbol, update.stream.channel
        tracked = self.tracked.get(symbol)
        if tracked is None:
            wanted = channel in self.index.channels(symbol) and not self._is_aside(symbol)
            if not wanted or not self.members.own(symbol):
                return
            tracked = await self._adopt(symbol)
        if tracked is not None:
            await self._apart(symbol, self._evaluate_one(tracked, update, looked))

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
        """Store what has changed, then send what has fired; raises Overtaken."""
        self._flushed = time.monotonic()
        changed = [tracked for tracked in self.tracked.values() if tracked.changed]
        if not changed and not self.sent:
            return
        alerts = await self._write(changed)
        self.sent = await send(alerts) if alerts else []

    async def _write(self, changed: list[Tracked]) -> list[Alert]:
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

    async def _write_each(self, changed: list[Tracked], parts: list[Commit]) -> list[Alert]:
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
        """Work on one symbol; when it fails, that symbol is left out for a while."""
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
            self.reading.result()  # it ends only by failing: the caller begins again
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
        """Work that no client waits for: when it fails, rules fire all the same."""
        done: list[T] = []
        with set_aside(name):
            done.append(await work)
        return done[0] if done else None

    async def _read_rules(self) -> bool:
        """Follow what was changed; True if that may concern other symbols."""
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
        for id in gone:
            self._drop(id)
        for rule in rules:
            self._drop(rule.id)
            self._unreadable.pop(rule.id, None)
            self.index.put(rule)
            for symbol, tracked in self.tracked.items():
                if symbol in rule.definition.symbols or rule.definition.every_symbol:
                    tracked.put(rule)
        self.fingerprint = fingerprint
        return True

    def _drop(self, id: int) -> None:
        if self.index.drop(id) is not None:
            for tracked in self.tracked.values():
                tracked.machine.drop(id)

    # Symbols ----------------------------------------------------------------------------------

    async def _choose_symbols(self) -> None:
        """Follow the symbols that rules name and that are this engine's; leave the others."""
        symbols = await self._wanted_symbols()
        leaving = [symbol for symbol in self.tracked if symbol not in symbols]
        if leaving:
            await self._commit()
        for symbol in leaving:
            tracked = self.tracked.pop(symbol)
            if not self.index.channels(symbol):
                forget = partial(shared_thread.run(progress.forget_symbol), symbol, tracked.fence)
                await self._wait_out(forget)
        for symbol in symbols:
            known = self.tracked.get(symbol)
            if known is None or set(known.positions) != self.index.channels(symbol):
                if known is not None:
                    await self._commit()
                await self._adopt(symbol)
        await self._follow(self._wanted_streams())

    async def _wanted_symbols(self) -> set[str]:
        symbols = set(self.index.symbols)
        for channel in self.index.wildcards:
            streams = await self._wait_out(partial(self.layer.find_streams, channel))
            symbols.update(stream.symbol for stream in streams)
        return {
            symbol for symbol in symbols if self.members.own(symbol) and not self._is_aside(symbol)
        }

    def _wanted_streams(self) -> set[Stream]:
        wildcards = self.index.wildcards
        streams = {Stream(channel, WILDCARD) for channel in wildcards}
        for symbol, tracked in self.tracked.items():
            streams.update(
                Stream(_channel(name), symbol)
                for name in tracked.positions
                if name not in wildcards
            )
        return streams

    async def _adopt(self, symbol: str) -> Tracked | None:
        """Take a symbol up where the last commit left it, unless that fails; raises Stopped."""
        return await self._apart(symbol, self._take_up(symbol))

    async def _take_up(self, symbol: str) -> Tracked:
        saved = await self._wait_out(partial(shared_thread.run(progress.load_symbol), symbol))
        saved = await self._begin(symbol, saved)
        tracked = self.tracked[symbol] = Tracked(self.layer, symbol, saved)
        for rule in self.index.of(symbol):
            tracked.put(rule)
        await self._wait_out(tracked.catch_up)
        return tracked

    async def _begin(self, symbol: str, saved: Saved | None) -> Saved:
        """The symbol with a position in each channel that rules look at, stored if it is new."""
        wanted = self.index.channels(symbol)
        held = {} if saved is None else saved.positions
        found: dict[str, Position] = {}
        for channel in wanted - set(held):
            length = settings.REALTIME_HISTORY_LENGTH[channel]
            read = partial(self.layer.read_newest, Stream(channel, symbol), length)
            since = min(rule.since for rule in self.index.of(symbol))
            found[channel] = first_position(await self._wait_out(read), since)
        positions = with_channels(held, wanted, found)
        if saved is None:
            await self._wait_out(
                partial(shared_thread.run(progress.begin_symbol), symbol, positions)
            )
            return Saved(positions, {}, 0, {})
        return Saved(positions, saved.state, saved.fence, saved.rules)

    # Reading ----------------------------------------------------------------------------------

    async def _follow(self, streams: set[Stream]) -> None:
        if streams == self.streams and self.reading is not None and not self.reading.done():
            return
        await self._stop_reading()
        self.streams = streams
        if streams:
            self.reading = asyncio.create_task(self._read(streams))

    async def _read(self, streams: set[Stream]) -> None:
        since = {
            Stream(_channel(name), symbol): place
            for symbol, tracked in self.tracked.items()
            for name, place in tracked.positions.items()
        }
        ordered = sorted(streams, key=lambda stream: stream.group)
        async with aclosing(subscribe(ordered, since)) as items:
            async for item in items:
                if isinstance(item, Lost):
                    continue  # the next update finds what is held in the history
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


def _channel(name: str) -> Channel:
    return "predictions" if name == "predictions" else "market-data"
