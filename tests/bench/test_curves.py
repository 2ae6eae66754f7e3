"""The model of the curves, its check, and what is shown of them."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench.curves import command, plots, tables
from tests.bench.curves.model import TooFewPoints, check, fit, needs
from tests.bench.curves.points import CHECK, Point
from tests.bench.publisher import run_job

DELIVERY, UPDATE, CALL, IDLE = 11e-6, 4e-6, 30e-6, 0.01
LOADS = [  # processes, sockets, deliveries, updates, calls
    (1, 100, 10_000, 100, 100),
    (1, 1_000, 25_000, 25, 25),
    (1, 5_000, 10_000, 2, 2),
    (1, 5_000, 10_000, 2_000, 200),
    (1, 5_000, 10_000, 10_000, 200),
    (2, 500, 10_000, 1_000, 200),
]


def point(
    load: tuple[int, int, int, int, int] = (1, 2_000, 10_000, 1_000, 100),
    curve: str = CHECK, **changed: float,
) -> Point:  # fmt: skip
    """Of a server whose costs are known."""
    processes, sockets, deliveries, updates, calls = load
    metrics = {
        "processes": processes, "supervisors": processes - 1, "sockets": sockets,
        "deliveries": deliveries, "updates": updates, "calls": calls,
        "server_share": IDLE * processes + DELIVERY * deliveries
        + processes * (UPDATE * updates + CALL * calls),
        "redis_share": 0.002 + 20e-6 * updates + 2e-6 * updates * processes,
        "rss_mib": 90 * processes + 60 * (processes - 1) + sockets * 24 / 1024,
        "connect_us": 600, "redis_input_bytes": 400, "redis_output_bytes": 300,
        "cpu_us": 12, "redis_us": 3, "p50_ms": 4, "p99_ms": 9, "p999_ms": 12, "socket_kib": 24,
        "expected": 100, "received": 100,
    }  # fmt: skip
    return Point(curve, sockets, "a load", {**metrics, **changed})


def curve() -> Sequence[Point]:
    return [point(load, "sockets") for load in LOADS]


def test_the_costs_that_made_the_points_are_found() -> None:
    server = fit(curve()).costs["server_share"]
    assert list(server.values()) == pytest.approx([IDLE, DELIVERY, UPDATE, CALL], rel=0.01)


def test_the_memory_of_a_socket_is_told_from_that_of_a_process() -> None:
    costs = fit(curve()).costs["rss_mib"]
    assert costs["socket"] * 1024 == pytest.approx(24, rel=0.01)
    assert list(costs.values())[:2] == pytest.approx([90, 60], rel=0.01)


def test_a_measurement_of_the_check_is_not_fitted_to() -> None:
    twice = point(server_share=0.4)
    model = fit([*curve(), twice])
    assert model == fit(curve())
    [server, *_] = check(model, [*curve(), twice])
    assert server.predicted == pytest.approx(0.127, rel=0.01)
    assert server.error == pytest.approx(0.127 / 0.4 - 1, rel=0.01)


def test_a_model_of_too_few_points_is_refused() -> None:
    with pytest.raises(TooFewPoints, match="2 points"):
        fit(curve()[:2])


def test_a_model_without_a_second_process_is_refused() -> None:
    with pytest.raises(TooFewPoints, match="processes"):
        fit([*curve()[:-1], *curve()[:-1]])


def test_a_model_says_how_many_processes_one_redis_serves() -> None:
    model = fit(curve())
    most = (0.5 - 0.002 - 500 * 20e-6) / (500 * 2e-6)
    assert f"serves {most:,.0f} processes" in tables.model_tables(model, [])


def test_a_million_sockets_need_as_many_processes_as_their_deliveries_do() -> None:
    need = {each.name: each for each in needs(fit(curve()))}["a million sockets"]
    idle = IDLE + 500 * UPDATE + 100 * CALL
    assert need.processes == math.ceil(2 * DELIVERY * 1e6 / (0.5 - idle))
    assert need.redis_mbit == pytest.approx(300 * 500 * need.processes * 8 / 1e6)


def test_a_table_has_a_line_for_each_point_and_says_what_was_lost() -> None:
    short = replace(point(curve="symbols"), x=7)
    short.metrics["received"] = 60
    assert "| 7 | 1,000 | 10,000 |" in tables.curve_tables([*curve(), short])
    assert "**40 lost**" in tables.curve_tables([short])


def test_the_check_is_shown_with_its_error() -> None:
    points = [*curve(), point(server_share=0.4)]
    assert "| server, % of a core | 12.7 | 40.0 | -68% |" in tables.model_tables(
        fit(points), points
    )


def test_each_curve_becomes_the_same_picture_every_time(tmp_path: Path) -> None:
    [path] = plots.draw_all(curve(), tmp_path)
    before = path.read_text()
    assert path.name == "curve-sockets.svg"
    assert "p99 latency, ms" in before
    assert plots.draw_all(curve(), tmp_path)[0].read_text() == before


def test_a_file_that_holds_no_points_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(SystemExit, match=r"a\.json cannot be read"):
        command.main(["--from", str(tmp_path / "a.json")])


def test_a_curve_that_does_not_exist_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["--only", "sockets,planets"])
    assert "planets is not one of sockets, symbols" in capsys.readouterr().err


class Recorder:
    def __init__(self) -> None:
        self.calls: list[Sequence[str]] = []

    def publish(self, symbols: Sequence[str], pad: str) -> None:
        self.calls.append(symbols)


def test_a_round_is_cut_into_calls() -> None:
    recorder = Recorder()
    run_job(recorder, {"symbols": list("abc"), "rate": 0, "times": 2, "at_once": 2})
    assert recorder.calls == [["a", "b"], ["c"], ["a", "b"], ["c"]]
