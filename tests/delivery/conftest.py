"""Redis layers, and servers for them."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from realtime.delivery.layers import RedisStreamLayer
from tests.delivery.exchange import Make
from tests.processes import Valkey


@pytest.fixture
async def make(valkey: Valkey) -> AsyncIterator[Make]:
    """A function that makes layers: each is what a process of its own would have."""
    valkey.client().flushall()
    made: list[RedisStreamLayer] = []

    def make(*hosts: Any, **options: Any) -> RedisStreamLayer:
        layer = RedisStreamLayer(hosts=list(hosts) or [valkey.url], **options)
        made.append(layer)
        return layer

    yield make
    for layer in made:
        await layer.flush()


@pytest.fixture(scope="session")
def tcp_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """Another Valkey, on a port."""
    with Valkey(tmp_path_factory.mktemp("tcp"), tcp=True) as server:
        yield server
