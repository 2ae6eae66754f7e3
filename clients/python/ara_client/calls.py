"""What a client asks over HTTP."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, TypeVar

from ara_client import records
from ara_client.events import Alert, MarketData, Prediction, gap, market_data, prediction
from ara_client.frames import History, Rows
from ara_client.positions import Position
from ara_client.records import Bar, Publication, Recorded, Score
from ara_client.rest import Rest, path_of
from ara_client.session import Channel

Data = Mapping[str, object]
_MAX_BATCH: Final = 1000
_TYPES: Final[Mapping[Channel, str]] = {
    "market-data": "market_data_update",
    "predictions": "prediction_update",
}
T = TypeVar("T", MarketData, Prediction)


class Calls:
    """The requests of a client. All raise AraError: Refused with `details`, or Unreachable.

    What publishes or records takes a `key` of your choice (else a random one is made): a repetition
    with the same key, by this client or by you, is answered with the first answer and publishes
    nothing.
    """

    def __init__(self, rest: Rest) -> None:
        self._rest = rest

    async def publish(
        self,
        symbol: str,
        data: Data,
        *,
        channel: Literal["market-data", "predictions"] = "market-data",
        key: str | None = None,
    ) -> Publication:
        """Publish an update: `data` is a JSON object, as `{"price": 149.5, "volume": 1000}`."""
        body = {"type": _TYPES[channel], "symbol": symbol, "data": data}
        return records.publication(await self._rest.post("publish", body, key))

    async def publish_many(
        self,
        updates: Iterable[tuple[str, Data]],
        *,
        channel: Literal["market-data", "predictions"] = "market-data",
        key: str | None = None,
    ) -> Rows[Publication]:
        """Publish pairs of a symbol and `data`, in order, up to 1,000 of them in one request.

        Of a request that is refused nothing is published; `details` name the index.
        """
        bodies = [{"type": _TYPES[channel], "symbol": name, "data": data} for name, data in updates]
        return Rows(map(records.publication, await self._post_many("publish", bodies, key)))

    async def send_alert(
        self, data: Data, *, user_id: int | str | None = None, key: str | None = None
    ) -> Publication:
        """Send an alert to everybody, or to one user of the server.

        `data` is a JSON object; `message`, `symbol` and `severity` in it are understood.
        """
        body = {"type": "alert", "data": data} | ({} if user_id is None else {"user_id": user_id})
        return records.publication(await self._rest.post("publish", body, key))

    async def record_prediction(
        self, symbol: str, data: Data, *, key: str | None = None
    ) -> Recorded:
        """Store, broadcast and later score a prediction of a model of yours.

        `data` has `predicted_price` (in the currency of the symbol) and perhaps `lower_bound`,
        `upper_bound`, `confidence` (0 to 1), `horizon` (steps ahead), `step` (`1d`), `last_price`,
        `model`; anything else reaches the subscribers, too.
        """
        body = {"symbol": symbol, "data": data}
        return records.recorded(await self._rest.post("predictions", body, key))

    async def record_predictions(
        self, predictions: Iterable[tuple[str, Data]], *, key: str | None = None
    ) -> Rows[Recorded]:
        """Record pairs of a symbol and `data`, up to 1,000 of them in one request.

        Of a request that is refused nothing is recorded; `details` name the index.
        """
        bodies = [{"symbol": name, "data": data} for name, data in predictions]
        return Rows(map(records.recorded, await self._post_many("predictions", bodies, key)))

    async def ack(self, *alerts: Alert | str) -> list[str]:
        """Acknowledge alerts, so that they do not come again; returns the user's ids of them."""
        ids = [alert.id if isinstance(alert, Alert) else alert for alert in alerts]
        found = (await self._rest.post("alerts/ack", {"ids": ids}))["ids"] if ids else []
        return [str(id) for id in found]

    async def latest(self, *symbols: str) -> Rows[MarketData]:
        """The newest market data of each of these symbols; those without any are left out."""
        answer = await self._rest.get("market-data/latest", symbol=",".join(symbols))
        return Rows(records.newest(row) for row in answer["market_data"] if row["data"] is not None)

    async def latest_predictions(self, *symbols: str) -> Rows[Prediction]:
        """The newest recorded prediction of each of these symbols, or of all."""
        answer = await self._rest.get("predictions/latest", symbol=",".join(symbols) or None)
        return Rows(map(records.stored_prediction, answer["predictions"]))

    async def history(
        self, symbol: str, *, since: Position | str | None = None, limit: int = 100
    ) -> History[MarketData]:
        """Up to `limit` updates of market data: those after `since`, else the newest ones.

        As many as the server holds, by default the last few hundred.
        """
        return await self._history(f"market-data/{path_of(symbol)}", market_data, since, limit)

    async def prediction_history(
        self, symbol: str, *, since: Position | str | None = None, limit: int = 100
    ) -> History[Prediction]:
        """The same of predictions."""
        return await self._history(f"predictions/{path_of(symbol)}", prediction, since, limit)

    async def bars(
        self,
        symbol: str,
        interval: str = "1m",
        *,
        limit: int = 500,
        before: datetime | None = None,
        after: datetime | None = None,
        source: str | None = None,
    ) -> Rows[Bar]:
        """The newest `limit` bars (up to 5,000) of an interval such as `1m`, `1h` or `1d`.

        Oldest first; `before` and `after` are times at which bars begin. `source` is where prices
        come from, by default that of the bar that was stored last.
        """
        answer = await self._rest.get(
            f"market-data/{path_of(symbol)}/bars", interval=interval, limit=limit,
            before=_text(before), after=_text(after), source=source,
        )  # fmt: skip
        return Rows(map(records.bar, answer["bars"]))

    async def scores(self, *symbols: str, model: str | None = None) -> Rows[Score]:
        """How good each model was for each of these symbols, or for all."""
        answer = await self._rest.get(
            "predictions/scores", symbol=",".join(symbols) or None, model=model
        )
        return Rows(map(records.score, answer["scores"]))

    async def _history(
        self, stream: str, build: Callable[..., T], since: Position | str | None, limit: int
    ) -> History[T]:
        found: History[T] = History(Position("", 0))
        after, more = since, True
        while more and len(found) < limit:
            size = min(_MAX_BATCH, limit - len(found))
            page = await self._rest.get(f"streams/{stream}", since=after, limit=size)
            found += (build(row, epoch=page["epoch"]) for row in page["updates"])
            found.gap = found.gap or (page["gap"] and gap(page["gap"]))
            after = found.position = Position.parse(page["next"])
            more = page["more"] and since is not None
        return found

    async def _post_many(
        self, path: str, bodies: Sequence[object], key: str | None
    ) -> list[Mapping[str, Any]]:
        rows: list[Mapping[str, Any]] = []
        for begin in range(0, len(bodies), _MAX_BATCH):
            own = key and (f"{key}-{begin}" if begin else key)
            rows += await self._rest.post(path, bodies[begin : begin + _MAX_BATCH], own)
        return rows


def _text(time: datetime | None) -> str | None:
    if time is None:
        return None
    if time.tzinfo is None:
        raise ValueError("a time needs a time zone: datetime(2024, 1, 1, tzinfo=UTC)")
    return time.isoformat()
