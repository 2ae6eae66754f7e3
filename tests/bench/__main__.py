"""The command line of the benchmark."""

import argparse
import contextlib
import os
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import uvloop

from tests.bench import drive
from tests.bench.processes import ROOT, BenchError
from tests.bench.servers import KINDS, Cores, Kind, Place, prepare
from tests.processes import Valkey


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def place() -> Iterator[Place]:
    """A directory, a database and a Valkey of this run, all gone afterwards."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    available = sorted(os.sched_getaffinity(0))
    cores = Cores(available[0], available[-1])
    os.sched_setaffinity(0, [cores.load])
    (ROOT / "var").mkdir(exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="ara-bench-"))
    try:
        prepare(directory)
        with Valkey(directory / "valkey") as valkey:
            yield Place(directory, valkey, cores)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


async def fanout(chosen: list[Kind], where: Place, options: argparse.Namespace) -> None:
    for _ in range(options.rounds):
        for kind in chosen:
            async with drive.session(kind, where) as current:
                await current.connect(options.sockets, ["AAPL"])
                rate = min(options.rate, kind.most / options.sockets)
                result = await drive.measure(current, ["AAPL"], rate, options.seconds)
                print(f"{kind.label}, {options.sockets} sockets, {rate:g}/s: {result}", flush=True)
                if options.keep:
                    await keep(current, rate, options.keep)


async def keep(current: drive.Session, rate: float, seconds: float) -> None:
    pids = current.running.process.pids()
    print(f"pid {' '.join(map(str, pids))}: under this load for {seconds:g} s", flush=True)
    await current.publish(symbols=["AAPL"], rate=rate, times=int(rate * seconds))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("workload", choices=["fanout"])
    parser.add_argument("--servers", default=",".join(KINDS))
    parser.add_argument("--sockets", type=int, default=500)
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--keep", type=float, default=0.0)
    options = parser.parse_args()
    chosen = [KINDS[name] for name in options.servers.split(",")]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with place() as where:
            uvloop.run(fanout(chosen, where, options))
    except* (BenchError, ConnectionError, TimeoutError) as group:
        sys.exit(f"The benchmark failed: {group.exceptions[0]!r}")


if __name__ == "__main__":
    main()
