"""A round trip through the channel layer: what is published arrives, and its history is kept."""

import asyncio
import secrets
import time
from collections.abc import Iterator
from typing import Final

from channels.layers import get_channel_layer
from redis.exceptions import RedisError

from realtime.conf import conf, spelled
from realtime.delivery.history_scripts import era_key
from realtime.delivery.layers import RedisStreamLayer, shared_layer
from realtime.delivery.publisher import BackendUnavailable
from realtime.doctor.findings import Finding, error, ok
from realtime.streams import Stream

_SECONDS: Final = 5.0
_RIGHTS: Final = (
    "Mend what the findings about Redis name; then compare the rights of its user with "
    "docs/explanation/redis.md."
)
_STREAM: Final = Stream("market-data", "DOCTOR")


def examine_layer() -> Iterator[Finding]:
    layer = shared_layer()
    if layer is None:
        name = conf.CHANNEL_LAYERS.get("default", {}).get("BACKEND", "none")
        yield error(
            "channel layer", f"{name} has no streams that processes share",
            f"Set {spelled('CHANNEL_LAYER', 'CHANNEL_LAYERS')} to "
            "realtime.delivery.layers.RedisStreamLayer.",
        )  # fmt: skip
        return
    try:
        seconds = asyncio.run(_round_trip())
        yield ok("channel layer", f"a message arrived after {seconds * 1000:.1f} ms")
    except TimeoutError:
        yield error("channel layer", f"a message did not arrive within {_SECONDS:g} s", _RIGHTS)
    except (BackendUnavailable, RedisError, OSError) as exc:
        yield error("channel layer", f"a message could not be sent: {exc}", _RIGHTS)
    yield _history(layer)


async def _round_trip() -> float:
    layer = get_channel_layer()
    assert layer is not None
    group, message = f"doctor-{secrets.token_hex(8)}", {"type": "doctor.call"}
    async with asyncio.timeout(_SECONDS):
        channel = await layer.new_channel()
        await layer.group_add(group, channel)
        began = time.perf_counter()
        await layer.group_send(group, message)
        await layer.receive(channel)
        seconds = time.perf_counter() - began
        await layer.group_discard(group, channel)
        return seconds


def _history(layer: RedisStreamLayer) -> Finding:
    """Publish and read a stream below a prefix of its own, where no client hears it."""
    prefix = f"{layer.prefix}:doctor:{secrets.token_hex(8)}"
    config = {**conf.CHANNEL_LAYERS["default"].get("CONFIG", {}), "prefix": prefix}
    own = RedisStreamLayer(**config)
    try:
        own.send_updates_sync([(_STREAM, b'{"type":"market_data"}')])
        found = own.read_newest_sync([_STREAM])[0].updates
        _remove(own)
    except (BackendUnavailable, RedisError, OSError) as exc:
        return error("history", f"an update could not be published and read: {exc}", _RIGHTS)
    if not found:
        return error("history", "an update that was published is not in its history", _RIGHTS)
    return ok("history", "an update was published, numbered and read")


def _remove(layer: RedisStreamLayer) -> None:
    keys = layer.names.keys(_STREAM)
    for client in layer.sync_clients:
        client.delete(keys.meta, keys.history, keys.index, era_key(layer.prefix))
