"""Workloads, servers and rounds, interleaved: a noisy minute hits all of them."""

import contextlib
import functools
import json
import math
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tests.bench import quiet
from tests.bench.alerts import alerts
from tests.bench.attacks import attacks
from tests.bench.drive import BenchError
from tests.bench.page import page
from tests.bench.posting import posting
from tests.bench.report import Row
from tests.bench.servers import Cores, Kind, Place
from tests.bench.slow import slow_readers
from tests.bench.workloads import (
    Rows,
    Size,
    Workload,
    bursts,
    connecting,
    one_symbol,
    predictions,
    publishing,
    queries,
)
from tests.processes import Valkey, manage

WORKLOADS: dict[str, Workload] = {
    "a": one_symbol,
    "b": bursts,
    "c": connecting,
    "d": slow_readers,
    "e": publishing,
    "f": predictions,
    "g": alerts,
    "h": attacks,
    "i": posting,
    "p": page,
}
LETTERS = "abcdefghip"
# Servers that are left out: others show the same, or they would take minutes.
LEFT_OUT: dict[str, Sequence[str]] = {
    "a": (),
    "b": ("channels", "channels-redis", "loop"),
    "c": ("ara-2", "channels-redis"),
    "d": ("ara-2", "channels", "channels-redis", "loop"),
}


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def place(keys: int, *, attacked: bool = False, posted: bool = False) -> Iterator[Place]:
    """A directory, a database with API keys and a Valkey of this run, all gone afterwards."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    available = sorted(os.sched_getaffinity(0))
    if len(available) < 2:
        raise BenchError("two cores are needed: one for the server, one for the load")
    cores = Cores(available[0], available[-1])
    os.sched_setaffinity(0, [cores.load])
    directory = Path(tempfile.mkdtemp(prefix="ara-bench-"))
    try:
        manage(directory, "migrate", "-v0", REDIS_URL="redis://127.0.0.1:1")
        with Valkey(directory / "valkey", tcp=True) as valkey:
            attack_key = make_keys(directory, 1, owner="attacker")[0] if attacked else ""
            publish_key = make_publish_key(directory) if posted else ""
            keys_of_all = make_keys(directory, keys)
            yield Place(directory, valkey, cores, keys_of_all, attack_key, publish_key)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.sched_setaffinity(0, available)


def make_keys(directory: Path, count: int, owner: str = "user") -> Sequence[str]:
    if not count:
        return ()
    code = (
        "import json; from django.contrib.auth.models import User;"
        "from realtime.models import ApiKey;"
        "users = User.objects.bulk_create("
        f"[User(username=f'{owner}{{n}}') for n in range({count})]);"
        "scopes = ['market-data', 'predictions', 'alerts'];"
        "keys = [ApiKey(owner=user, name='bench', scopes=scopes) for user in users];"
        "raw = [key.issue() for key in keys];"
        "ApiKey.objects.bulk_create(keys); print(json.dumps(raw))"
    )
    output = manage(directory, "shell", "-v0", "-c", code, REDIS_URL="redis://127.0.0.1:1").stdout
    keys: list[str] = json.loads(output.splitlines()[-1])
    return keys


def make_publish_key(directory: Path) -> str:
    arguments = ("create_api_key", "publisher", "bench", "--scope", "publish")
    code = "from django.contrib.auth.models import User; User.objects.create(username='publisher')"
    redis = "redis://127.0.0.1:1"
    manage(directory, "shell", "-v0", "-c", code, REDIS_URL=redis)
    return manage(directory, *arguments, REDIS_URL=redis).stdout.split()[-1]


class Run:
    """Collects rows; one failing server does not end the others.

    What was measured while other programs were busy is measured again, up to `retries` times.
    """

    def __init__(
        self, where: Place, size: Size, *, rounds: int, patience: float, retries: int
    ) -> None:
        self.where = where
        self.size = size
        self.rounds = rounds
        self.patience = patience
        self.retries = retries
        self.rows: list[Row] = []

    async def all(self, letters: Sequence[str], kinds: Sequence[Kind]) -> None:
        for number in range(1, self.rounds + 1):
            # Thousands of sockets take long to connect, and what they cost hardly varies.
            size = self.size if number == 1 else replace(self.size, many=0)
            for letter in letters:
                for kind in kinds:
                    if takes_part(letter, kind):
                        work = functools.partial(WORKLOADS[letter], kind, self.where, size)
                        await self._collect(letter, kind, number, work)
        ara = next((kind for kind in kinds if kind.name == "ara"), None)
        if "c" in letters and ara is not None:
            work = functools.partial(queries, ara, self.where, self.size)
            await self._collect("c", ara, self.rounds, work)

    async def _collect(
        self, letter: str, kind: Kind, number: int, work: Callable[[], Rows]
    ) -> None:
        say(f"round {number} of {self.rounds}, ({letter}) {kind.label}")
        attempts = []
        for _ in range(1 + self.retries):
            attempts.append(await self._attempt(letter, kind, number, work))
            if noise(attempts[-1]) < quiet.NOISE:
                break
        self.rows += min(attempts, key=noise)

    async def _attempt(
        self, letter: str, kind: Kind, number: int, work: Callable[[], Rows]
    ) -> list[Row]:
        rows: list[Row] = []
        began = time.monotonic()
        quiet.wait(self.patience, say)
        try:
            async for case, metrics in work():
                rows.append(Row(letter, case, kind.name, number, metrics))
                say(f"    {case}: {brief(metrics)}")
        except* (BenchError, OSError, TimeoutError, AssertionError) as group:
            reason = repr(group.exceptions[0])
            rows.append(Row(letter, "", kind.name, number, {}, reason))
            say(f"    failed: {reason}")
        say(f"    {time.monotonic() - began:.0f} s")
        return rows


def noise(rows: Sequence[Row]) -> float:
    """The most that others took of a core; infinite for a failure, which is worth a second try."""
    if any(row.failed for row in rows):
        return math.inf
    return max((row.metrics.get("others_share", 0.0) for row in rows), default=0.0)


def takes_part(letter: str, kind: Kind) -> bool:
    if letter in "efghp":
        return kind.name == "ara"
    if letter == "i":
        return kind.name in ("ara", "fastapi")
    return kind.name not in LEFT_OUT[letter]


def brief(metrics: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
