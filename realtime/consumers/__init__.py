"""The WebSocket consumers: one base, three small subclasses, one for paths that do not exist.

Ordinary Channels to the reader: a consumer accepts, joins the groups of its streams and answers
messages. With a channel layer of this project updates come to its socket directly; with any other
one they come as `stream.update` events, without offsets and resume.

- `socket`: the loop over the messages of a client, tasks and timers, errors, the end: how a socket
  is closed, also that of a slow reader (4508).
- `events`: what of the channel layer no socket can handle.
- `base`: connects, and gives each message to its part of `realtime.session`.
- `predictions`, `market_data`, `alerts`: what each endpoint adds.
- `not_found`: every other path. `one_way`: connections that only listen (server-sent events).
"""

from realtime.consumers.alerts import AlertsConsumer
from realtime.consumers.market_data import MarketDataConsumer
from realtime.consumers.not_found import NotFoundConsumer
from realtime.consumers.predictions import PredictionsConsumer

__all__ = ["AlertsConsumer", "MarketDataConsumer", "NotFoundConsumer", "PredictionsConsumer"]
