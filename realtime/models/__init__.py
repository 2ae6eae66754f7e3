"""What the database keeps: a module for each area.

- `keys`: API keys. `rights`: who may publish. `webhooks`: endpoints, deliveries and attempts.
- `alerts`: rules, their state and the inbox. `predictions`: with outcomes and scores.
- `destinations`: for alerts, by e-mail and chat. `groups`: what members of a group may read.
- `connections`: no rows, but permissions for live connections.
- `bars`: of a minute and a day. `silences`: what was told of quiet streams.
"""

from realtime.models.alerts import (
    Alert,
    AlertAcknowledgement,
    AlertProblem,
    AlertProgress,
    AlertQuerySet,
    AlertRule,
    AlertRuleState,
)
from realtime.models.bars import Bar, RecordedPosition
from realtime.models.connections import LiveConnection, may_end_connections, may_see_connections
from realtime.models.destinations import Destination
from realtime.models.groups import GroupAccess
from realtime.models.keys import (
    KEY_LIMITS,
    ONE_LIVE_KEY,
    ORIGIN,
    ApiKey,
    ApiKeyQuerySet,
    hash_secret,
    validate_origins,
    validate_scopes,
    validate_symbols,
)
from realtime.models.predictions import (
    PredictionScore,
    StoredPrediction,
    StoredPredictionQuerySet,
)
from realtime.models.rights import may_publish, reads_metrics, with_publish_permission
from realtime.models.silences import Silence
from realtime.models.webhooks import (
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookEvent,
    new_webhook_id,
)

__all__ = [
    "KEY_LIMITS",
    "ONE_LIVE_KEY",
    "ORIGIN",
    "Alert",
    "AlertAcknowledgement",
    "AlertProblem",
    "AlertProgress",
    "AlertQuerySet",
    "AlertRule",
    "AlertRuleState",
    "ApiKey",
    "ApiKeyQuerySet",
    "Bar",
    "Destination",
    "GroupAccess",
    "LiveConnection",
    "PredictionScore",
    "RecordedPosition",
    "Silence",
    "StoredPrediction",
    "StoredPredictionQuerySet",
    "WebhookAttempt",
    "WebhookDelivery",
    "WebhookEndpoint",
    "WebhookEvent",
    "hash_secret",
    "may_end_connections",
    "may_publish",
    "may_see_connections",
    "new_webhook_id",
    "reads_metrics",
    "validate_origins",
    "validate_scopes",
    "validate_symbols",
    "with_publish_permission",
]
