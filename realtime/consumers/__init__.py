"""The WebSocket consumers: a base, a subclass per endpoint, and one for unknown paths.

They read as ordinary Channels: a consumer accepts, joins the groups of its streams and answers
messages. A channel layer of this project passes updates to the socket directly; from any other
layer they come as `stream.update` events, without offsets and resume.

- `socket`: the loop over a client's messages, tasks and timers, errors, and how a socket is closed,
  including that of a slow reader (4508).
- `events`: reports channel-layer events that no socket can handle.
- `base`: connects, and passes each message to its part of `realtime.session`.
- `predictions`, `market_data`, `alerts`: what each endpoint adds.
- `not_found`: every other path. `one_way`: connections that only listen (server-sent events).
"""

from realtime.consumers.alerts import AlertsConsumer
from realtime.consumers.market_data import MarketDataConsumer
from realtime.consumers.not_found import NotFoundConsumer
from realtime.consumers.predictions import PredictionsConsumer

__all__ = ["AlertsConsumer", "MarketDataConsumer", "NotFoundConsumer", "PredictionsConsumer"]
