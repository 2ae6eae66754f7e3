"""The committed prices are the ones that README.md beside them describes."""

import gzip
import hashlib

from realtime.feeds.csv_bars import STOCKS, read_bars

SHA256 = "5abadf99b2d394f920120a27de6f0df129859d71d4cfb0bf661bcc99446ab1fd"


def test_the_file_is_the_one_that_was_published() -> None:
    assert hashlib.sha256(STOCKS.read_bytes()).hexdigest() == SHA256
    assert SHA256 in STOCKS.with_name("README.md").read_text()


def test_the_file_has_a_header_and_12154_rows() -> None:
    with gzip.open(STOCKS, "rt") as file:
        assert len(file.readlines()) == 1 + 12_154


def test_every_row_of_the_file_is_played() -> None:
    file = read_bars(STOCKS)
    assert file.bad_rows == []
    assert {symbol: len(bars) for symbol, bars in file.bars.items()} == {
        "AAPL": 3270,
        "FB": 196,
        "GOOG": 2148,
        "IBM": 3270,
        "MSFT": 3270,
    }


def test_the_span_is_the_one_in_the_readme() -> None:
    bars = read_bars(STOCKS).bars["AAPL"]
    assert (bars[0].day.isoformat(), bars[-1].day.isoformat()) == ("2000-03-01", "2013-03-01")
