"""Examples of requests in the OpenAPI document, which work as they stand.

What names a row, a login or a password is the reader's own.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple


class Parameter(NamedTuple):
    """What a parameter of a path means, and a value that it may have."""

    description: str
    example: object = None


_RULE: Final = {
    "symbols": ["AAPL"],
    "conditions": [{"type": "above", "value": 150}],
    "severity": "high",
    "message": "{symbol} is at {price:.2f}",
    "cooldown": 300,
}
_NESTED: Final = {
    "name": "Breakout",
    "symbols": ["AAPL", "MSFT"],
    "match": "all",
    "conditions": [
        {"type": "percent_move", "value": 2, "window": 600, "direction": "up"},
        {
            "type": "any",
            "conditions": [
                {"type": "volume_above", "value": 1000000},
                {"type": "confidence_above", "value": 0.8},
            ],
        },
    ],
    "active_hours": {
        "start": "09:30",
        "end": "16:00",
        "timezone": "America/New_York",
        "days": ["mon", "tue", "wed", "thu", "fri"],
    },
}
_OLD_TOKEN: Final = {"refresh": "the refresh token of your login"}

# By operation, then by what the example shows.
REQUESTS: Final[Mapping[str, Mapping[str, object]]] = {
    "create_alert_rule": {"One condition": _RULE, "Several conditions": _NESTED},
    "replace_alert_rule": {"One condition": _RULE},
    "change_alert_rule": {"Another severity": {"severity": "critical", "cooldown": None}},
    "dry_run_alert_rule": {"On what the streams hold": {**_RULE, "past": "history"}},
    "preview_alert_rule": {"For one symbol": {**_RULE, "for_symbol": "AAPL"}},
    "acknowledge_alerts": {"Two alerts": {"ids": ["a1b2c3", "d4e5f6"]}},
    "obtain_token": {"A user": {"username": "alice", "password": "the password of this user"}},
    "refresh_token": {"A login": _OLD_TOKEN},
    "blacklist_token": {"A login": _OLD_TOKEN},
    "verify_token": {"A token": {"token": "an access or refresh token"}},
    "create_key": {
        "For some symbols": {
            "name": "desk",
            "scopes": ["market-data", "predictions"],
            "symbols": {"market-data": ["AAPL", "BTC*"]},
            "allowed_origins": ["https://app.example.com"],
            "expires_at": "2100-01-01T00:00:00Z",
        }
    },
    "change_key": {"Another name": {"name": "trading desk"}},
    "rotate_key": {"An hour for the change": {"overlap_seconds": 3600}},
    "create_webhook": {
        "Alerts of some symbols": {
            "url": "https://example.com/hooks/ara",
            "description": "desk",
            "events": ["alert_triggered"],
            "symbols": ["AAPL", "BTC*"],
        }
    },
    "create_destination": {
        "A chat with quiet hours": {
            "address": "ntfys://ntfy.sh/a-topic-that-nobody-guesses",
            "description": "Phone",
            "quiet_hours": {"start": "22:00", "end": "07:00", "timezone": "Europe/Berlin"},
        }
    },
    "change_destination": {"Pause": {"enabled": False}},
    "change_webhook": {"Disable": {"enabled": False}},
    "rotate_webhook": {"A day for the change": {"overlap_seconds": 86400}},
    "resend_failed_webhook_deliveries": {"Since a time": {"since": "2024-01-01T00:00:00Z"}},
}

_SYMBOL: Final = Parameter(
    "1 to 32 characters, in upper or lower case. A `/`, as in `BTC/USD`, may stay as it is.", "AAPL"
)
PARAMETERS: Final[Mapping[str, Parameter]] = {
    "id": Parameter("The `id` of one of your alert rules."),
    "prefix": Parameter("What the key begins with, behind `ara_`: `prefix` in the list of keys."),
    "destination_id": Parameter("The `id` of one of your destinations."),
    "webhook_id": Parameter("The `id` of one of your webhooks."),
    "delivery_id": Parameter("The `id` of a delivery to this webhook."),
    "prediction_id": Parameter("The `prediction_id` of an answer or of an update."),
    "channel": Parameter("`market-data`, `predictions` or `alerts`.", "market-data"),
    "symbol": _SYMBOL,
    "connection_id": Parameter("The `id` in the list of connections, and in `connected`."),
}
