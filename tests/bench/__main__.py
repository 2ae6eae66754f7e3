"""The command line of the benchmark."""

import argparse
import json
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import uvloop

from tests.bench import figures, quiet, report
from tests.bench.drive import Session, measure, session
from tests.bench.figures import Figure
from tests.bench.packages import BENCH_DIR
from tests.bench.processes import BenchError
from tests.bench.runner import LETTERS, Run, brief, place, say
from tests.bench.servers import KINDS, Kind, Place
from tests.bench.workloads import Size

DESCRIPTION = """\
Measure this project beside others: on one core each in turn, with the load generator, the
publisher and Redis on another. Prints Markdown tables; the rounds are in var/bench/*.json.

  a  500 and 5,000 sockets on one symbol, and the most deliveries a second
  b  500 sockets on 50 symbols each, all published at once
  c  a crowd connects, anonymous and with API keys
  d  one reader in ten stops reading
  e  publishing from synchronous code
  f  requested predictions
  g  alert rules: an update among 100,000, and from a price to the alert on a socket
  h  attacks by one client: what the readers beside it notice, and what is left of it
  i  publishing over HTTP
  p  the page in Chromium: 50 symbols at 20 updates a second each, as cards and as a table

`python -m tests.bench fanout` is (a) alone, with the sockets, rate and seconds that you say;
--keep N goes on with that load for N seconds and prints the server's pids, for a profiler.
`python -m tests.bench curves` shows how costs grow; --help says more.
"""
QUICK = Size(many=0, seconds=1.5, connects=300, predictions=50)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("workload", nargs="?", choices=["all", "fanout"], default="all")
    parser.add_argument("--only", default=LETTERS, help="workloads, as a,c")
    parser.add_argument("--servers", default=",".join(KINDS), help="some of %(default)s")
    parser.add_argument("--rounds", type=int, help="3; 1 with --quick and for fanout")
    parser.add_argument("--seconds", type=float, help="of each measured interval")
    parser.add_argument("--sockets", type=int, default=Size.sockets)
    parser.add_argument("--many", type=int, help="sockets of (a)'s second case; 0: leave it out")
    parser.add_argument("--rate", type=float, default=Size.rate, help="updates a second")
    parser.add_argument("--quick", action="store_true", help="one short round, no 5,000 sockets")
    parser.add_argument("--keep", type=float, default=0.0, help="fanout: seconds to go on")
    parser.add_argument(
        "--patience", type=float, default=10.0,
        help="seconds to wait before each measurement for other programs to be quiet",
    )  # fmt: skip
    parser.add_argument(
        "--retries", type=int, default=0,
        help="times to measure again what was measured while other programs were busy",
    )  # fmt: skip
    options = parser.parse_args()
    for name in options.servers.split(","):
        if name not in KINDS:
            parser.error(f"--servers: {name} is not one of {', '.join(KINDS)}")
    options.only = sorted(options.only.replace(",", ""))
    for letter in options.only:
        if letter not in LETTERS:
            parser.error(f"--only: {letter} is not one of {', '.join(LETTERS)}")
    return options


def available(names: Sequence[str]) -> list[Kind]:
    kinds = []
    for name in names:
        missing = KINDS[name].missing()
        if missing is None:
            kinds.append(KINDS[name])
        else:
            say(f"without {KINDS[name].label}: {missing}")
    return kinds


async def fanout(kinds: Sequence[Kind], where: Place, size: Size, rounds: int, keep: float) -> None:
    for _ in range(rounds):
        for kind in kinds:
            async with session(kind, where) as current:
                await current.warm_up(["AAPL"])
                costs = await current.connect(size.sockets, ["AAPL"])
                rate = min(size.rate, kind.most / size.sockets)
                result = await measure(current, ["AAPL"], rate, size.seconds)
                print(f"{kind.label}: {brief({**costs, **result})}", flush=True)
                if keep:
                    await go_on(current, rate, keep)


async def go_on(current: Session, rate: float, seconds: float) -> None:
    pids = " ".join(map(str, current.running.process.pids()))
    print(f"pid {pids}: {rate:g} updates/s for {seconds:g} s more", flush=True)
    await current.publish(["AAPL"], rate=rate, times=int(rate * seconds))


def run_all(options: argparse.Namespace, kinds: Sequence[Kind], where: Place, size: Size) -> None:
    rounds = options.rounds or (1 if options.quick else 3)
    run = Run(where, size, rounds=rounds, patience=options.patience, retries=options.retries)
    about = report.machine()
    began = time.monotonic()
    try:
        uvloop.run(run.all(options.only, kinds))
    finally:  # what was measured until then is shown, also after Ctrl-C
        if run.rows:
            middle = report.medians(run.rows)
            found = figures.figures(middle, size.sockets)
            print(report.heading(about, run.rows, rounds, size.seconds))
            print(report.tables(middle))
            print(figures.table(found))
            path = save(about, run.rows, found)
            say(f"{time.monotonic() - began:.0f} s; all rounds: {path}")


def save(about: Mapping[str, Any], rows: Sequence[report.Row], found: Sequence[Figure]) -> Path:
    document = {
        "machine": about,
        "figures": [{**asdict(figure), "reached": figure.reached} for figure in found],
        "rows": [asdict(row) for row in rows],
    }
    path = BENCH_DIR / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    path.write_text(json.dumps(document, indent=1) + "\n")
    return path


def compare(options: argparse.Namespace) -> None:
    size = QUICK if options.quick else Size()
    size = replace(
        size, sockets=options.sockets, rate=options.rate,
        many=size.many if options.many is None else options.many,
        seconds=options.seconds or (10.0 if options.workload == "fanout" else size.seconds),
    )  # fmt: skip
    kinds = available(options.servers.split(","))
    is_fanout = options.workload == "fanout"
    keys = size.connects + 1 if "c" in options.only and not is_fanout else 0
    attacked = "h" in options.only and not is_fanout
    posted = "i" in options.only and not is_fanout
    with (
        quiet.alone(BENCH_DIR / "lock", say),
        place(keys, attacked=attacked, posted=posted) as where,
    ):
        if is_fanout:
            uvloop.run(fanout(kinds, where, size, options.rounds or 1, options.keep))
        else:
            run_all(options, kinds, where, size)


def main() -> None:
    # The same as Ctrl-C: everything that was started is ended. A shell's background job ignores
    # Ctrl-C unless it is told otherwise.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        if sys.argv[1:2] == ["curves"]:
            from tests.bench.curves import command  # matplotlib and scipy take long to import

            command.main(sys.argv[2:])
        else:
            compare(parse_options())
    except* (BenchError, OSError) as group:
        sys.exit(f"The benchmark failed: {group.exceptions[0]}")
    except* KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
