"""The slots of open sockets (see `scripts`) that one process holds."""

import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from realtime.delivery import history_scripts
from realtime.delivery.history_scripts import LEASE_SECONDS
from realtime.delivery.layers import RedisLoopLayer, StreamLayer
from realtime.delivery.publisher import BackendUnavailable
from realtime.limits import scripts
from realtime.limits.scripts import Full

_BATCH = 500  # slots that one round trip writes


class Slots(Protocol):
    """The slots that sockets of one process hold."""

    async def take(self, slot: str, limits: Mapping[str, int]) -> Full | None:
        """Take a slot under every subject in `limits`; None if all of them had room.

        Raises BackendUnavailable.
        """

    async def keep(
        self, slot: str, limits: Mapping[str, int], *, newest_first: bool
    ) -> Full | None:
        """Hold a slot under every subject, full or not; a Full if this slot has to go.

        Beyond a limit the newest slots go first, or the oldest. Raises BackendUnavailable.
        """

    def free(self, slot: str, subjects: Sequence[str]) -> None:
        """Give a slot back."""


def slots_of(layer: StreamLayer) -> Slots:
    return layer.part(_make_slots)


def _make_slots(layer: StreamLayer) -> Slots:
    return RedisSlots(layer) if isinstance(layer, RedisLoopLayer) else MemorySlots()


class MemorySlots:
    """Slots for a single process, without Redis."""

    def __init__(self) -> None:
        self._slots: dict[str, dict[str, None]] = {}

    async def take(self, slot: str, limits: Mapping[str, int]) -> Full | None:
        for subject, limit in limits.items():
            held = self._slots.setdefault(subject, {})
            if len(held) >= limit:
                return Full(subject, limit, next(iter(held), ""))
        for subject in limits:
            self._slots[subject][slot] = None
        return None

    async def keep(
        self, slot: str, limits: Mapping[str, int], *, newest_first: bool
    ) -> Full | None:
        beyond: Full | None = None
        for subject, limit in limits.items():
            held = self._slots.setdefault(subject, {})
            held.setdefault(slot)
            staying = list(held)[:limit] if newest_first else list(held)[-limit:]
            if slot not in staying and beyond is None:
                beyond = Full(subject, limit, "")
        return beyond

    def free(self, slot: str, subjects: Sequence[str]) -> None:
        for subject in subjects:
            self._slots.get(subject, {}).pop(slot, None)


class RedisSlots:
    """Slots on the first shard, written again when it has lost them or they are about to expire."""

    def __init__(self, layer: RedisLoopLayer) -> None:
        self._layer = layer
        self._process = layer.local.process
        self._slots: dict[str, tuple[str, ...]] = {}
        self._written_at = time.monotonic()
        layer.on_reconnect(self.write)
        layer.on_lease(self._renew)

    async def take(self, slot: str, limits: Mapping[str, int]) -> Full | None:
        now = time.time()
        arguments = scripts.take_arguments(now, self._process, now + LEASE_SECONDS, slot, limits)
        answer = await self._run(scripts.TAKE, limits, arguments)
        full = scripts.decode_taken(answer, limits)
        if full is None:
            self._slots[slot] = (*self._slots.get(slot, ()), *limits)
        return full

    async def keep(
        self, slot: str, limits: Mapping[str, int], *, newest_first: bool
    ) -> Full | None:
        now = time.time()
        arguments = scripts.keep_arguments(
            now, self._process, now + LEASE_SECONDS, slot, limits, newest_first=newest_first
        )
        # Set first: a socket that closes before the answer gives back the slots noted here.
        self._slots[slot] = tuple({**dict.fromkeys(self._slots.get(slot, ())), **limits})
        number = int(await self._run(scripts.KEEP, limits, arguments))
        subject = list(limits)[number - 1]
        return Full(subject, limits[subject], "") if number else None

    async def _run(
        self, script: str, limits: Mapping[str, int], arguments: Sequence[str | float]
    ) -> Any:
        keys = [history_scripts.lease_index(self._layer.prefix), *map(self._key, limits)]
        return await self._layer.execute("EVAL", script, len(keys), *keys, *arguments)

    def _key(self, subject: str) -> str:
        return scripts.slots_key(self._layer.prefix, subject)

    def free(self, slot: str, subjects: Sequence[str]) -> None:
        held = self._slots.pop(slot, None)
        if held is None:
            return
        left = tuple(subject for subject in held if subject not in subjects)
        if left:
            self._slots[slot] = left
        self._layer.keep(self._give_back(slot, subjects))

    async def _give_back(self, slot: str, subjects: Sequence[str]) -> None:
        member = f"{self._process}!{slot}"
        with contextlib.suppress(BackendUnavailable):
            await self._layer.execute_all(
                [("ZREM", self._key(subject), member) for subject in subjects]
            )

    def _renew(self) -> None:
        """Renew slots before their keys expire, since no new socket may do it for hours."""
        if time.monotonic() - self._written_at >= scripts.RENEW_SECONDS:
            self.write()

    def write(self) -> None:
        """Write every slot held here again, for a Redis that lost them or was away."""
        if self._process == self._layer.local.process:  # the layer was not flushed since
            self._written_at = time.monotonic()
            self._layer.keep(self._write(list(self._slots)))

    async def _write(self, held: Sequence[str]) -> None:
        with contextlib.suppress(BackendUnavailable):
            for begin in range(0, len(held), _BATCH):
                await self._write_some(held[begin : begin + _BATCH])

    async def _write_some(self, held: Sequence[str]) -> None:
        now = time.time()
        by_subject: dict[str, list[str]] = {}
        for slot in held:
            for subject in self._slots.get(slot, ()):
                by_subject.setdefault(subject, []).append(slot)
        commands: list[Sequence[str | float]] = []
        for subject, taken in by_subject.items():
            members = [part for slot in taken for part in (now, f"{self._process}!{slot}")]
            commands.append(("ZADD", self._key(subject), "NX", *members))
            commands.append(("PEXPIRE", self._key(subject), scripts.ACCOUNT_MS))
        await self._layer.execute_all(commands)
        for subject, taken in by_subject.items():  # slots that were given back meanwhile
            for slot in taken:
                if subject not in self._slots.get(slot, ()):
                    await self._give_back(slot, [subject])
