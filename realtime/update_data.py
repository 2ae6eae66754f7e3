"""`data` of updates as JSON Schema: the fields that feeds, predictors and rules of ours publish.

Publishers may send others as well, so every schema is open. Pure.
"""

from collections.abc import Mapping
from typing import Any, Final

Schema = dict[str, Any]
Fields = Mapping[str, tuple[Schema, str]]

_TIME: Final = {"type": "string", "format": "date-time"}
_TEXT: Final = {"type": "string"}
_PRICE: Final = {"type": ["number", "null"], "exclusiveMinimum": 0}
_NUMBER: Final = {"type": ["number", "null"]}
_SHARE: Final = {"type": ["number", "null"], "minimum": 0, "maximum": 1}
_MARKET_TIME: Final = "On the clock of the market: in a replay it lies in the past."
_SOURCE: Final = "Where prices come from: `replay`, or an exchange."

_MARKET_DATA: Final[Fields] = {
    "price": (_PRICE, "The last price."),
    "volume": (_NUMBER, "Of this trade; with `bar_date`, of that day so far."),
    "timestamp": (_TIME, _MARKET_TIME),
    "bid": (_PRICE, "The best price that is bid."),
    "ask": (_PRICE, "The best price that is asked."),
    "open": (_PRICE, "Of the day `bar_date`."),
    "high": (_PRICE, "Of the day `bar_date`, so far."),
    "low": (_PRICE, "Of the day `bar_date`, so far."),
    "close": (_PRICE, "Of the day `bar_date`, so far."),
    "volume_24h": (_NUMBER, "Traded in the last 24 hours."),
    "change_percent": (_NUMBER, "Since the close of the bar before."),
    "bar_date": ({"type": "string", "format": "date"}, "The day that `open` to `close` belong to."),
    "source": (_TEXT, _SOURCE),
    "trade_id": (_TEXT, "The number of the trade at its exchange."),
    "backfill": ({"type": "boolean"}, "Published at once for a history, before live updates."),
    "corrects": ({"type": "object"}, "A trade that was cancelled, or its right price and volume."),
}
_PREDICTION: Final[Fields] = {
    "predicted_price": (_PRICE, "The price that is expected at `valid_until`."),
    "lower_bound": (_PRICE, "The lower end of the interval."),
    "upper_bound": (_PRICE, "The upper end of the interval."),
    "confidence": (_SHARE, "The share of prices that the interval is to hold."),
    "horizon": ({"type": "integer", "minimum": 1}, "How many steps ahead."),
    "step": ({"type": "string", "enum": ["1d", "1m", "update"]}, "What `horizon` counts."),
    "last_price": (_PRICE, "The price that the prediction starts from."),
    "timestamp": (_TIME, _MARKET_TIME),
    "valid_until": (_TIME, "When the horizon has passed."),
    "model": (_TEXT, "The name of the model."),
    "model_version": (_TEXT, "Its version."),
    "source": (_TEXT, _SOURCE),
    "prediction_id": (_TEXT, "Of a prediction that is stored: what `prediction_outcome` names."),
}
_ALERT: Final[Fields] = {
    "message": (_TEXT, "What happened, in words."),
    "severity": (
        {"type": ["string", "null"], "enum": ["low", "medium", "high", "critical", None]},
        "What `min_severity` filters by.",
    ),
    "symbol": (_TEXT, "What it is about; absent: no single symbol."),
    "type": (
        _TEXT,
        "`price_alert`, `volume_alert`, `prediction_alert`, `stale_alert`, or another.",
    ),
    "rule_id": ({"type": "integer"}, "The rule that fired."),
    "rule": (_TEXT, "Its name."),
    "condition": (_TEXT, "The condition that became true, in words."),
    "value": (_NUMBER, "The level that the condition names."),
    "price": (_NUMBER, "The price at which it fired."),
    "timestamp": (_TIME, "When it fired."),
}


def _schema(title: str, fields: Fields, example: Schema) -> Schema:
    return {
        "title": title,
        "description": "All fields are optional, and there may be others.",
        "type": "object",
        "properties": {
            name: {**kind, "description": text} for name, (kind, text) in fields.items()
        },
        "additionalProperties": True,
        "examples": [example],
    }


DATA_SCHEMAS: Final[Mapping[str, Schema]] = {
    "MarketData": _schema("Market data", _MARKET_DATA, {"price": 149.5, "volume": 1000000}),
    "Prediction": _schema(
        "Prediction",
        _PREDICTION,
        {
            "predicted_price": 150.25,
            "lower_bound": 147.1,
            "upper_bound": 153.4,
            "confidence": 0.9,
            "horizon": 1,
        },
    ),
    "Alert": _schema(
        "Alert",
        _ALERT,
        {
            "type": "price_alert",
            "symbol": "AAPL",
            "message": "Price exceeded $150",
            "severity": "high",
        },
    ),
}
