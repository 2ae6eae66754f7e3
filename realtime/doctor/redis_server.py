"""One Redis or Valkey of the channel layer: what its INFO says, and how fast it answers."""

import time
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from realtime.conf import conf, spelled
from realtime.delivery.layers import shared_layer
from realtime.doctor.findings import Finding, Probe, error, ok, warning

_OLDEST: Final = (6, 2)
_SLOW_MS: Final = 20.0
_FULL: Final = 0.9
_Info = dict[str, Any]


def redis_probes() -> list[Probe]:
    """One for each shard; none without Redis."""
    try:
        layer = shared_layer()
    except Exception:  # a backend that cannot be loaded: the probe of the layer says so
        return []
    clients = [] if layer is None else layer.sync_clients
    names = ["redis"] if len(clients) == 1 else [f"redis {n}" for n in range(1, len(clients) + 1)]
    return [
        Probe(name, partial(_examine, name, client))
        for name, client in zip(names, clients, strict=True)
    ]


def _examine(name: str, client: Redis) -> Iterator[Finding]:
    try:
        milliseconds = _round_trip(client)
        info: _Info = client.info()
    except (RedisError, OSError) as exc:
        yield _silent(name, exc)
        return
    yield _answering(name, info, milliseconds)
    yield _version(name, info)
    yield _role(name, info)
    yield _persistence(name, client, info)
    yield _policy(name, info)
    yield from _fullness(name, info)


def _silent(name: str, exc: Exception) -> Finding:
    setting = spelled("REDIS_URL", "CHANNEL_LAYERS")
    if conf.REALTIME_EMBEDDED_VALKEY:
        way_out = (
            "The embedded Valkey runs while `manage.py serve`, `up` or `runserver` runs: start one "
            f"of them, or set {setting}."
        )
    else:
        way_out = f"Start it, and compare {setting} with its host, port, user and password."
    return error(name, f"does not answer: {exc}", way_out)


def _round_trip(client: Redis) -> float:
    """The best of five, in milliseconds."""
    times = []
    for _ in range(5):
        began = time.perf_counter()
        client.ping()
        times.append(time.perf_counter() - began)
    return min(times) * 1000


def _answering(name: str, info: _Info, milliseconds: float) -> Finding:
    text = f"answers in {milliseconds:.1f} ms"
    if milliseconds > _SLOW_MS:
        return warning(
            f"{name} round trip", text,
            "Put it into the same network as the servers, and see SLOWLOG GET for slow commands.",
        )  # fmt: skip
    return ok(f"{name} round trip", f"{text}, up for {info.get('uptime_in_seconds', 0)} s")


def _version(name: str, info: _Info) -> Finding:
    product = "Valkey" if "valkey_version" in info else "Redis"
    version = str(info.get("valkey_version") or info.get("redis_version", "0"))
    if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < _OLDEST:
        return error(
            f"{name} version", f"{product} {version}",
            f"Install Redis {'.'.join(map(str, _OLDEST))} or later, or Valkey.",
        )  # fmt: skip
    return ok(f"{name} version", f"{product} {version}")


def _role(name: str, info: _Info) -> Finding:
    if info.get("cluster_enabled"):
        return error(
            f"{name} role", "is a node of a Redis Cluster, which is not supported",
            "Use a server that is not part of a cluster; name several of them to share streams.",
        )  # fmt: skip
    if info.get("role") == "slave":
        return error(
            f"{name} role", f"is a replica of {info.get('master_host')}, which takes no writes",
            f"Name the primary in {spelled('REDIS_URL', 'CHANNEL_LAYERS')}, or use Sentinel.",
        )  # fmt: skip
    return ok(f"{name} role", "takes writes, and is not part of a cluster")


def _persistence(name: str, client: Redis, info: _Info) -> Finding:
    subject = f"{name} persistence"
    if info.get("rdb_last_bgsave_status") == "err" or info.get("aof_last_write_status") == "err":
        return error(
            subject, "the last write to its disk has failed: it may refuse every update",
            "Look at its log, and at the space and the owner of its data directory.",
        )  # fmt: skip
    if info.get("aof_enabled"):
        return ok(subject, "writes each change to a file (appendonly)")
    snapshots = _snapshots(client)
    if snapshots == "":
        return warning(
            subject, "is off: a restart loses all histories, so that clients get a new epoch",
            "Set `appendonly yes` in its configuration, unless that is what you want.",
        )  # fmt: skip
    known = "this user may not read how" if snapshots is None else f"save {snapshots}"
    return ok(subject, f"writes snapshots ({known})")


def _snapshots(client: Redis) -> str | None:
    """When it saves; None where this user may not read the configuration."""
    try:
        return client.config_get("save").get("save")
    except ResponseError:
        return None


def _policy(name: str, info: _Info) -> Finding:
    subject, policy = f"{name} maxmemory-policy", str(info.get("maxmemory_policy", "noeviction"))
    if policy == "noeviction":
        return ok(subject, policy)
    limited = bool(info.get("maxmemory"))
    text = f"{policy}: histories and tickets vanish when the memory is full"
    text += f"; {info.get('evicted_keys', 0)} keys have" if limited else " (maxmemory is not set)"
    make = error if limited else warning
    return make(subject, text, "Set `maxmemory-policy noeviction` in its configuration.")


def _fullness(name: str, info: _Info) -> Iterator[Finding]:
    for subject, used, most, way_out in (
        ("memory", "used_memory", "maxmemory",
         "Raise maxmemory, or shorten REALTIME_HISTORY_LENGTH and REALTIME_HISTORY_SECONDS."),
        ("clients", "connected_clients", "maxclients",
         "Raise maxclients, and its limit of open files."),
    ):  # fmt: skip
        limit, now = int(info.get(most) or 0), int(info.get(used) or 0)
        if limit and now > limit * _FULL:
            yield error(f"{name} {subject}", f"{now} of {limit} are in use", way_out)
        else:
            yield ok(f"{name} {subject}", f"{now}" + (f" of {limit}" if limit else ", unlimited"))
