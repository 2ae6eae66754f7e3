"""A PostgreSQL that restarts under processes that go on."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.conftest import require
from tests.patience import STOP_SECONDS
from tests.postgres import Postgres, find_programs
from tests.processes import ROOT, Valkey, manage, process_environment, run_manage

pytestmark = pytest.mark.slow

ALERTS = "SELECT count(*) FROM realtime_alert"
PREDICTIONS = "SELECT count(*) FROM realtime_storedprediction"

DELIVERIES = "SELECT count(*) FROM realtime_webhookdelivery"

HOOK = """
from django.contrib.auth.models import User
from realtime.models import WebhookEndpoint
WebhookEndpoint.objects.create_endpoint(User.objects.get(), "https://example.com/hook")
"""

# A long-lived script of somebody's: a line of Python on standard input, then an answer.
SCRIPT = """
import django
django.setup()
import sys
from realtime.broadcast import send_alert
from realtime.predictions.records import record_prediction
for line in sys.stdin:
    exec(line)
    print("done", flush=True)
"""

RULE = """
from django.contrib.auth.models import User
from realtime.alerts.rule_editing import fill, save_rule
from realtime.alerts.rules import parse_rule
from realtime.models import AlertRule
above = {"type": "above", "value": 150}
definition = parse_rule({"symbols": ["MSFT"], "conditions": [above], "message": "high"})
save_rule(fill(AlertRule(owner=User.objects.get()), definition))
"""

# Its own connection dies in the way that the argument says: before or within a transaction.
HELPER = """
import json
from django.contrib.auth.models import User
from django.db import OperationalError, connection, transaction
from realtime.db import reconnecting
calls = []

def end_connection():
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        number = cursor.fetchone()[0]
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [number])
    other.close()

@reconnecting
def work(*, halfway=False):
    calls.append(1)
    count = User.objects.count()
    if halfway:
        end_connection()
        User.objects.count()
    return count

def attempt(function, **options):
    calls.clear()
    try:
        function(**options)
    except OperationalError:
        return [len(calls), "error"]
    return [len(calls), "done"]

found = {}
end_connection()
found["dead before"] = attempt(work)
found["dead halfway"] = attempt(work, halfway=True)
found["afterwards"] = attempt(work)
with transaction.atomic():
    pass
end_connection()
found["in a transaction"] = attempt(transaction.atomic(work))
print(json.dumps(found))
"""


@dataclass
class Place:
    """What the processes of a test share."""

    postgres: Postgres
    directory: Path
    environment: dict[str, str]

    def count(self, query: str) -> int:
        with psycopg.connect(self.postgres.url) as connection:
            row = connection.execute(query).fetchone()  # type: ignore[call-overload]
        return int(row[0])

    def until_count(self, query: str, number: int) -> None:
        deadline = time.monotonic() + STOP_SECONDS
        while self.count(query) != number:
            assert time.monotonic() < deadline, self.count(query)
            time.sleep(0.05)

    def manage(self, *arguments: str) -> str:
        return manage(self.directory, *arguments, **self.environment).stdout

    def start(self, *arguments: str, **extra: str) -> "subprocess.Popen[str]":
        names = {"DJANGO_SETTINGS_MODULE": "ara_project.settings", **extra}
        environment = {**self.environment, **names}
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT, env=process_environment(self.directory, environment), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    programs = find_programs()
    require(programs, "postgresql is not installed")
    assert programs is not None
    directory = tmp_path_factory.mktemp("postgres")
    with Postgres(programs) as postgres, Valkey(directory / "valkey") as valkey:
        environment = {"DATABASE_URL": postgres.url, "REDIS_URL": valkey.url}
        found = Place(postgres, directory, environment)
        found.manage("migrate", "-v0")
        found.manage("shell", "-v0", "-c", "from tests import personas; personas.alice()")
        yield found


@pytest.fixture
def start(place: Place) -> Iterator[Callable[..., Any]]:
    """A function that starts a process, which is ended with the test."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str, **environment: str) -> "subprocess.Popen[str]":
        started.append(place.start(*arguments, **environment))
        return started[-1]

    yield run
    for process in started:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=STOP_SECONDS)


def say(process: "subprocess.Popen[str]", line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def ask(process: "subprocess.Popen[str]", line: str) -> None:
    """Have the script run a line, and wait until it has."""
    say(process, line)
    assert process.stdout is not None
    assert process.stdout.readline() == "done\n"


def test_a_command_on_standard_input_stores_alerts_after_a_restart(
    place: Place, start: Callable[..., Any]
) -> None:
    before = place.count(ALERTS)
    command = start("manage.py", "send_alert", "--user", "alice")
    for number in range(1, 4):
        say(command, json.dumps({"message": str(number)}))
        place.until_count(ALERTS, before + number)
        place.postgres.restart()
    command.communicate(timeout=STOP_SECONDS)
    assert command.returncode == 0


def test_a_script_stores_predictions_and_alerts_after_a_restart(
    place: Place, start: Callable[..., Any]
) -> None:
    script = start("-c", SCRIPT)
    alerts, predictions = place.count(ALERTS), place.count(PREDICTIONS)
    for number in range(1, 3):
        ask(script, "record_prediction('AAPL', {'predicted_price': 150.0})")
        ask(script, "send_alert({'message': 'hello'})")
        assert place.count(PREDICTIONS) == predictions + number
        assert place.count(ALERTS) == alerts + number
        place.postgres.restart()


def test_an_alert_that_cannot_be_stored_says_so_and_is_stored_later(
    place: Place, start: Callable[..., Any]
) -> None:
    script, before = start("-c", SCRIPT), place.count(ALERTS)
    place.manage("shell", "-v0", "-c", HOOK)
    place.postgres.stop()
    ask(script, "assert send_alert({'message': 'in a script'}, 1).stored is False")
    result = run_manage(place.directory, "send_alert", '{"message": "m"}', **place.environment)
    place.postgres.start()
    assert result.returncode == 1
    assert "not stored" in result.stderr
    start("manage.py", "run_alerts")
    place.until_count(ALERTS, before + 2)
    place.until_count(DELIVERIES, 2)
    # Not before: an engine that ends in between leaves them for the next one to send.
    place.until_count(f"{ALERTS} WHERE sent_at IS NULL", 0)


def test_an_alert_of_a_killed_publisher_is_sent_once_by_the_engine(
    place: Place, start: Callable[..., Any], tmp_path: Path
) -> None:
    before = place.count(ALERTS)
    with Valkey(tmp_path / "valkey") as valkey:
        script = start("-c", SCRIPT, REDIS_URL=valkey.url)
        ask(script, "send_alert({'message': 'first'}, 1)")
        valkey.signal(signal.SIGSTOP)
        say(script, "send_alert({'message': 'second'}, 1)")
        place.until_count(ALERTS, before + 2)
        script.kill()
        valkey.kill()
        valkey.start()
        start("manage.py", "run_alerts", REDIS_URL=valkey.url)
        place.until_count(f"{ALERTS} WHERE sent_at IS NULL", 0)
        assert valkey.client().xlen("asgi:stream:alerts.user-1:history") == 1


def test_nothing_runs_twice_that_the_database_has_answered(place: Place) -> None:
    found = json.loads(place.manage("shell", "-v0", "-c", HELPER))
    assert found == {
        "dead before": [2, "done"],
        "dead halfway": [1, "error"],
        "afterwards": [1, "done"],
        "in a transaction": [1, "error"],
    }


def test_the_thread_that_stores_predictions_goes_on_after_a_restart(
    place: Place, start: Callable[..., Any]
) -> None:
    script = start("-c", SCRIPT)
    before = place.count(PREDICTIONS)
    ask(script, "import asyncio; from realtime.predictions.records import astore_prediction")
    ask(script, "loop = asyncio.new_event_loop()")
    for number in range(1, 3):
        ask(script, "loop.run_until_complete(astore_prediction('AAPL', {'predicted_price': 1.5}))")
        assert place.count(PREDICTIONS) == before + number
        place.postgres.restart()


def test_what_works_in_the_background_goes_on_after_a_restart(
    place: Place, start: Callable[..., Any]
) -> None:
    place.manage("shell", "-v0", "-c", RULE)
    start("manage.py", "run_background")
    publisher, before = start("-c", SCRIPT), place.count(ALERTS)
    ask(publisher, "from realtime.broadcast import broadcast_market_data as send")
    place.until_count("SELECT count(*) FROM realtime_alertprogress", 1)
    for number in range(1, 4):
        ask(publisher, "send('MSFT', {'price': 149}), send('MSFT', {'price': 151})")
        place.until_count(ALERTS, before + number)
        place.until_count(
            "SELECT coalesce(max(p.offset), 0) / 2 FROM realtime_recordedposition p", number
        )
        place.postgres.restart()
