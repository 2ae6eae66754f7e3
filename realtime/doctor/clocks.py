"""Clocks of Redis and the database beside the clock of this machine."""

import time
from collections.abc import Iterator
from typing import Final

from django.db import DatabaseError, connection
from redis import Redis
from redis.exceptions import RedisError

from realtime.delivery.history_scripts import LEASE_SECONDS
from realtime.delivery.layers import shared_layer
from realtime.doctor.findings import Finding, error, ok, warning

_FELT: Final = 1.0
# SQLite and a database of another kind: the first has the clock of this machine.
_ASK: Final = {
    "postgresql": "SELECT extract(epoch FROM clock_timestamp())",
    "mysql": "SELECT unix_timestamp(sysdate(6))",
}


def examine_clocks() -> Iterator[Finding]:
    layer = shared_layer()
    for client in () if layer is None else layer.sync_clients[:1]:
        try:
            yield clock_finding("redis", _skew_of_redis(client))
        except (RedisError, OSError):
            continue  # another probe says so
    if connection.vendor in _ASK:
        try:
            yield clock_finding("database", _skew_of_database(_ASK[connection.vendor]))
        except DatabaseError:
            return


def clock_finding(whose: str, skew: float) -> Finding:
    """`skew`: by how many seconds that clock is ahead of this machine's."""
    side = "ahead of" if skew > 0 else "behind"
    text = f"the clock of the {whose} is {abs(skew):.2f} s {side} this machine's"
    if abs(skew) < _FELT:
        return ok(f"clock of {whose}", text)
    way_out = "Run a time service (chrony, systemd-timesyncd) on both machines."
    if abs(skew) < LEASE_SECONDS:
        return warning(f"clock of {whose}", text, way_out)
    return error(f"clock of {whose}", f"{text}: leases and tokens expire too early", way_out)


def _skew_of_redis(client: Redis) -> float:
    before = time.time()
    seconds, microseconds = client.time()
    return float(seconds + microseconds / 1e6 - (before + time.time()) / 2)


def _skew_of_database(sql: str) -> float:
    with connection.cursor() as cursor:
        before = time.time()
        cursor.execute(sql)
        there = float(cursor.fetchone()[0])
    return there - (before + time.time()) / 2
