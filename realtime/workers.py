"""Signs of life of background workers: which ones run where, their last steps and their lags.

A worker notes each step in memory. Its process writes the notes of all its workers to Redis every
BEAT_SECONDS, and they expire after EXPIRY_SECONDS. So a worker that hangs has an old step; a
process that hangs or was killed has old notes, and then none.
"""

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from redis.exceptions import RedisError

from realtime.delivery.layers import RedisLoopLayer, current_layer, shared_layer
from realtime.delivery.publisher import BackendUnavailable
from realtime.delivery.totals import publish_as

logger = logging.getLogger(__name__)

# Seconds between two writes of a process, and how long each write is kept.
BEAT_SECONDS: Final = 2.0
EXPIRY_SECONDS: Final = 60.0
# A step that takes longer than this, or notes that are older, mean that the worker hangs.
HUNG_SECONDS: Final = 20.0
# Seconds for removing the notes of a process that ends; without it they expire.
_LEAVE_SECONDS: Final = 0.3
# Processes that are read; there are a few.
_MAX_PROCESSES: Final = 500


class _Note(msgspec.Struct):
    """One worker, as its process writes it. Ages in seconds; `rest` null: for any time."""

    worker: str
    steps: int
    restarts: int
    lag: float | None
    step_age: float
    rest: float | None
    done: int = 0  # earlier versions do not write it


class _Notes(msgspec.Struct):
    host: str
    pid: int
    workers: list[_Note]


_decoder: Final = msgspec.json.Decoder(_Notes)


class Worker:
    """One worker of this process: notes its steps."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.restarts = 0
        self.done = 0
        self._steps = 0
        self._lag: float | None = None
        self._rest: float | None = 0.0
        self._stepped_at = time.monotonic()

    def step(self, lag: float | None, rest: float | None) -> None:
        self._steps += 1
        self._rest = rest
        self._stepped_at = time.monotonic()
        if lag is not None:
            self._lag = lag

    def note(self) -> _Note:
        age = time.monotonic() - self._stepped_at
        return _Note(self.name, self._steps, self.restarts, self._lag, age, self._rest, self.done)


_current: Final[ContextVar[Worker | None]] = ContextVar("worker", default=None)


def run_as(worker: Worker) -> None:
    """From here on, steps in this task and those that it starts are steps of this worker."""
    _current.set(worker)
    publish_as("worker")


def step(*, lag: float | None = None, rest: float | None = 0.0) -> None:
    """The running worker is alive: a step is done.

    `lag`: by how many seconds it is behind; None: as before. `rest`: the next step is due in so
    many seconds; None: whenever there is something to do.
    """
    worker = _current.get()
    if worker is not None:
        worker.step(lag, rest)


def did(number: int) -> None:
    """The running worker has handled so many updates, predictions or deliveries."""
    worker = _current.get()
    if worker is not None:
        worker.done += number


def process_name() -> str:
    """This process, for people: `host:pid`."""
    return f"{socket.gethostname()}:{os.getpid()}"


# Written by the process of the workers ------------------------------------------------------------


@asynccontextmanager
async def reporting(names: Iterable[str]) -> AsyncIterator[dict[str, Worker]]:
    """Workers of these names, whose notes are written to Redis meanwhile, and removed behind it."""
    workers = {name: Worker(name) for name in names}
    layer = current_layer()
    if not isinstance(layer, RedisLoopLayer):
        yield workers
        return
    writing = asyncio.create_task(_write_on(layer, workers))
    try:
        yield workers
    finally:
        writing.cancel()
        await asyncio.wait([writing])
        with contextlib.suppress(BackendUnavailable, TimeoutError):
            async with asyncio.timeout(_LEAVE_SECONDS):
                await _remove(layer)


async def _write_on(layer: RedisLoopLayer, workers: dict[str, Worker]) -> None:
    while True:
        try:
            await _write(layer, [worker.note() for worker in workers.values()])
        except BackendUnavailable as exc:
            logger.debug("signs of life not written: %s", exc)
        await asyncio.sleep(BEAT_SECONDS)


async def _write(layer: RedisLoopLayer, notes: list[_Note]) -> None:
    text = msgspec.json.encode(_Notes(socket.gethostname(), os.getpid(), notes)).decode()
    process, milliseconds = layer.local.process, int(EXPIRY_SECONDS * 1000)
    index = _index(layer.prefix)
    await layer.execute_all(
        [
            ("SET", _key(layer.prefix, process), text, "PX", milliseconds),
            ("ZADD", index, time.time() + EXPIRY_SECONDS, process),
            ("PEXPIRE", index, milliseconds),
        ]
    )


async def _remove(layer: RedisLoopLayer) -> None:
    process = layer.local.process
    await layer.execute_all(
        [("DEL", _key(layer.prefix, process)), ("ZREM", _index(layer.prefix), process)]
    )


def _key(prefix: str, process: str) -> str:
    return f"{prefix}:worker:{process}"


def _index(prefix: str) -> str:
    return f"{prefix}:workers"


# Read by anybody ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WorkerState:
    """One worker of one process. `seen` and `step_age`: seconds since its last notes and step."""

    worker: str
    host: str
    pid: int
    steps: int
    restarts: int
    lag: float | None
    step_age: float
    rest: float | None
    seen: float
    done: int = 0

    @property
    def process(self) -> str:
        return f"{self.host}:{self.pid}"

    @property
    def hangs(self) -> bool:
        overdue = 0.0 if self.rest is None else self.step_age - self.rest
        return max(overdue, self.seen) > HUNG_SECONDS


def read_workers() -> list[WorkerState]:
    """All workers that have been seen lately, by name; none without Redis.

    Raises BackendUnavailable.
    """
    layer = shared_layer()
    if layer is None:
        return []
    try:
        found = _read(layer.sync_client, layer.prefix)
    except (RedisError, OSError) as exc:
        raise BackendUnavailable(exc) from exc
    states = [state for text, left in found for state in _states(text, left)]
    return sorted(states, key=lambda state: (state.worker, state.host, state.pid))


def _read(client: Any, prefix: str) -> list[tuple[bytes, int]]:
    """The notes of each process, and for how many more milliseconds they are kept."""
    index = _index(prefix)
    client.zremrangebyscore(index, "-inf", time.time())
    with client.pipeline(transaction=False) as pipeline:
        processes: list[bytes] = client.zrange(index, 0, _MAX_PROCESSES - 1)
        for process in processes:
            key = _key(prefix, process.decode())
            pipeline.get(key)
            pipeline.pttl(key)
        answers = pipeline.execute()
    pairs = zip(answers[::2], answers[1::2], strict=True)
    return [(text, left) for text, left in pairs if text is not None and left >= 0]


def _states(text: bytes, left: int) -> list[WorkerState]:
    # By what is left of the time, so that the clocks of the machines need not agree.
    seen = max(0.0, EXPIRY_SECONDS - left / 1000)
    try:
        notes = _decoder.decode(text)
    except msgspec.MsgspecError:
        return []  # of another version
    return [_state(notes, each, seen) for each in notes.workers]


def _state(notes: _Notes, note: _Note, seen: float) -> WorkerState:
    return WorkerState(
        worker=note.worker,
        host=notes.host,
        pid=notes.pid,
        steps=note.steps,
        restarts=note.restarts,
        lag=note.lag,
        step_age=note.step_age + seen,
        rest=note.rest,
        seen=seen,
        done=note.done,
    )
