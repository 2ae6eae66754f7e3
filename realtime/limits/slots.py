"""Who holds what over all processes (see limits/scripts.py), and what each says of itself."""

import contextlib
import time
from collections.abc import Mapping, Sequence

from redis.exceptions import RedisError

from realtime.delivery import history_scripts
from realtime.delivery.link import Link
from realtime.delivery.publisher import BackendUnavailable
from realtime.limits import scripts
from realtime.limits.scripts import Full

_BATCH = 500  # slots that one round trip writes


class Accounts:
    """The slots that sockets of one process hold, on the first shard."""

    def __init__(self, link: Link, prefix: str, process: str) -> None:
        self._link = link
        self._prefix = prefix
        self._process = process
        self._slots: dict[str, tuple[str, ...]] = {}
        self._written_at = time.monotonic()

    async def take_slot(self, slot: str, limits: Mapping[str, int]) -> Full | None:
        now = time.time()
        names = [history_scripts.lease_index(self._prefix)]
        names += [scripts.slots_key(self._prefix, subject) for subject in limits]
        ends = now + scripts.LEASE_SECONDS
        arguments = scripts.take_arguments(now, self._process, ends, slot, limits)
        try:
            answer = await self._link.take_script(keys=names, args=arguments)
        except (RedisError, OSError) as exc:
            raise BackendUnavailable(exc) from exc
        full = scripts.decode_taken(answer, limits)
        if full is None:
            self._slots[slot] = (*self._slots.get(slot, ()), *limits)
        return full

    async def keep_slot(
        self, slot: str, limits: Mapping[str, int], *, newest_first: bool
    ) -> Full | None:
        now = time.time()
        names = [history_scripts.lease_index(self._prefix)]
        names += [scripts.slots_key(self._prefix, subject) for subject in limits]
        arguments = scripts.keep_arguments(
            now,
            self._process,
            now + scripts.LEASE_SECONDS,
            slot,
            limits,
            newest_first=newest_first,
        )
        # First: who closes while the answer is on its way gives back what is held here.
        self._slots[slot] = tuple({**dict.fromkeys(self._slots.get(slot, ())), **limits})
        try:
            number = int(await self._link.keep_script(keys=names, args=arguments))
        except (RedisError, OSError) as exc:
            raise BackendUnavailable(exc) from exc
        subject = list(limits)[number - 1]
        return Full(subject, limits[subject], "") if number else None

    def free_slot(self, slot: str, subjects: Sequence[str]) -> None:
        held = self._slots.pop(slot, None)
        if held is None:
            return
        left = tuple(subject for subject in held if subject not in subjects)
        if left:
            self._slots[slot] = left
        self._give_back(slot, subjects)

    def _give_back(self, slot: str, subjects: Sequence[str]) -> None:
        member = f"{self._process}!{slot}"
        for subject in subjects:
            self._link.forget_result("ZREM", scripts.slots_key(self._prefix, subject), member)

    def write_slots(self) -> None:
        """Every slot held here once more, for a Redis that forgot them or was away.

        And before their accounts run out: nobody else may take a slot in them for hours.
        """
        self._written_at = time.monotonic()
        self._link.keep(self._write_slots(list(self._slots)))

    async def _write_slots(self, held: Sequence[str]) -> None:
        with contextlib.suppress(RedisError, OSError):
            for begin in range(0, len(held), _BATCH):
                await self._write_some(held[begin : begin + _BATCH])

    async def _write_some(self, held: Sequence[str]) -> None:
        now = time.time()
        accounts: dict[str, list[str]] = {}
        for slot in held:
            for subject in self._slots.get(slot, ()):
                accounts.setdefault(subject, []).append(slot)
        pipeline = self._link.redis.pipeline(transaction=False)
        for subject, taken in accounts.items():
            name = scripts.slots_key(self._prefix, subject)
            pipeline.zadd(name, {f"{self._process}!{slot}": now for slot in taken}, nx=True)
            pipeline.pexpire(name, scripts.ACCOUNT_MS)
        await pipeline.execute()
        for subject, taken in accounts.items():  # what was given back meanwhile
            for slot in taken:
                if subject not in self._slots.get(slot, ()):
                    self._give_back(slot, [subject])

    async def count(self, name: str, limit: int, seconds: float) -> float:
        key = f"{self._prefix}:count:{name}"
        try:
            wait = await self._link.count_script(keys=[key], args=[limit, int(seconds * 1000)])
        except (RedisError, OSError) as exc:
            raise BackendUnavailable(exc) from exc
        return float(wait) / 1000

    async def write_lease(self, fields: Mapping[str, int], seconds: float) -> None:
        """Publish numbers about this process that expire with it; raises BackendUnavailable."""
        key = history_scripts.lease_key(self._prefix, self._process)
        index = history_scripts.lease_index(self._prefix)
        try:
            async with self._link.redis.pipeline(transaction=True) as pipeline:
                pipeline.delete(key)
                if fields:
                    pipeline.hset(key, mapping=dict(fields))
                    pipeline.pexpire(key, int(seconds * 1000))
                    pipeline.zadd(index, {self._process: time.time() + seconds})
                else:
                    pipeline.zrem(index, self._process)
                await pipeline.execute()
        except (RedisError, OSError) as exc:
            raise BackendUnavailable(exc) from exc
        if time.monotonic() - self._written_at >= scripts.RENEW_SECONDS:
            self.write_slots()
