"""Slots of connection limits outlive the hours in which nobody takes another one."""

import asyncio
from typing import Any

import pytest

from realtime.connections import connection_manager
from realtime.limits import scripts
from realtime.limits.slots import RedisSlots, slots_of
from tests.delivery.exchange import Make
from tests.delivery.waiting import until
from tests.processes import Valkey

LIMITS = {"user:7": 2, "ip:192.0.2.1": 3}
COUNTS = {"alerts": 1}


def accounts(valkey: Valkey) -> dict[str, int]:
    """Milliseconds that each account has left."""
    client: Any = valkey.client()
    return {key.decode(): client.pttl(key) for key in client.keys("*:slots:*")}


async def test_an_account_is_renewed_by_those_who_hold_slots_in_it(
    make: Make, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = make()
    monkeypatch.setattr(scripts, "ACCOUNT_MS", 30_000)
    await slots_of(layer.loop_layer).take("one", LIMITS)
    monkeypatch.undo()
    await layer.loop_layer.write_lease(COUNTS, 10)
    assert max(accounts(valkey).values()) <= 30_000
    monkeypatch.setattr(scripts, "RENEW_SECONDS", 0.0)
    await layer.loop_layer.write_lease(COUNTS, 10)
    await until(lambda: all(left > 30_000 for left in accounts(valkey).values()))
    assert len(accounts(valkey)) == 2


async def test_slots_count_again_after_their_account_was_lost(
    make: Make, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = make(), make()
    for slot in ("one", "two"):
        await slots_of(here.loop_layer).take(slot, LIMITS)
    valkey.client().delete(*accounts(valkey))
    monkeypatch.setattr(scripts, "RENEW_SECONDS", 0.0)
    await here.loop_layer.write_lease(COUNTS, 10)
    await until(lambda: len(accounts(valkey)) == 2)
    full = await slots_of(there.loop_layer).take("three", LIMITS)
    assert full is not None
    assert (full.subject, full.limit) == ("user:7", 2)


async def test_a_slot_that_is_given_back_while_others_are_renewed_stays_free(
    make: Make, valkey: Valkey
) -> None:
    layer = make()
    slots = slots_of(layer.loop_layer)
    assert isinstance(slots, RedisSlots)
    for number in range(3):
        await slots.take(str(number), {"user:7": 10})
    slots.write()
    for number in range(3):
        slots.free(str(number), ["user:7"])
        await asyncio.sleep(0)
    await layer.loop_layer.settle()
    await until(lambda: accounts(valkey) == {})


async def test_open_sockets_renew_their_accounts(
    redis_layer: None, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    from channels.layers import get_channel_layer

    layer: Any = get_channel_layer()
    monkeypatch.setattr(scripts, "RENEW_SECONDS", 0.0)
    connection_manager.opened("alerts")
    await slots_of(layer.loop_layer).take("one", LIMITS)
    for name in accounts(valkey):
        valkey.client().pexpire(name, 30_000)
    await until(lambda: min(accounts(valkey).values()) > 30_000)
    connection_manager.closed("alerts", None, (0, 0, 0))
    slots_of(layer.loop_layer).free("one", list(LIMITS))
    await until(lambda: accounts(valkey) == {})
