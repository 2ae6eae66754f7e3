"""Publishing over HTTP, as FastAPI's tutorial has it: a model that validates, then `PUBLISH`.

`uvicorn tests.bench.rivals.fastapi_publish:app`. No credential is looked up, and Redis neither
numbers nor keeps an update.
"""

import json
import os
from typing import Any, Literal

from fastapi import FastAPI  # type: ignore[import-not-found]
from pydantic import BaseModel, Field  # type: ignore[import-not-found]
from redis.asyncio import Redis

from tests.bench.rivals import control

redis = Redis.from_url(os.environ["REDIS_URL"])
app = FastAPI()


class Update(BaseModel):  # type: ignore[misc]
    type: Literal["market_data_update", "prediction_update"]
    symbol: str = Field(pattern=r"^[A-Z0-9^][A-Z0-9.\-_=^:/]{0,31}$")
    data: dict[str, Any]


class Publication(BaseModel):  # type: ignore[misc]
    channel: str
    stream: str
    receivers: int


async def publish_one(update: Update) -> Publication:
    message = control.update(update.symbol, update.data, 0)
    receivers = await redis.publish(update.symbol, json.dumps(message))
    return Publication(channel="market-data", stream=update.symbol, receivers=receivers)


@app.post("/api/v1/publish", status_code=201)  # type: ignore[untyped-decorator]
async def publish(body: Update | list[Update]) -> Publication | list[Publication]:
    if isinstance(body, list):
        return [await publish_one(update) for update in body]
    return await publish_one(body)
