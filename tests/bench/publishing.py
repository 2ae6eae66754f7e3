"""(e) What publishing from synchronous code costs the publisher.

`python -m tests.bench.publishing REDIS_PID`, with this project's environment, prints JSON.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import django

from tests.bench.processes import usage
from tests.bench.quiet import busy_seconds
from tests.bench.rivals.control import update

CHUNK = 500


def market_data(number: int) -> dict[str, Any]:
    return {"price": 149.5 + number, "volume": 1000000, "timestamp": "2024-01-01T12:00:00Z"}


def timed(work: Callable[[int], None], calls: int, messages: int, redis: int) -> dict[str, float]:
    """Microseconds per message, after one call that opens connections."""
    work(-1)
    busy, redis_cpu = busy_seconds(), usage([redis]).cpu
    began, cpu = time.perf_counter(), time.process_time()
    for number in range(calls):
        work(number)
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    redis_cpu = usage([redis]).cpu - redis_cpu
    scale = 1e6 / (calls * messages)
    return {
        "wall_us": wall * scale,
        "cpu_us": cpu * scale,
        "redis_us": redis_cpu * scale,
        "others_share": max(0.0, busy_seconds() - busy - cpu - redis_cpu) / wall,
    }


def main() -> None:
    redis = int(sys.argv[1])
    django.setup()
    from asgiref.sync import async_to_sync
    from channels_redis.pubsub import RedisPubSubChannelLayer
    from django.conf import settings
    from redis import Redis

    from realtime.broadcast import broadcast_many, broadcast_market_data, market_data_update
    from realtime.predictions.records import record_prediction, record_predictions

    stock = RedisPubSubChannelLayer(hosts=settings.REDIS_URL)
    send = async_to_sync(stock.group_send)

    def single(number: int) -> None:
        broadcast_market_data("AAPL", market_data(number))

    def group_send(number: int) -> None:
        send("AAPL", {"type": "market.data", "data": market_data(number)})

    def many(number: int) -> None:
        broadcast_many([market_data_update("AAPL", market_data(number)) for _ in range(CHUNK)])

    prediction = {"predicted_price": 150.25, "confidence": 0.85, "horizon": 5, "model": "mine"}

    def recorded(number: int) -> None:
        record_prediction("AAPL", prediction)

    def recorded_many(number: int) -> None:
        record_predictions([("AAPL", prediction)] * CHUNK)

    client = Redis.from_url(settings.REDIS_URL[0])

    def bare(number: int) -> None:
        with client.pipeline(transaction=False) as pipeline:
            for _ in range(CHUNK):
                pipeline.publish("AAPL", json.dumps(update("AAPL", market_data(number), number)))
            pipeline.execute()

    result = {
        "broadcast_market_data": timed(single, 3_000, 1, redis),
        "async_to_sync(group_send), channels_redis pub/sub": timed(group_send, 300, 1, redis),
        f"broadcast_many, {CHUNK} at a time": timed(many, 20, CHUNK, redis),
        "record_prediction": timed(recorded, 300, 1, redis),
        f"record_predictions, {CHUNK} at a time": timed(recorded_many, 6, CHUNK, redis),
        # No offset, no history, nothing checked: what redis-py and Redis take by themselves.
        f"redis-py, PUBLISH alone, {CHUNK} in a pipeline": timed(bare, 20, CHUNK, redis),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
