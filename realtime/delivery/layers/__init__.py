"""The channel layers: Redis (or Valkey) for deployments, memory for tests.

Both are complete channel layers. Beyond the specification they have the extension `streams`:
updates get offsets and a history, and reach sockets without a queue or a JSON parser.

- `base`: what both have in common.
- `memory`: everything in one process.
- `current`: the one that settings name, and which part of it the caller may use.
- `redis`: what settings name; publishes without an event loop. `redis_loop`: its part in each event
  loop, with `redis_histories` (streams), `redis_queues` (general channels) and `redis_names`.
"""

from realtime.delivery.layers.base import EXTENSION, Item, StreamLayer
from realtime.delivery.layers.current import (
    current_layer,
    group_send_sync,
    loop_layer,
    reading_layer,
    required_layer,
    shared_layer,
)
from realtime.delivery.layers.memory import MemoryStreamLayer
from realtime.delivery.layers.redis import RedisStreamLayer
from realtime.delivery.layers.redis_loop import RedisLoopLayer

__all__ = [
    "EXTENSION",
    "Item",
    "MemoryStreamLayer",
    "RedisLoopLayer",
    "RedisStreamLayer",
    "StreamLayer",
    "current_layer",
    "group_send_sync",
    "loop_layer",
    "reading_layer",
    "required_layer",
    "shared_layer",
]
