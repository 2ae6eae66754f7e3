from datetime import UTC, date, datetime

from realtime.feeds.progress import Progress
from realtime.feeds.ticks import Tick

TICK = Tick(
    symbol="AAPL",
    price=94.5123,
    volume=1,
    timestamp=datetime(2012, 7, 19, 21, tzinfo=UTC),
    source="replay",
    bar_date=date(2012, 7, 19),
)


def test_before_the_first_update_there_is_none_to_show() -> None:
    line = Progress(100.0).line(100.0)
    assert line == "0.0 updates/s, lag 0 ms, 0 updates, 0 predictions, last none yet"


def test_the_line_has_rate_lag_counts_and_the_last_update() -> None:
    progress = Progress(100.0, predictions=3)
    for _ in range(20):
        progress.published(TICK, 0.002)
    assert progress.line(102.0) == (
        "10.0 updates/s, lag 2 ms, 20 updates, 3 predictions, last AAPL 94.5123 (2012-07-19)"
    )


def test_the_rate_is_that_since_the_line_before() -> None:
    progress = Progress(0.0)
    progress.published(TICK, 0.0)
    progress.line(10.0)
    progress.published(TICK, 0.0)
    assert progress.line(12.0).startswith("0.5 updates/s")
