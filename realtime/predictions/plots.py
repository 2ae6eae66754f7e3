"""A calibration report as a picture. It needs the extra `plot`."""

from collections.abc import Sequence
from pathlib import Path

from realtime.extras import MissingExtra, extra
from realtime.predictions.calibration import Report


class PlotUnavailable(Exception):
    """Raised when a picture cannot be drawn or written; says what to do."""


def draw(report: Report, title: str, path: Path) -> None:
    """Nominal shares against the shares that were held; the format is that of the file's name."""
    try:
        # Here, because it is optional, and takes a second to import.
        with extra("plot", needed_by="--plot"):
            from matplotlib.figure import Figure
    except MissingExtra as exc:
        raise PlotUnavailable(str(exc)) from exc
    figure = Figure(figsize=(6, 6), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="0.7", linestyle="--", label="as promised")
    nominal: Sequence[float] = [level for level, _ in report.curve]
    held: Sequence[float] = [share for _, share in report.curve]
    axes.plot(nominal, held, marker="o", label=f"{report.score.outcomes} outcomes")
    axes.set(xlim=(0, 1), ylim=(0, 1), title=title, aspect="equal")
    axes.set_xlabel("nominal share within the band")
    axes.set_ylabel("share of prices within it")
    axes.legend(loc="upper left")
    try:
        figure.savefig(path)
    except (OSError, ValueError) as exc:  # ValueError: no such format
        raise PlotUnavailable(f"--plot {path}: {exc}") from exc
