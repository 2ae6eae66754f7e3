"""Files of prices as they are found in the world."""

from datetime import date
from pathlib import Path

import pytest

from realtime.feeds.cells import read_day, read_number, read_volume
from realtime.feeds.csv_bars import BarFile, DailyBar, FeedError, read_bars
from realtime.feeds.replay import Replay, bar_tick

HEADER = "Date,Open,High,Low,Close,Volume\n"
ADJUSTED = "Date,Open,High,Low,Close,Volume,Adj Close\n"


def read(directory: Path, text: str | bytes, name: str = "ABC.csv") -> BarFile:
    path = directory / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_bars(path)


def bars(directory: Path, text: str | bytes, name: str = "ABC.csv") -> list[DailyBar]:
    file = read(directory, text, name)
    assert not file.bad_rows, file.bad_rows
    return list(file.bars["ABC"])


# Dates --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-02", "20240102", "2024/01/02", "2024.1.2", "2024-01-02 00:00:00-05:00",
        "2024-01-02 23:00:00-05:00", "2024-01-02T00:00:00.000Z", "2024-01-02 16:00",
        "2024-01-02 00:00:00 EST", "2024-01-02 00:00:00 America/New_York", "1704171600",
        "1704171600000", "1704171600000000", "1704171600000000000", "1704171600.0",
        "Jan 02 2024", "Jan 2, 2024", "2-Jan-2024", "02 January 2024", "02JAN2024", "2024-Jan-02",
        "Tue, 02 Jan 2024", "Tuesday, January 2nd, 2024", "2-Jan-2024 16:00:00",
        "Jan 2, 2024 4:00 PM", "2024-01-02 4:00 PM", "2024-01-02 12:00:00 a.m. EST",
        "2024-01-02 24:00",
    ],
)  # fmt: skip
def test_the_day_is_read_however_it_is_written(text: str) -> None:
    assert read_day(text) == date(2024, 1, 2)


@pytest.mark.parametrize(
    "text", ["", "noon", "2024-13-01", "99999999999999999999", "1e9", "1/2/24", "Ju 2 2024",
             "Foo 2 2024", "Jan 32 2024", "2-Jan-24", "2024-01-02 noon",
             pytest.param("T1" * 50_000, id="long")]
)  # fmt: skip
def test_what_is_no_day_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a date like 2008-01-31"):
        read_day(text)


@pytest.mark.parametrize(
    "time", ["99:99:99", "25:00", "24:01", "16:60", "13:00 PM", "0:30 am", "16:00+99:00"]
)
@pytest.mark.parametrize("day", ["2024-01-15", "31/01/2024", "Jan 15, 2024"])
def test_a_time_that_no_clock_shows_spoils_its_row_alone(
    tmp_path: Path, day: str, time: str
) -> None:
    text = f'{HEADER}"{day} {time}",10,12,9,11,5\n2024-01-16,10,12,9,11,5\n'
    file = read(tmp_path, text)
    assert str(file.bad_rows[0]) == f"line 2: date: '{day} {time}' has a time that no clock shows"
    assert [bar.day for bar in file.bars["ABC"]] == [date(2024, 1, 16)]


@pytest.mark.parametrize(
    ("days", "month"), [(["01/02/2024", "01/31/2024"], 1), (["01/02/2024", "31/01/2024"], 2)]
)
def test_a_date_that_begins_with_day_or_month_is_told_by_the_others(
    tmp_path: Path, days: list[str], month: int
) -> None:
    rows = "".join(f"{day},10,12,9,11,5\n" for day in days)
    assert date(2024, month, 3 - month) in [bar.day for bar in bars(tmp_path, HEADER + rows)]


def test_dates_that_could_be_read_either_way_are_refused(tmp_path: Path) -> None:
    text = HEADER + "01/02/2024,10,12,9,11,5\n01/03/2024,10,12,9,11,5\n"
    with pytest.raises(
        FeedError, match="may begin with the day or with the month; write 2024-01-02 or"
    ):
        read(tmp_path, text)


# Numbers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "comma", "number"),
    [
        ("101.5", False, 101.5), ("1,234.5", False, 1234.5), ("1,234", False, 1234.0),
        ("101,50", False, 101.5), ("1.234,5", True, 1234.5), ("101,500", True, 101.5),
        ("$1,234,567.25", False, 1234567.25), ("1 234,5", True, 1234.5), ("1'234.5", False, 1234.5),
        ("1.234.567", True, 1234567.0), ("1e-3", False, 0.001),
    ],
)  # fmt: skip
def test_numbers_are_read_with_the_separators_of_any_country(
    text: str, comma: bool, number: float
) -> None:
    assert read_number("open", text, decimal_comma=comma) == number


@pytest.mark.parametrize("text", ["1.2.3", "1..5", "ten", "0x10", "1,2,x"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a number"):
        read_number("open", text)


@pytest.mark.parametrize(
    ("text", "volume"),
    [("", None), ("-", None), ("NaN", None), ("null", None), ("\u2014", None),
     ("n.a.", None), ("#N/A", None), ("...", None), ("1.5T", 1_500_000_000_000),
     ("1.2M", 1_200_000), ("3K", 3000),
     ("1,000,000", 1_000_000), ("12.0", 12)],
)  # fmt: skip
def test_a_volume_may_be_unknown_or_shortened(text: str, volume: int | None) -> None:
    assert read_volume(text) == volume


def test_a_volume_beyond_a_float_is_refused() -> None:
    with pytest.raises(ValueError, match="volume: 1e300T is not a finite number"):
        read_volume("1e300T")


def test_a_semicolon_file_has_decimal_commas(tmp_path: Path) -> None:
    text = "Date;Open;High;Low;Close;Volume\n2024-01-02;10,5;12,25;9,75;11,0;1.000\n"
    assert bars(tmp_path, text) == [DailyBar(date(2024, 1, 2), 10.5, 12.25, 9.75, 11.0, 1000)]


def test_a_semicolon_file_may_have_points(tmp_path: Path) -> None:
    text = "Date;Open;High;Low;Close;Volume\n2024-01-02;10.5;12.25;9.75;11.0;100.125\n"
    assert bars(tmp_path, text) == [DailyBar(date(2024, 1, 2), 10.5, 12.25, 9.75, 11.0, 100)]


# Lines and columns --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        "DATE,OPEN,HIGH,LOW,CLOSE,VOLUME", "\ufeffDate,Open,High,Low,Close,Volume",
        "<DATE>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>", ",open,high,low,close,volume",
        "Datetime, Open , High , Low , Close/Last , Volume", "timestamp,open,high,low,close,Vol.",
        "Unnamed: 0,open,high,low,close,volume", '"Date","Open","High","Low","Close*","Volume"',
    ],
)  # fmt: skip
def test_columns_are_known_by_their_common_names(tmp_path: Path, header: str) -> None:
    assert bars(tmp_path, f"{header}\n2024-01-02,10,12,9,11,5\n")[0].close == 11.0


@pytest.mark.parametrize(
    "text",
    [
        "# from a terminal\n\n" + HEADER + "2024-01-02,10,12,9,11,5\n\n  \n,,,,,\n",
        "sep=;\n" + (HEADER + "2024-01-02,10,12,9,11,5\n").replace(",", ";"),
        (HEADER + "2024-01-02,10,12,9,11,5\n").replace("\n", ",\n"),
        (HEADER + "2024-01-02,10,12,9,11,5\n").replace("\n", "\r\n"),
        (HEADER + "2024-01-02,10,12,9,11,5\n").replace(",", "\t").encode("utf-16"),
        "Price,Close,High,Low,Open,Volume\nTicker,ABC,ABC,ABC,ABC,ABC\nDate,,,,,\n"
        "2024-01-02,11,12,9,10,5\n",
    ],
)
def test_lines_that_programs_add_are_passed_over(tmp_path: Path, text: str | bytes) -> None:
    assert bars(tmp_path, text) == [DailyBar(date(2024, 1, 2), 10.0, 12.0, 9.0, 11.0, 5)]


def test_symbols_side_by_side_are_refused(tmp_path: Path) -> None:
    text = "Price,Close,Close\nTicker,ABC,XYZ\nDate,,\n2024-01-02,11,12\n"
    with pytest.raises(FeedError, match="the columns of 2 symbols side by side"):
        read(tmp_path, text)


@pytest.mark.parametrize("name", ["ABC.CSV", "ABC.tsv", "abc.csv.gz", "ABC.txt"])
def test_a_file_is_named_after_its_symbol_with_any_suffix(tmp_path: Path, name: str) -> None:
    assert bars(tmp_path, HEADER + "2024-01-02,10,12,9,11,5\n", name)


# Adjusted closes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["Adj Close", "adjClose", "Adj. Close", "adj_close", "ADJ CLOSE*", "Adjusted Close",
             "adjusted_close", "close_adj"]
)  # fmt: skip
def test_an_adjusted_close_tells_of_splits_whatever_its_name(tmp_path: Path, name: str) -> None:
    text = (
        f"Date,Open,High,Low,Close,Volume,{name}\n"
        "2024-06-07,1200,1210,1190,1208,10,120.8\n2024-06-10,120.4,123,117,121.5,100,121.5\n"
    )
    first, second = bars(tmp_path, text)
    assert (first.close, first.volume) == (120.8, 100)
    assert second.open / first.close - 1 == pytest.approx(-0.0033, abs=1e-4)


def test_what_is_used_and_what_is_not_can_be_told(tmp_path: Path) -> None:
    header = HEADER.replace("\n", ",adjOpen,Dividends,adjClose\n")
    text = f"{header}2024-01-02,10,12,9,11,5,1,0,11\n"
    columns = read(tmp_path, text).columns
    assert columns.used["adjusted close"] == "adjClose"
    assert columns.unused == ["adjOpen", "Dividends"]
    assert columns.unused_adjusted == ["adjOpen"]


@pytest.mark.parametrize("name", ["Split Factor", "Stock Splits", "split_coefficient"])
def test_a_column_of_splits_is_one_that_somebody_expects_to_be_used(
    tmp_path: Path, name: str
) -> None:
    text = f"Date,Open,High,Low,Close,Volume,{name}\n2024-01-02,10,12,9,11,5,0\n"
    assert read(tmp_path, text).columns.unused_adjusted == [name]
    adjusted = text.replace(name, f"{name},Adj Close").replace("5,0", "5,0,11")
    assert read(tmp_path, adjusted).columns.unused_adjusted == []


@pytest.mark.parametrize("adjusted", ["-0.35", "0", "", "null", "nan", "abc", "-inf", "1e999"])
def test_an_adjusted_close_that_says_nothing_costs_no_row(tmp_path: Path, adjusted: str) -> None:
    text = f"{ADJUSTED}2024-01-02,10,12,9,11,5,{adjusted}\n2024-01-03,10,12,9,11,5,11\n"
    assert [bar.close for bar in bars(tmp_path, text)] == [11.0, 11.0]


@pytest.mark.parametrize("place", [1, 2, 3, 4])
@pytest.mark.parametrize("nothing", ["", "null", "-1"])
def test_a_split_among_days_without_an_adjusted_close_is_placed_at_the_jump(
    tmp_path: Path, place: int, nothing: str
) -> None:
    closes = [100 if day < place else 51 for day in range(5)]
    adjusted = ["49", nothing, nothing, nothing, "51"]
    rows = "".join(
        f"2024-01-0{day + 1},{close},{close},{close},{close},8,{adjusted[day]}\n"
        for day, close in enumerate(closes)
    )
    closes_found = [bar.close for bar in bars(tmp_path, ADJUSTED + rows)]
    assert closes_found == [pytest.approx(50 if day < place else 51, rel=0.05) for day in range(5)]


def test_rows_without_an_adjusted_close_are_counted_beside_ones_with_it(tmp_path: Path) -> None:
    rows = "2024-01-02,10,12,9,11,5,\n2024-01-03,10,12,9,11,5,11\n"
    assert read(tmp_path, ADJUSTED + rows).unadjusted_rows == 1
    assert read(tmp_path, HEADER + rows.replace(",\n", "\n")).unadjusted_rows == 0


@pytest.mark.parametrize("shares", [2, 3, 20, 21, 25, 50, 100, 1000, 10_000])
def test_a_reverse_split_of_any_size_is_played_as_none(tmp_path: Path, shares: int) -> None:
    text = (
        f"{ADJUSTED}2024-03-05,0.1,0.11,0.095,0.1,1000000,{0.1 * shares:.6f}\n"
        f"2024-03-06,{0.1 * shares},{shares},{0.09 * shares},{0.1 * shares},9,{0.1 * shares}\n"
    )
    first, second = bars(tmp_path, text)
    assert first.close == pytest.approx(second.open)
    assert first.volume == round(1_000_000 / shares)


@pytest.mark.parametrize(("old", "new"), [(2, 3), (4, 5), (1, 7), (1, 50), (3, 2), (1, 100)])
def test_a_split_is_exact_beside_rounded_prices_and_a_dividend(
    tmp_path: Path, old: int, new: int
) -> None:
    close = 1000.0 * new / old
    text = (
        f"{ADJUSTED}2024-03-05,{close},{close},{close},{close},{9 * old},998.9\n"
        "2024-03-06,1000,1000,1000,1000,9,1000\n"
    )
    first, _ = bars(tmp_path, text)
    assert first.close == pytest.approx(1000.0)
    assert first.volume == 9 * new


@pytest.mark.parametrize("adjusted", ["1e308", "1e-308", "5e-324", "1.7e308"])
def test_an_adjustment_beyond_a_float_ends_no_file(tmp_path: Path, adjusted: str) -> None:
    text = f"{ADJUSTED}2024-03-05,1e-9,1e9,1e-9,1,9,{adjusted}\n2024-03-06,1,1,1,1,9,1\n"
    assert read(tmp_path, text).bars["ABC"][-1].day == date(2024, 3, 6)


# Rows ---------------------------------------------------------------------------------------------


def test_noise_of_a_float_leaves_no_row_out(tmp_path: Path) -> None:
    text = HEADER + "2024-01-02,100.20000457763672,101,100.20000457763673,101.00001,5\n"
    (bar,) = bars(tmp_path, text)
    assert (bar.low, bar.high) == (bar.open, bar.close)


def test_a_volume_that_is_not_known_is_left_out_of_the_ticks(tmp_path: Path) -> None:
    rows = "".join(f"2024-01-0{day},10,12,9,11,\n" for day in range(1, 5))
    feed = Replay(bars={"ABC": bars(tmp_path, HEADER + rows)}, rate=10_000, loop=False)
    assert feed.bars["ABC"][0].volume is None
    assert "volume" not in _first_tick(feed)


def _first_tick(feed: Replay) -> dict[str, object]:
    return bar_tick("ABC", feed.bars["ABC"], 0, 0).as_data()
