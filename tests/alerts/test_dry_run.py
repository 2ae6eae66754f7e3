"""Dry runs: bounded in number, time and memory, and none of the web server's work."""

import asyncio
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from realtime.alerts import dry_run
from realtime.alerts.dry_run import MAX_AT_ONCE, Busy, TooMuch, try_out
from realtime.alerts.rules import parse_rule
from realtime.broadcast import abroadcast_many, market_data_update
from tests import personas
from tests.api.test_alerts import RULES, Api

pytestmark = pytest.mark.django_db(transaction=True)
RULE = {"symbols": ["AAPL"], "conditions": [{"type": "above", "value": 150}]}
# As much to compute as a rule may ask for.
HEAVY = {
    "symbols": ["AAPL"], "match": "any", "cooldown": 1,
    "conditions": [
        {"type": "percent_move", "value": 5, "window": 60 + window} for window in range(20)
    ],
}  # fmt: skip


async def publish(count: int) -> None:
    for begin in range(0, count, 100):
        prices = range(begin, min(begin + 100, count))
        await abroadcast_many(
            [market_data_update("AAPL", {"price": 100 + price % 100}) for price in prices]
        )


async def test_the_past_is_read_in_pages_to_its_beginning(each_layer: str) -> None:
    await publish(1000)
    [report] = await try_out([parse_rule(RULE)], "history", "alice")
    assert (report["updates"], report["fired"], len(report["times"])) == (1000, 10, 10)


async def test_the_newest_part_of_a_long_past_is_looked_at(
    each_layer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dry_run, "MAX_UPDATES", 100)
    await publish(350)
    [report] = await try_out([parse_rule(RULE)], "history", "alice")
    assert (report["updates"], report["times"][-1]["price"]) == (100, 151.0)


async def test_each_user_has_one_dry_run_at_a_time_and_a_process_a_few(each_layer: str) -> None:
    await publish(1)
    users = ["alice", "alice", "bob", "carol", "dave", "erin"]
    answers = await asyncio.gather(
        *(try_out([parse_rule(RULE)], "history", user) for user in users), return_exceptions=True
    )
    done = [user for user, answer in zip(users, answers, strict=True) if isinstance(answer, list)]
    assert done == ["alice", "bob"][:MAX_AT_ONCE]
    assert [type(answer) for answer in answers].count(Busy) == len(users) - len(done)
    assert await try_out([parse_rule(RULE)], "history", "erin")


async def test_a_dry_run_does_not_hold_up_the_event_loop(each_layer: str) -> None:
    await publish(1000)
    trying = asyncio.create_task(try_out([parse_rule(HEAVY)] * 3, "history", "alice"))
    longest = 0.0
    while not trying.done():
        began = time.monotonic()
        await asyncio.sleep(0.01)
        longest = max(longest, time.monotonic() - began)
    assert [report["updates"] for report in await trying] == [1000] * 3
    assert longest < 0.5


async def test_a_dry_run_that_takes_too_long_is_ended(
    each_layer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dry_run, "_PATIENCE", 0.01)
    with pytest.raises(TooMuch):
        await try_out([parse_rule(HEAVY)] * 10, "history", "alice")
    assert not dry_run._running


@pytest.fixture
def others_try() -> Iterator[None]:
    with dry_run._place("bob"), dry_run._place("carol"):
        yield


def test_one_too_many_is_told_over_rest_when_to_ask_again(
    transactional_db: None, others_try: None
) -> None:
    answer = Api(personas.token(personas.alice()))("POST", f"{RULES}/dry-run", RULE)
    assert (answer.status_code, answer["Retry-After"]) == (429, "5")


async def test_one_too_many_is_told_over_the_socket(
    each_layer: str, connect: Any, people: SimpleNamespace, others_try: None
) -> None:
    client = await connect(f"/ws/alerts?token={people.token}")
    config = {"rules": [RULE], "dry_run": True}
    answer = await client.ask("configure_alerts", config=config)
    assert (answer["code"], answer["retry_after_ms"]) == ("rate_limited", 5000)
