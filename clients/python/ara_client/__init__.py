"""A client of ARA Realtime: predictions, market data and alerts, none missed and none twice.

The files: `client` (the asynchronous client), `sync` (the same without `await`), `calls` and `rest`
(what they ask over HTTP, and how), `subscription` (an iterator that survives lost connections),
`connector` (how a connection is opened), `session` and `positions` (what to do, and where a reader
stands: pure), `gate` (which alerts pass), `backoff`, `events` (what is told), `records` (what is
read over HTTP), `frames` (DataFrames), `errors`, `version`; `watch` and `board`
(the command `watch`, and its table).
"""

from ara_client.client import Client
from ara_client.errors import (
    AraError,
    BadRequest,
    Disconnected,
    Forbidden,
    LimitExceeded,
    NotAnAraServer,
    NotFound,
    Refused,
    RequestFailed,
    Unauthorized,
    Unreachable,
)
from ara_client.events import (
    Alert,
    Connected,
    Event,
    Folded,
    Fresh,
    Gap,
    MarketData,
    Prediction,
    PredictionOutcome,
    Reconnecting,
    Resumed,
    ServerError,
    ServerShutdown,
    Stale,
    TokenExpiring,
    Update,
)
from ara_client.frames import History, Rows, to_frame
from ara_client.positions import Position
from ara_client.records import Bar, Publication, Recorded, Score
from ara_client.subscription import Subscription
from ara_client.sync import SyncClient, SyncSubscription
from ara_client.version import VERSION as __version__

__all__ = [
    "Alert",
    "AraError",
    "BadRequest",
    "Bar",
    "Client",
    "Connected",
    "Disconnected",
    "Event",
    "Folded",
    "Forbidden",
    "Fresh",
    "Gap",
    "History",
    "LimitExceeded",
    "MarketData",
    "NotAnAraServer",
    "NotFound",
    "Position",
    "Prediction",
    "PredictionOutcome",
    "Publication",
    "Reconnecting",
    "Recorded",
    "Refused",
    "RequestFailed",
    "Resumed",
    "Rows",
    "Score",
    "ServerError",
    "ServerShutdown",
    "Stale",
    "Subscription",
    "SyncClient",
    "SyncSubscription",
    "TokenExpiring",
    "Unauthorized",
    "Unreachable",
    "Update",
    "__version__",
    "to_frame",
]
