"""Lists of updates and bars, and how they become a DataFrame of pandas."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

from ara_client.events import Alert, Gap, Update
from ara_client.positions import Position

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")


class Rows(list[T]):
    """A list with `to_frame`."""

    def to_frame(self) -> "pd.DataFrame":
        """A DataFrame with a row for each; needs pandas."""
        return to_frame(self)


class History(Rows[T]):
    """Updates of a stream, oldest first.

    `position` is where to go on: a `since=` of the next `history` or of a subscription. `gap` says
    what was lost after the position that was asked for, or is None.
    """

    def __init__(self, position: Position) -> None:
        super().__init__()
        self.position = position
        self.gap: Gap | None = None


def to_frame(items: Iterable[Any]) -> "pd.DataFrame":
    """A DataFrame of updates, alerts, bars, publications or scores, a row for each; needs pandas.

    Updates and alerts are indexed by the time of their publication, in UTC, and have the fields of
    `data` as columns beside `symbol` and `offset` (`id` and `audience`). Bars are indexed by
    `start`. Times inside `data` are left as they came.
    """
    try:
        import pandas as pd
    except ImportError as exc:
        raise ImportError(
            "to_frame needs pandas: pip install 'ara-realtime-client[pandas]'"
        ) from exc
    frame = pd.DataFrame([_row(item) for item in items])
    for index in ("published", "start"):
        if index in frame:
            return frame.set_index(index)
    return frame


def _row(item: Any) -> dict[str, Any]:
    match item:
        case Update(timestamp=published, symbol=symbol, offset=offset, data=data):
            return {"published": published, "symbol": symbol, "offset": offset} | _rest(data)
        case Alert(timestamp=published, id=id, audience=audience, offset=offset, data=data):
            own = {"published": published, "id": id, "audience": audience, "offset": offset}
            return own | dict(data)
        case _:
            return asdict(item)


def _rest(data: Any) -> dict[str, Any]:
    """The fields of an update, but for those that would hide where it comes from."""
    return {name: value for name, value in data.items() if name not in ("symbol", "offset")}
