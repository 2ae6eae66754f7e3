"""`status` says why something does not arrive."""

import json
from types import SimpleNamespace

from tests.clients import Open
from tests.consumers import bearer, position_after, publish


async def test_status_says_why_something_does_not_arrive(
    each_layer: str, connect: Open, people: SimpleNamespace
) -> None:
    await publish("AAPL", 1)
    client = await connect("/ws/market-data/AAPL", headers=bearer(people.token))
    await client.next()
    status = await client.ask("status")
    assert status["symbols"] == ["AAPL"]
    assert status["streams"]["AAPL"]["offset"] == 1
    assert {"sent", "folded", "replayed"} <= set(status["counters"])
    assert status["limits"]["subscriptions"] == {"limit": 200, "left": 199}
    assert status["credential"]["kind"] == "jwt"
    assert status["credential"]["expires_at"].endswith("Z")
    assert status["server"]["id"]
    assert status["server"]["version"]
    assert people.token not in json.dumps(status)


async def test_status_counts_what_was_sent(each_layer: str, connect: Open) -> None:
    client = await connect("/ws/market-data/AAPL")
    before = (await client.ask("status"))["counters"]["sent"]
    await publish("AAPL", 1, 2, 3)
    for _ in range(3):
        await client.next()
    assert (await client.ask("status"))["counters"]["sent"] - before in (3, 4)  # with the answer


async def test_status_counts_what_was_replayed(each_layer: str, connect: Open) -> None:
    since = await position_after(connect, "AAPL", 1)
    await publish("AAPL", 2, 3)
    client = await connect("/ws/market-data")
    await client.ask("subscribe", symbol="AAPL", since=since)
    assert (await client.ask("status"))["counters"]["replayed"] == 2
