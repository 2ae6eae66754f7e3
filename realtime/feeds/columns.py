"""Finds the columns of a price file by their names. Pure."""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

# Accepted names of each column, without case and punctuation; the first match in a file counts.
_NAMES: Final[Mapping[str, Sequence[str]]] = {
    "symbol": ("symbol", "ticker"),
    "date": ("date", "datetime", "tradedate", "timestamp", "time", "day", "unnamed0", "index", ""),
    "open": ("open", "openprice"),
    "high": ("high", "highprice"),
    "low": ("low", "lowprice"),
    "close": ("close", "closeprice", "closelast"),
    "volume": ("volume", "vol", "tradevolume"),
    "adjusted close": (
        "adjclose", "adjustedclose", "closeadj", "closeadjusted", "adjcloseprice",
        "adjustedcloseprice", "adjustedclosingprice",
    ),
}  # fmt: skip
NEEDED: Final = ("date", "open", "high", "low", "close", "volume")
_DELIMITERS: Final = ",;\t|"


class MissingColumns(ValueError):
    """Raised for a header without a required column; names the missing ones."""


@dataclass(frozen=True, slots=True)
class Columns:
    """`places` in a row by our name, `header` as the file has it."""

    header: Sequence[str]
    delimiter: str
    places: Mapping[str, int]

    @classmethod
    def of(cls, line: str) -> "Columns":
        """The columns by the first line of a file; raises MissingColumns."""
        delimiter = max(_DELIMITERS, key=line.count)
        header = [name.strip() for name in cells(line, delimiter)]
        while header and not header[-1] and len(header) > 1:
            header.pop()  # a delimiter at the end of each line
        plain = [re.sub(r"[^a-z0-9]", "", name.lower()) for name in header]
        places = {
            ours: plain.index(name)
            for ours, names in _NAMES.items()
            if (name := next((name for name in names if name in plain), None)) is not None
        }
        if places.get("date") and not header[places["date"]]:
            del places["date"]  # without a name, and not in the position of an index
        missing = [name for name in NEEDED if name not in places]
        if missing:
            raise MissingColumns(
                f"lacks the column {', '.join(missing)}; its first line is "
                f"{delimiter.join(header)[:200]!r}"
            )
        return cls(header, delimiter, places)

    def read(self, line: str) -> dict[str, str]:
        """The cells of a row by our names; raises ValueError if it does not fit the header."""
        found = [cell.strip() for cell in cells(line, self.delimiter)]
        beyond = found[len(self.header) :]
        if len(found) < len(self.header) or any(beyond):
            raise ValueError(f"{len(found)} fields, but the header has {len(self.header)}")
        return {name: found[place] for name, place in self.places.items()}

    @property
    def used(self) -> Mapping[str, str]:
        """The file's names of the used columns, by our names."""
        return {ours: self.header[place] for ours, place in self.places.items()}

    @property
    def unused(self) -> list[str]:
        used = set(self.places.values())
        return [name for place, name in enumerate(self.header) if place not in used and name]

    @property
    def unused_adjusted(self) -> list[str]:
        """Columns with adjustments that users may expect to be applied, but that are not."""
        words = ("adj",) if "adjusted close" in self.places else ("adj", "split")
        return [name for name in self.unused if any(word in name.lower() for word in words)]


def cells(line: str, delimiter: str) -> list[str]:
    return next(csv.reader([line], delimiter=delimiter), [])
