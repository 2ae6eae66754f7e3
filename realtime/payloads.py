"""What an update may hold: a JSON object that every client can read, within the size limit."""

import math
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Final

from realtime import protocol
from realtime.conf import conf


class InvalidUpdate(ValueError):
    """Raised for data that must not be published. Nothing was sent."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field = field
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}"


def check_severity(data: Mapping[str, object], name: str) -> None:
    """An alert needs no severity; one that clients cannot filter by is a typing error."""
    severity = data.get("severity")
    if severity is not None and severity not in protocol.SEVERITIES:
        raise InvalidUpdate(f"{name}.severity", f"must be one of {', '.join(protocol.SEVERITIES)}")


def require_size(body: bytes, name: str) -> None:
    """Raises InvalidUpdate for a message that is too large to be published."""
    if len(body) > conf.REALTIME_MAX_MESSAGE_BYTES:
        raise InvalidUpdate(
            name,
            f"{len(body)} bytes as JSON; an update may have {conf.REALTIME_MAX_MESSAGE_BYTES} "
            "(REALTIME_MAX_MESSAGE_BYTES)",
        )


MAX_ID: Final = 255


def check_id(id: object) -> str:
    """The id by which a repetition is recognised; raises InvalidUpdate."""
    if not isinstance(id, str) or not 1 <= len(id) <= MAX_ID:
        raise InvalidUpdate("id", f"must be a string of 1 to {MAX_ID} characters")
    _check_text(id, "id")
    return id


def check_data(data: object, name: str) -> Mapping[str, object]:
    """The data if JSON can say all of it; raises InvalidUpdate with the path of what it cannot."""
    if not isinstance(data, Mapping):
        raise InvalidUpdate(name, f"must be a JSON object (a dict), not {type(data).__name__}")
    if not _is_flat(data):
        _check_value(data, name, 0)
    return data


# Beyond the largest double; every client reads a smaller integer as a finite number.
_TOO_LARGE: Final = 1 << 1023


def _is_flat(data: Mapping[str, object]) -> bool:
    """Is it an ordinary dict of ordinary values, as nearly all updates are? In a quarter of the
    time that the full check takes, which then finds nothing to refuse.
    """
    if type(data) is not dict:
        return False
    for key, value in data.items():
        kind = type(value)
        if kind is float:
            good = value - value == 0.0  # not of NaN, nor of an infinity
        elif kind is str:
            good = value.isascii()  # no half of a surrogate pair
        elif kind is int:
            good = -_TOO_LARGE < value < _TOO_LARGE
        else:
            good = kind is bool or value is None
        if not good or type(key) is not str or not key.isascii():
            return False
    return True


MAX_DEPTH: Final = 32


def _check_value(value: object, path: str, depth: int) -> None:
    """Refuse what JSON cannot say, with the path of it: `market_data.bids[0].price`."""
    if value is None:
        return
    if isinstance(value, str):
        _check_text(value, path)
        return
    if isinstance(value, int | float | Decimal | datetime):
        _check_number(value, path)
        return
    if depth == MAX_DEPTH:
        raise InvalidUpdate(path, f"is nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise InvalidUpdate(path, f"has the key {key!r}; JSON keys are strings")
            _check_text(key, path)
            _check_value(item, f"{path}.{key}", depth + 1)
        return
    if isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _check_value(item, f"{path}[{index}]", depth + 1)
        return
    raise InvalidUpdate(
        path, f"a {type(value).__name__} is not JSON; convert it to a number, a string or a list"
    )


def _check_number(value: float | Decimal | datetime, path: str) -> None:
    """Refuse what no client reads as a finite number: NaN (pandas has one of times), 1E+999."""
    if isinstance(value, datetime):
        finite = value == value
    else:
        try:
            finite = math.isfinite(value)
        except OverflowError:  # an integer beyond the largest double
            raise InvalidUpdate(path, "is too large for a number; send a string") from None
        except ValueError:  # Decimal("sNaN")
            finite = False
    if not finite:
        raise InvalidUpdate(path, f"{value} is not JSON; send null or leave the field out")


def _check_text(text: str, path: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidUpdate(path, "holds half of a surrogate pair, which is not UTF-8") from None
