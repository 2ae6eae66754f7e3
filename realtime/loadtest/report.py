"""The outcome of a load test, for people and for programs."""

from collections.abc import Iterator, Mapping
from typing import Final

from realtime.loadtest.running import Outcome

SHARES: Final = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}
# From this share of a core on, updates wait for this process, and latencies are its own.
BUSY: Final = 0.8


def as_json(outcome: Outcome) -> dict[str, object]:
    """Times are in milliseconds, as `_ms` says; a percentile is null if nothing was measured."""
    aims, tally = outcome.aims, outcome.tally
    return {
        "asked": {
            "url": aims.site, "publish": "http" if aims.over_http else "layer",
            "connections": aims.connections, "symbols": aims.symbols,
            "symbols_per_connection": aims.each, "updates_per_second_and_symbol": aims.rate,
            "duration_seconds": aims.duration, "bytes": aims.size,
        },
        "connections": {
            "connected": tally.connected,
            "connect_ms": _times(tally.connecting.percentiles(*SHARES.values())),
            "refused": dict(tally.refused), "closed": dict(tally.closed),
        },
        "updates": {
            "published": outcome.published, "failed": outcome.failed,
            "publish_seconds": round(outcome.seconds, 3),
            "published_per_second": _rate(outcome.published, outcome.seconds),
            "problem": outcome.problem,
        },
        "deliveries": {
            "received": tally.received, "folded": tally.folded, "lost": tally.lost,
            "repeated": tally.repeated,
            "received_per_second": _rate(tally.received, outcome.seconds),
            "latency_ms": {
                **_times(tally.latency.percentiles(*SHARES.values())),
                "max": round(tally.latency.highest * 1000, 3),
            },
        },
        "load_generator_cores": round(outcome.busy, 2),
        "stopped_early": outcome.stopped,
        "complete": outcome.complete,
    }  # fmt: skip


def as_text(outcome: Outcome) -> str:
    lines = [(name, text) for name, text in _lines(outcome)]
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:<{width}}  {text}".rstrip() for name, text in lines)


def _lines(outcome: Outcome) -> Iterator[tuple[str, str]]:
    aims, tally = outcome.aims, outcome.tally
    times = _shown(_times(tally.connecting.percentiles(*SHARES.values())))
    yield "Connections", f"{tally.connected:,} of {aims.connections:,}; connected within {times}"
    yield from _reasons("Refused", tally.refused)
    yield from _reasons("Closed", tally.closed)
    a_second = _rate(outcome.published, outcome.seconds)
    asked = aims.rate * aims.symbols
    yield (
        "Published",
        f"{outcome.published:,} updates in {outcome.seconds:.1f} s: {a_second:,.0f} a second of "
        f"{asked:,.0f} asked for",
    )
    if outcome.failed:
        yield "Failed", f"{outcome.failed:,} updates: {outcome.problem}"
    yield (
        "Received",
        f"{tally.received:,} updates: {_rate(tally.received, outcome.seconds):,.0f} a second",
    )
    latency = _shown(_times(tally.latency.percentiles(*SHARES.values())))
    yield "Latency", f"{latency}, at most {tally.latency.highest * 1000:,.1f} ms"
    yield "Lost", f"{tally.lost:,}"
    yield "Repeated", f"{tally.repeated:,}"
    yield "Folded", f"{tally.folded:,} (replaced by a newer one: the client read too slowly)"
    yield "This command", _busy(outcome.busy)
    if outcome.stopped:
        yield "Stopped early", "these are the figures up to then"


def _busy(share: float) -> str:
    text = f"used {share:.0%} of a core"
    if share < BUSY:
        return text
    return f"{text}: latencies are partly its own. Ask for less, or run several side by side."


def _reasons(name: str, reasons: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    for reason, count in sorted(reasons.items(), key=lambda item: -item[1]):
        yield name, f"{count:,}: {reason}"


def _rate(count: int, seconds: float) -> float:
    return round(count / seconds, 1) if seconds else 0.0


def _times(values: list[float | None]) -> dict[str, float | None]:
    return {
        name: None if value is None else round(value * 1000, 3)
        for name, value in zip(SHARES, values, strict=True)
    }


def _shown(times: Mapping[str, float | None]) -> str:
    known = [f"{name} {value:,.1f} ms" for name, value in times.items() if value is not None]
    return ", ".join(known) or "unknown"
