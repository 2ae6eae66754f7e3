"""The channel layer of CHANNEL_LAYERS, typed: for coroutines, and for synchronous code.

Stock channel layers carry ordinary messages only: the functions below return None for them.
"""

from asgiref.sync import async_to_sync
from channels.layers import BaseChannelLayer, get_channel_layer
from django.core.exceptions import ImproperlyConfigured
from redis.exceptions import RedisError

from realtime.delivery.layers.base import StreamLayer
from realtime.delivery.layers.memory import MemoryStreamLayer
from realtime.delivery.layers.redis import RedisStreamLayer
from realtime.delivery.process_layer import Message
from realtime.delivery.publisher import BackendUnavailable


def current_layer() -> StreamLayer | None:
    """The part of this project's layer for the running event loop; None without such a layer."""
    return loop_layer(get_channel_layer())


def required_layer() -> StreamLayer:
    """`current_layer`; raises ImproperlyConfigured instead of returning None."""
    layer = current_layer()
    if layer is None:
        raise ImproperlyConfigured(
            "CHANNEL_LAYERS must name one of this project's channel layers, for instance "
            "realtime.delivery.layers.RedisStreamLayer: others have no offsets and no history."
        )
    return layer


def loop_layer(layer: BaseChannelLayer | None) -> StreamLayer | None:
    """The part of a layer that belongs to the running event loop; None for a stock layer."""
    if isinstance(layer, RedisStreamLayer):
        return layer.loop_layer
    return layer if isinstance(layer, StreamLayer) else None


def shared_layer() -> RedisStreamLayer | None:
    """The layer whose Redis all processes share, for synchronous code; None without Redis."""
    layer = get_channel_layer()
    return layer if isinstance(layer, RedisStreamLayer) else None


def reading_layer() -> RedisStreamLayer | MemoryStreamLayer | None:
    """The layer whose streams synchronous code can read; None without such a layer."""
    layer = get_channel_layer()
    return layer if isinstance(layer, RedisStreamLayer | MemoryStreamLayer) else None


def group_send_sync(layer: BaseChannelLayer, group: str, message: Message) -> None:
    """`group_send` for synchronous code, through any channel layer; raises BackendUnavailable."""
    if isinstance(layer, RedisStreamLayer):
        layer.group_send_sync(group, message)
        return
    try:
        async_to_sync(layer.group_send)(group, message)
    except (RedisError, OSError) as exc:
        raise BackendUnavailable(exc) from exc
