"""Medians, tables and verdicts."""

import math

from tests.bench.figures import figures
from tests.bench.page import longest_task
from tests.bench.report import Row, medians, tables


def row(server: str, number: int = 1, case: str = "500 sockets", **metrics: float) -> Row:
    return Row("a", case, server, number, {"expected": 10, "received": 10, **metrics})


def test_a_median_is_taken_of_each_metric() -> None:
    rows = [row("ara", number, cpu_us=cpu) for number, cpu in enumerate((9.0, 30.0, 8.0))]
    assert medians(rows)["a", "500 sockets", "ara"]["cpu_us"] == 9.0


def test_losses_of_all_rounds_are_added_up() -> None:
    rows = [row("ara", 1), row("ara", 2, received=7, folded=1)]
    assert medians(rows)["a", "500 sockets", "ara"]["lost"] == 2
    assert "**2 lost**" in tables(medians(rows))


def test_a_table_divides_by_the_rivals() -> None:
    table = tables(medians([row("ara", cpu_us=9.0), row("nchan", cpu_us=6.0)]))
    assert "| this project, uvicorn | " in table
    assert [line.rpartition(" | ")[2] for line in table.splitlines()[-2:]] == ["1.50 |", "1.00 |"]


def test_a_figure_is_reached_or_missed() -> None:
    rows = [row("ara", cpu_us=9.0), row("nchan", cpu_us=6.0), row("fastapi", cpu_us=20.0)]
    found = {figure.what: figure for figure in figures(medians(rows), 500)}
    assert not found["(a) CPU per delivery / Nchan's"].reached
    assert found["(a) CPU per delivery / FastAPI's"].reached


def test_what_was_not_measured_has_no_figure() -> None:
    assert figures(medians([row("ara", cpu_us=9.0)]), 500) == []


def test_an_interval_without_a_delivery_says_never() -> None:
    rows = [Row("d", "10% do not read", "fastapi", 1, {"p50_ms": math.inf, "p99_ms": math.inf})]
    assert "never" in tables(medians(rows))


def test_the_page_is_judged_by_the_worse_of_its_views() -> None:
    rows = [
        Row("p", "50 symbols as cards", "ara", 1, {"tab_share": 0.2, "frames": 60.0}),
        Row("p", "50 symbols as table", "ara", 1, {"tab_share": 0.3, "frames": 20.0}),
    ]
    found = {figure.value: figure.reached for figure in figures(medians(rows), 500)}
    assert found == {0.3: False, 50.0: False}


def test_the_longest_task_is_one_of_the_page() -> None:
    names = {1: "CrRendererMain", 2: "Compositor"}
    threads = [
        {"name": "thread_name", "pid": 7, "tid": tid, "args": {"name": name}}
        for tid, name in names.items()
    ]
    tasks = [
        {"name": "RunTask", "pid": 7, "tid": tid, "tdur": dur}
        for tid, dur in ((1, 4_000), (1, 9_500), (2, 80_000))
    ]
    assert longest_task([*threads, *tasks]) == 9.5


def test_a_publish_over_http_is_compared_with_a_handler_of_fastapi() -> None:
    rows = [
        Row("i", "one at a time", "ara", 1, {"cpu_us": 300.0}),
        Row("i", "one at a time", "fastapi", 1, {"cpu_us": 400.0}),
    ]
    [figure] = figures(medians(rows), 500)
    assert (figure.value, figure.reached) == (0.75, True)
