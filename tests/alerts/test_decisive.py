"""The engine as a real process that is killed and restarted, against the oracle."""

import asyncio
import json
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from channels.layers import get_channel_layer

from realtime.broadcast import abroadcast_many, market_data_update
from realtime.conf import conf
from realtime.feeds.csv_bars import STOCKS, read_bars
from realtime.protocol import alert_id, update_data, update_time
from realtime.streams import Stream, user_alerts
from tests.alerts.oracle import fired
from tests.clients import wait_for
from tests.conftest import REDIS, NewDatabase
from tests.patience import STOP_SECONDS, scaled
from tests.processes import ROOT, Valkey, manage, process_environment

UPDATES = 10_000
RULES = 1_000
KILLS = 3
CHUNK = 25
RATE = 1_000  # updates a second

_MAKE = """
import json, sys
from tests import personas
from realtime.alerts.rule_editing import fill
from realtime.alerts.rules import parse_rule
from realtime.models import AlertRule
alice = personas.alice()
rules = json.load(open({path!r}))
rows = [fill(AlertRule(owner=alice), parse_rule(rule)) for rule in rules]
rows = AlertRule.objects.bulk_create(rows)
print(json.dumps([alice.pk, [row.pk for row in rows]]))
"""
_READ = """
import json
from realtime.models import Alert
print(json.dumps([
    [alert.uid, alert.rule_id, alert.symbol, alert.data["timestamp"], alert.sent_at is not None]
    for alert in Alert.objects.order_by("id")
]))
"""


def prices() -> list[tuple[str, dict[str, Any]]]:
    """Real closes and volumes of five shares, day after day, as long as there are enough."""
    bars = read_bars(STOCKS).bars
    days = [
        (bar.day, symbol, {"price": bar.close, "volume": bar.volume})
        for symbol in bars for bar in bars[symbol]
    ]  # fmt: skip
    ordered = [(symbol, data) for _, symbol, data in sorted(days, key=lambda day: day[:2])]
    return ordered[:UPDATES]


def varied_rules(count: int, chance: random.Random) -> list[dict[str, Any]]:
    """Levels around real prices, every kind of condition on prices, every option."""
    seen: dict[str, list[float]] = {}
    for symbol, data in prices():
        seen.setdefault(symbol, []).append(data["price"])
    symbols = sorted(seen)
    rules = []
    for _ in range(count):
        symbol = chance.choice(symbols)
        level = round(chance.choice(seen[symbol]) * chance.uniform(0.97, 1.03), 2)
        kind = chance.choice(["above", "below", "crosses_above", "crosses_below", "both"])
        if chance.random() < 0.03:
            kind = "move"  # few: the oracle looks at every price of the window
        side = chance.choice(["above", "below"])
        condition: dict[str, Any] = {"type": kind, "value": level}
        conditions = [condition]
        if kind == "move":
            conditions = [{
                "type": "percent_move", "value": chance.choice([3.0, 8.0, 20.0]),
                "window": chance.choice([1, 2]),
                "direction": chance.choice(["up", "down", "any"]),
            }]  # fmt: skip
        elif kind == "both":
            conditions = [
                {"type": f"crosses_{side}", "value": level},
                {"type": "volume_above", "value": chance.choice([1e6, 1e7, 5e7])},
            ]
        elif chance.random() < 0.3:
            up = kind.endswith("above")
            condition["rearm"] = round(level * (0.97 if up else 1.03), 2)
        rule = {"symbols": [symbol], "conditions": conditions}
        if chance.random() < 0.1:
            rule["symbols"] = chance.choice([["*"], chance.sample(symbols, 2)])
        if chance.random() < 0.3:
            rule["cooldown"] = chance.choice([0.05, 0.5, 2])
        if chance.random() < 0.1:
            rule["once"] = True
        if chance.random() < 0.1:
            rule["match"] = "any"
        rules.append(rule)
    return rules


class Engine:
    """`manage.py run_alerts`, which may be killed and started again."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self.directory = directory
        self.environment = process_environment(directory, environment)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.directory / "engine.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "run_alerts"],
                cwd=ROOT, env=self.environment, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def stop(self, number: int = signal.SIGTERM) -> int | None:
        if self.process is None:
            return None
        self.process.send_signal(number)
        return self.process.wait(STOP_SECONDS)


@pytest.fixture
def place(
    tmp_path: Path, valkey: Valkey, new_database: NewDatabase, settings: Any
) -> tuple[Path, dict[str, str]]:
    """A directory with a database, and the environment of what runs there."""
    valkey.client().flushall()
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": REDIS, "CONFIG": {"hosts": [valkey.url]}}}
    # As much as is published while the engine starts again on a busy machine.
    settings.REALTIME_HISTORY_LENGTH = {**conf.REALTIME_HISTORY_LENGTH, "market-data": 3000}
    environment = {
        **new_database(tmp_path),
        "REDIS_URL": valkey.url,
        "REALTIME_HISTORY_LENGTH_MARKET_DATA": "3000",
        "REALTIME_HISTORY_LENGTH_ALERTS": "100000",
        "REALTIME_ALERTS_PER_USER_PER_MINUTE": "0",  # fifteen thousand of one user are compared
    }
    return tmp_path, environment


@pytest.fixture
def engines(place: tuple[Path, dict[str, str]]) -> Iterator[list[Engine]]:
    """Two of them, not started."""
    engines = [Engine(*place), Engine(*place)]
    yield engines
    for engine in engines:
        engine.stop()


@pytest.fixture
def shell(place: tuple[Path, dict[str, str]]) -> Callable[[str], Awaitable[Any]]:
    """Run Python with the database of the engines; what it printed, as JSON."""

    async def run(code: str) -> Any:
        directory, environment = place
        arguments = ("shell", "-v0", "-c", code)
        result = await asyncio.to_thread(manage, directory, *arguments, **environment)
        return json.loads(result.stdout)

    return run


@pytest.mark.slow
@pytest.mark.postgres
async def test_ten_thousand_prices_through_a_thousand_rules_with_three_kills(
    engines: list[Engine], shell: Callable[[str], Awaitable[Any]], tmp_path: Path, valkey: Valkey
) -> None:
    engine, _ = engines
    chance = random.Random(7)
    rules = varied_rules(RULES, chance)
    (tmp_path / "rules.json").write_text(json.dumps(rules))
    owner, ids = await shell(_MAKE.format(path=str(tmp_path / "rules.json")))
    engine.start()
    await _until_ready(valkey)
    await _publish(engine, chance)
    expected = Counter(
        (id, symbol, at) for id, symbol, at, _ in await _oracle(dict(zip(ids, rules, strict=True)))
    )
    stored: list[Any] = []

    async def all_sent() -> bool:
        stored[:] = await shell(_READ)
        return len(stored) >= expected.total() and all(row[-1] for row in stored)

    await wait_for(all_sent, seconds=60, every=0.5)
    found = Counter((rule, symbol, _at(at)) for _, rule, symbol, at, _ in stored)
    assert found == expected
    assert expected.total() > 1_000
    page = await _layer().read_newest(user_alerts(owner), 100_000)
    sent = [alert_id(update.body) for update in page.updates]
    assert sorted(sent) == sorted(uid for uid, *_ in stored)
    assert engine.stop() == 0


@pytest.mark.postgres
async def test_an_engine_takes_over_from_a_dead_one_within_seconds(
    engines: list[Engine], shell: Callable[[str], Awaitable[Any]], tmp_path: Path, valkey: Valkey
) -> None:
    symbols = [f"S{number}" for number in range(10)]
    rule = {"symbols": symbols, "conditions": [{"type": "above", "value": 1}]}
    (tmp_path / "rules.json").write_text(json.dumps([rule]))
    owner, _ = await shell(_MAKE.format(path=str(tmp_path / "rules.json")))
    for engine in engines:
        engine.start()

    async def both_follow() -> bool:
        channels = [f"asgi__group__market-data.{symbol}" for symbol in symbols]
        heard = valkey.client().execute_command("PUBSUB", "NUMSUB", *channels)[1::2]
        return valkey.client().zcard("asgi:alert-engines") == 2 and all(heard)

    await wait_for(both_follow, seconds=60)
    engines[0].stop(signal.SIGKILL)
    began = asyncio.get_running_loop().time()
    await abroadcast_many([market_data_update(symbol, {"price": 2}) for symbol in symbols])

    async def all_fired() -> bool:
        return len((await _layer().read_newest(user_alerts(owner), 100)).updates) >= len(symbols)

    await wait_for(all_fired)
    # The lease of four seconds, and some for a busy machine.
    assert asyncio.get_running_loop().time() - began < scaled(10)
    assert sorted(symbol for _, _, symbol, *_ in await shell(_READ)) == symbols


async def _until_ready(valkey: Valkey) -> None:
    """The engine has begun: it hears what is published."""

    async def ready() -> bool:
        channels = valkey.client().execute_command("PUBSUB", "NUMPAT")
        return bool(channels)

    await wait_for(ready, seconds=60)


async def _publish(engine: Engine, chance: random.Random) -> None:
    """All prices, with the engine killed at three random moments and started a moment later."""
    moments = sorted(chance.sample(range(1_000, UPDATES - 1_000, CHUNK), KILLS))
    updates = prices()
    for place in range(0, UPDATES, CHUNK):
        began = asyncio.get_running_loop().time()
        chunk = updates[place : place + CHUNK]
        await abroadcast_many([market_data_update(symbol, data) for symbol, data in chunk])
        if moments and place >= moments[0]:
            moments.pop(0)
            engine.stop(signal.SIGKILL)
            engine.start()
        await asyncio.sleep(max(0.0, began + CHUNK / RATE - asyncio.get_running_loop().time()))


async def _oracle(rules: dict[int, dict[str, Any]]) -> list[Any]:
    """What the oracle says of the updates as they were published, with their times."""
    work = []
    for symbol in sorted({symbol for symbol, _ in prices()}):
        page = await _layer().read_newest(Stream("market-data", symbol), 3000)
        assert page.updates[0].offset == 1, "the history is too short for the oracle"
        updates = [
            (round(update_time(update.body).timestamp() * 1000), update_data(update.body))
            for update in page.updates
        ]
        work.append((rules, symbol, updates))
    # It is slow: a process for each core.
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        found = [asyncio.wrap_future(pool.submit(fired, *each)) for each in work]
        return [firing for each in await asyncio.gather(*found) for firing in each]


def _at(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def _layer() -> Any:
    layer: Any = get_channel_layer()
    return layer.loop_layer
