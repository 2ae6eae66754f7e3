"""(d) One reader in ten stops reading: what the others notice, and what the server holds."""

import asyncio
import math

from tests.bench import load
from tests.bench.drive import Metrics, Session, measure, session
from tests.bench.processes import BenchError
from tests.bench.publisher import ALERTS
from tests.bench.servers import Kind, Place
from tests.bench.workloads import Rows, Size

SYMBOL = "AAPL"
# Published to the slow ones alone, so that whatever buffers there are between them and the server
# are full before the measured interval begins, however much the kernel gives them.
FILL = "FILL"
FILL_BYTES = 60_000
FILL_TIMES = 100
FILL_RATE = 40.0
RECEIVE_BUFFER = 16_384
PAD = 1_000  # bytes added to each measured message
SLOW_SHARE = 0.1
ALERT_SOCKETS = 50
# Every update is one moment of the server: a p99 needs some hundred of them.
LONGER = 2.5


async def slow_readers(kind: Kind, place: Place, size: Size) -> Rows:
    """The fast ones are measured before and while the slow ones do not read."""
    slow_count = round(size.sockets * SLOW_SHARE)
    async with session(kind, place) as current:
        await current.connect(size.sockets - slow_count, [SYMBOL])
        target = current.target([SYMBOL, FILL], receive_buffer=RECEIVE_BUFFER)
        slow = await load.connect_many(slow_count, target, load.Tally())
        alerts, slow_alerts = load.Tally(), load.Tally()
        symbols = [SYMBOL]
        watchers: list[load.Client] = []
        if kind.ours:
            symbols.append(ALERTS)
            alert_target = load.Target(current.running.port, "/ws/alerts", b"", b'"connected"')
            watchers = await load.connect_many(ALERT_SOCKETS, alert_target, alerts)
            slow += await load.connect_many(
                round(ALERT_SOCKETS * SLOW_SHARE), alert_target, slow_alerts
            )
        try:
            rate = min(size.rate, kind.most / size.sockets)
            before = await _measure(current, symbols, rate, size)
            yield "all read", before
            rss = current.usage().rss
            alerts.begin()
            slow_alerts.begin()
            current.published.clear()
            for client in slow:
                client.transport.pause_reading()
            metrics = await _stalled(current, symbols, rate, size)
            if kind.ours:
                expected = current.published[ALERTS] * len(watchers)
                await load.settle(alerts, expected)
                metrics["alerts_expected"] = expected
                metrics["alerts_received"] = alerts.received
            metrics["rss_growth_mib"] = (current.usage().rss - rss) / 2**20
            if not metrics["received"]:
                metrics |= dict.fromkeys(("p50_ms", "p99_ms", "p999_ms"), math.inf)
            metrics["p99_ratio"] = metrics["p99_ms"] / before["p99_ms"]
            yield f"{SLOW_SHARE:.0%} do not read", metrics
        finally:
            await load.close([*slow, *watchers])


async def _stalled(current: Session, symbols: list[str], rate: float, size: Size) -> Metrics:
    try:
        fill = [FILL, *symbols[1:]]
        await current.publish(fill, rate=FILL_RATE, times=FILL_TIMES, pad=FILL_BYTES)
        await asyncio.sleep(0.5)
        return await _measure(current, symbols, rate, size)
    except BenchError:
        # It waits for a slow reader, and everybody else waits with it.
        times = round(rate * size.seconds * LONGER)
        return {"expected": times * len(current.clients), "received": 0}


async def _measure(current: Session, symbols: list[str], rate: float, size: Size) -> Metrics:
    seconds = size.seconds * LONGER
    return await measure(current, symbols, rate, seconds, pad=PAD, per_socket=1)
