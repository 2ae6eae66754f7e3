"""(e) What publishing from synchronous code costs the publisher.

`python -m tests.bench.publishing`, with this project's environment, prints JSON.
"""

import json
import time
from collections.abc import Callable
from typing import Any

import django

CHUNK = 500


def market_data(number: int) -> dict[str, Any]:
    return {"price": 149.5 + number, "volume": 1000000, "timestamp": "2024-01-01T12:00:00Z"}


def timed(work: Callable[[int], None], calls: int, messages: int) -> dict[str, float]:
    """Microseconds per message, after one call that opens connections."""
    work(-1)
    began, cpu = time.perf_counter(), time.process_time()
    for number in range(calls):
        work(number)
    return {
        "wall_us": (time.perf_counter() - began) * 1e6 / (calls * messages),
        "cpu_us": (time.process_time() - cpu) * 1e6 / (calls * messages),
    }


def main() -> None:
    django.setup()
    from asgiref.sync import async_to_sync
    from channels_redis.pubsub import RedisPubSubChannelLayer
    from django.conf import settings

    from realtime.broadcast import broadcast_many, broadcast_market_data, market_data_update

    stock = RedisPubSubChannelLayer(hosts=settings.REDIS_URL)
    send = async_to_sync(stock.group_send)

    def single(number: int) -> None:
        broadcast_market_data("AAPL", market_data(number))

    def group_send(number: int) -> None:
        send("AAPL", {"type": "market.data", "data": market_data(number)})

    def many(number: int) -> None:
        broadcast_many([market_data_update("AAPL", market_data(number)) for _ in range(CHUNK)])

    result = {
        "broadcast_market_data": timed(single, 2_000, 1),
        "async_to_sync(group_send), channels_redis pub/sub": timed(group_send, 300, 1),
        f"broadcast_many, {CHUNK} at a time": timed(many, 10, CHUNK),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
