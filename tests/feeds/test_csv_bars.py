import gzip
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from realtime.feeds.csv_bars import STOCKS, DailyBar, FeedError, read_bars, split_adjusted

HEADER = "Ticker,Date,Open,High,Low,Close,Volume\n"
GOOD = "AAPL,2008-01-02,10,12,9,11,1000\n"

Write = Callable[..., Path]


@pytest.fixture
def csv_file(tmp_path: Path) -> Write:
    def write(text: str, name: str = "prices.csv") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_a_row_becomes_a_bar(csv_file: Write) -> None:
    bars = read_bars(csv_file(HEADER + GOOD)).bars
    assert bars == {"AAPL": [DailyBar(date(2008, 1, 2), 10.0, 12.0, 9.0, 11.0, 1000)]}


def test_columns_stand_in_any_order_and_case(csv_file: Write) -> None:
    path = csv_file("close,SYMBOL,volume,Low,High,open,date,note\n11,aapl,5,9,12,10,2008-01-02,x\n")
    assert read_bars(path).bars["AAPL"][0].close == 11.0


def test_a_gzipped_file_is_read_whatever_its_name(tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    path.write_bytes(gzip.compress((HEADER + GOOD).encode()))
    assert len(read_bars(path).bars["AAPL"]) == 1


def test_a_file_without_symbols_belongs_to_the_one_it_is_named_after(csv_file: Write) -> None:
    path = csv_file("Date,Open,High,Low,Close,Volume\n2008-01-02,10,12,9,11,5\n", "brk.b.csv")
    assert list(read_bars(path).bars) == ["BRK.B"]


def test_rows_out_of_order_are_sorted(csv_file: Write) -> None:
    path = csv_file(HEADER + GOOD + GOOD.replace("01-02", "01-01"))
    assert [bar.day.day for bar in read_bars(path).bars["AAPL"]] == [1, 2]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("AAPL,2008-01-03,10,12,9,11", "6 fields, but the header has 7"),
        ("AAPL,3 Foo 2008,10,12,9,11,5", "date: '3 Foo 2008' is not a date like 2008-01-31"),
        ("AAPL,2008-01-03,ten,12,9,11,5", "open: 'ten' is not a number"),
        ("AAPL,2008-01-03,10,nan,9,11,5", "high: nan is not a finite number"),
        ("AAPL,2008-01-03,10,12,-9,11,5", "low: -9 is not above zero"),
        ("AAPL,2008-01-03,10,12,9,0,5", "close: 0 is not above zero"),
        ("AAPL,2008-01-03,10,12,9,11,-5", "volume: -5 is negative"),
        ("AAPL,2008-01-03,10,12,10.5,11,5", "low: 10.5 is above open or close"),
        ("AAPL,2008-01-03,10,10.5,9,11,5", "high: 10.5 is below open or close"),
        ("A APL,2008-01-03,10,12,9,11,5", "symbol may hold"),
        (",2008-01-03,10,12,9,11,5", "symbol is empty"),
        ("AAPL,2008-01-02,10,12,9,11,5", "date: a second row for AAPL on 2008-01-02"),
        ('AAPL,"2008-01-03,10,12,9,11,5', "2 fields, but the header has 7"),
        ("AAPL,2008-01-03,10,12,9,11,\udcff", "volume: '\ufffd' is not a number"),
    ],
)
def test_a_bad_row_is_named_and_the_rest_is_played(tmp_path: Path, row: str, reason: str) -> None:
    path = tmp_path / "prices.csv"
    text = f"{HEADER}{GOOD}{row}\n{GOOD.replace('01-02', '01-04')}"
    path.write_bytes(text.encode(errors="surrogateescape"))
    file = read_bars(path)
    assert [bar.day.day for bar in file.bars["AAPL"]] == [2, 4]
    assert str(file.bad_rows[0]).startswith(f"line 3: {reason}")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "lacks the column date, open, high, low, close, volume"),
        ("Ticker,Date,Open,High,Low,Price,Volume\n" + GOOD, "lacks the column close"),
        (HEADER, "has no usable row"),
        (HEADER + "AAPL,x,1,1,1,1,1\n", "has no usable row; line 2: date: 'x'"),
    ],
)
def test_a_file_with_nothing_to_play_is_refused(csv_file: Write, text: str, reason: str) -> None:
    with pytest.raises(FeedError, match=reason):
        read_bars(csv_file(text))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FeedError, match=r"none\.csv cannot be read: .*No such file"):
        read_bars(tmp_path / "none.csv")


def test_a_gzip_file_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.csv.gz"
    path.write_bytes(STOCKS.read_bytes()[:1000])
    with pytest.raises(FeedError, match="cannot be read"):
        read_bars(path)


def test_a_nameless_file_without_symbols_is_refused(csv_file: Write) -> None:
    path = csv_file("Date,Open,High,Low,Close,Volume\n", "my prices.csv")
    with pytest.raises(FeedError, match="name the file like AAPL"):
        read_bars(path)


@pytest.mark.parametrize(
    ("symbol", "day"), [("AAPL", "2000-06-21"), ("AAPL", "2005-02-28"), ("MSFT", "2003-02-18")]
)
def test_a_share_split_is_no_crash(symbol: str, day: str) -> None:
    bars = read_bars(STOCKS).bars[symbol]
    index = next(n for n, bar in enumerate(bars) if bar.day.isoformat() == day)
    assert abs(bars[index].open / bars[index - 1].close - 1) < 0.05


def test_a_real_crash_stays_one() -> None:
    """Apple's profit warning of 28 September 2000."""
    bars = read_bars(STOCKS).bars["AAPL"]
    index = next(n for n, bar in enumerate(bars) if bar.day == date(2000, 9, 29))
    assert bars[index].close / bars[index - 1].close == pytest.approx(25.75 / 53.5)


def test_a_dividend_is_left_in_the_prices() -> None:
    """Microsoft's special dividend of three dollars, 15 November 2004."""
    bars = {bar.day: bar for bar in read_bars(STOCKS).bars["MSFT"]}
    assert bars[date(2004, 11, 12)].close == 29.97


def test_a_reverse_split_multiplies_what_lies_before() -> None:
    before = DailyBar(date(2008, 1, 2), 1.0, 1.0, 1.0, 1.0, 1000, adjusted_close=10.0)
    after = DailyBar(date(2008, 1, 3), 10.0, 10.0, 10.0, 10.0, 100, adjusted_close=10.0)
    first, second = split_adjusted([before, after])
    assert (first.close, first.volume) == (10.0, 100)
    assert second == after
