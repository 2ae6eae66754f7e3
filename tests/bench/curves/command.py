"""The command line of the curves."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

from tests.bench import quiet, report
from tests.bench.curves import plots, tables
from tests.bench.curves.cases import CURVES, Scope
from tests.bench.curves.model import TooFewPoints, fit
from tests.bench.curves.points import IMAGES, Point, from_document, to_document
from tests.bench.packages import BENCH_DIR
from tests.bench.processes import BenchError
from tests.bench.runner import brief, place, say
from tests.bench.servers import Place

DESCRIPTION = """\
Measure how the costs of this project grow, fit a model to that, and check it against two
measurements that it was not fitted to. Prints the tables of docs/explanation/scaling.md.

  sockets    100 to 10,000 on one symbol
  symbols    5,000 sockets on 1 to 5,000
  processes  1 and 2, which read the same updates
  rules      1 to 100,000 on one symbol
  history    10 to 5,000 updates kept, and a client that resumes from them
  check      the two measurements; the model needs sockets, symbols and processes too
"""


def parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench curves", description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--only", type=_curves, default=list(CURVES), help="as sockets,rules")
    parser.add_argument("--seconds", type=float, default=Scope.seconds, help="of each point")
    parser.add_argument(
        "--largest", type=int, default=Scope.largest, help="leave out larger points: a short look"
    )
    parser.add_argument(
        "--patience", type=float, default=10.0,
        help="seconds to wait before each curve for other programs to be quiet",
    )  # fmt: skip
    parser.add_argument(
        "--from", dest="file", type=Path, help="show what this JSON file holds; measure nothing"
    )
    parser.add_argument(
        "--plot", type=Path, nargs="?", const=IMAGES, metavar="DIRECTORY",
        help="write curve-*.svg (in docs/images, unless you name a directory)",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    if options.seconds <= 0 or options.largest < 1:
        parser.error("--seconds and --largest must be above 0")
    return options


def _curves(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in CURVES:
            raise argparse.ArgumentTypeError(f"{name} is not one of {', '.join(CURVES)}")
    return names


async def measure_all(
    names: Sequence[str], where: Place, scope: Scope, patience: float, points: list[Point]
) -> None:
    """A curve that fails does not end the others."""
    for name in names:
        say(name)
        quiet.wait(patience, say)
        try:
            async for point in CURVES[name](where, scope):
                points.append(point)
                say(f"    {point.x:,}: {brief(point.metrics)}")
        except* (BenchError, OSError, TimeoutError) as group:
            say(f"    failed: {group.exceptions[0]!r}")


def show(points: Sequence[Point], pictures: Path | None) -> None:
    print(tables.curve_tables(points), end="\n\n")
    try:
        print(tables.model_tables(fit(points), points))
    except TooFewPoints as exc:
        say(f"There is no model: {exc}.")
    if pictures:
        say("\n".join(map(str, plots.draw_all(points, pictures))))


def save(points: Sequence[Point]) -> Path:
    path = BENCH_DIR / f"{time.strftime('%Y%m%d-%H%M%S')}-curves.json"
    path.write_text(json.dumps(to_document(report.machine(), points), indent=1) + "\n")
    return path


def measure_into(points: list[Point], options: argparse.Namespace) -> None:
    scope = Scope(options.seconds, options.largest)
    with quiet.alone(BENCH_DIR / "lock", say), place(0) as where:
        uvloop.run(measure_all(options.only, where, scope, options.patience, points))


def main(arguments: Sequence[str]) -> None:
    options = parse_options(arguments)
    if options.file:
        show(read(options.file), options.plot)
        return
    points: list[Point] = []
    try:
        measure_into(points, options)
    finally:  # what was measured until then is shown, also after Ctrl-C
        if points:
            noise = max(point.metrics.get("others_share", 0.0) for point in points)
            path = save(points)
            show(points, options.plot)
            say(f"Other programs took at most {noise:.2f} of a core; all points: {path}")
    if not points:
        sys.exit("Nothing was measured.")


def read(path: Path) -> list[Point]:
    try:
        return from_document(json.loads(path.read_text()))
    except (OSError, ValueError, KeyError, TypeError) as exc:
        sys.exit(f"--from {path} cannot be read: {exc!r}")
