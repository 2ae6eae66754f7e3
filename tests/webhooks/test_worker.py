"""Workers as processes of their own, receivers as real servers, and what goes wrong between."""

import asyncio
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone
from django.utils.module_loading import import_string

from realtime.models import WebhookDelivery, WebhookEndpoint
from realtime.webhooks.destinations import new_destination, tell
from realtime.webhooks.events import emit
from realtime.webhooks.worker import run_webhooks
from tests import personas
from tests.patience import PATIENCE, scaled
from tests.webhooks.conftest import Worker, event
from tests.webhooks.receiver import Receiver, hang, status

pytestmark = pytest.mark.django_db(transaction=True)
Start = Callable[..., Worker]
Hook = tuple[Receiver, WebhookEndpoint, str]


@pytest.fixture
def hook_for(alice: User, settings: type[django_settings]) -> Iterator[Callable[[Receiver], Hook]]:
    """A function that starts a receiver: itself, Alice's endpoint for it, and its secret."""
    settings.REALTIME_WEBHOOK_ALLOWED_HOSTS = ["127.0.0.1"]
    with ExitStack() as stack:

        def make(receiver: Receiver) -> Hook:
            stack.enter_context(receiver.running())
            return receiver, *WebhookEndpoint.objects.create_endpoint(alice, receiver.url)

        yield make


@contextmanager
def working() -> Iterator[None]:
    """A worker in a thread of this process, for what does not need one of its own."""
    stop = asyncio.Event()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=(run_webhooks(stop),))
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def all_delivered() -> bool:
    return not WebhookDelivery.objects.exclude(status="delivered").exists()


def test_a_receiver_that_fails_hangs_and_recovers_gets_each_event_under_one_id(
    hook_for: Callable[[Receiver], Hook], settings: type[django_settings]
) -> None:
    settings.REALTIME_WEBHOOK_TIMEOUT = 0.7
    settings.REALTIME_WEBHOOK_RETRY_DELAYS = [0.1] * 9
    answers = [status(500, b"Try later"), hang, status(200, b"Thanks")]
    receiver, endpoint, secret = hook_for(Receiver(per_id=answers))
    for number in range(3):
        emit("alert_triggered", {"number": number}, symbol="AAPL")
    with working():
        wait_until(all_delivered, "not all delivered")

    payloads = receiver.verify(secret)  # each attempt has a signature of its own time
    ids = {payload["data"]["number"]: set() for payload in payloads}
    for payload, request in zip(payloads, receiver.received, strict=True):
        ids[payload["data"]["number"]].add(request.id)
    assert sorted(ids) == [0, 1, 2]
    assert all(len(found) == 1 for found in ids.values())
    for row in endpoint.deliveries.all():
        codes = [attempt.response_code for attempt in row.attempts.all()]
        assert (codes[0], codes[-1]) == (500, 200)
        assert None in codes
        assert row.attempts.last().response_body == "Thanks"


def test_a_destination_that_is_dead_holds_up_no_other(
    alice: User, settings: type[django_settings]
) -> None:
    settings.REALTIME_WEBHOOK_ALLOWED_HOSTS = ["127.0.0.1"]
    settings.REALTIME_WEBHOOK_TIMEOUT = 2.0
    with Receiver(*[hang] * 9).running() as dead, Receiver().running() as alive, working():
        chats = [
            new_destination(alice, f"ntfy://127.0.0.1:{chat.port}/topic") for chat in (dead, alive)
        ]
        for number in range(5):
            data = {"message": f"alert {number}"}
            tell([chat.pk for chat in chats], alice.pk, data, "AAPL")
        dead.wait_for(1)
        alive.wait_for(1)
        delivered = WebhookDelivery.objects.filter(status="delivered")
        wait_until(delivered.exists, "nothing delivered")
        assert {row.endpoint_id for row in delivered} == {chats[1].pk}


@pytest.mark.slow
def test_what_a_killed_worker_had_begun_another_one_sends(
    hook_for: Callable[[Receiver], Hook], start_worker: Start
) -> None:
    receiver, endpoint, secret = hook_for(Receiver(hang))
    other_receiver, other_endpoint, _ = hook_for(Receiver())
    first, second = (start_worker(REALTIME_WEBHOOK_TIMEOUT="2") for _ in range(2))
    for worker in (first, second):
        worker.wait_until_ready()
    second.process.send_signal(signal.SIGSTOP)
    event(endpoint)
    receiver.wait_for(1)
    first.process.send_signal(signal.SIGSTOP)
    second.process.send_signal(signal.SIGCONT)
    # What the first one has begun is not for the second one yet.
    event(other_endpoint)
    other_receiver.wait_for(1)
    assert len(receiver.received) == 1
    first.kill()
    one, two = receiver.wait_for(2)
    assert one.id == two.id
    assert two.at - one.at > 2  # the lease is longer than an attempt
    wait_until(all_delivered, second.log)
    killed, made = endpoint.deliveries.get().attempts.all()
    assert (killed.finished_at, made.response_code) == (None, 200)
    assert len(receiver.verify(secret)) == 2


@pytest.mark.slow
def test_several_workers_send_each_event_once(
    hook_for: Callable[[Receiver], Hook], start_worker: Start
) -> None:
    receivers = [hook_for(Receiver())[0] for _ in range(3)]
    workers = [start_worker() for _ in range(2)]
    for worker in workers:
        worker.wait_until_ready()
    for _ in range(30):
        emit("test", {}, symbol=None)
    for receiver in receivers:
        receiver.wait_for(30)
    wait_until(all_delivered, workers[0].log)
    for receiver in receivers:
        counts = Counter(request.id for request in receiver.received)
        assert set(counts.values()) == {1}
        assert len(counts) == 30
    assert [worker.stop() for worker in workers] == [0, 0]


def test_a_receiver_that_hangs_holds_up_no_other(
    hook_for: Callable[[Receiver], Hook], settings: type[django_settings]
) -> None:
    settings.REALTIME_WEBHOOK_CONCURRENCY = 3
    slow, slow_endpoint, _ = hook_for(Receiver(per_id=[hang]))
    fast, fast_endpoint, _ = hook_for(Receiver())
    for _ in range(30):
        event(slow_endpoint)
    for _ in range(30):
        event(fast_endpoint)
    with working():
        fast.wait_for(30)
        assert len(slow.received) == 3  # none of them has ended: that takes 15 s
        slow.closing.set()


def test_the_slow_receivers_of_one_owner_hold_up_no_other_owner(
    hook_for: Callable[[Receiver], Hook],
) -> None:
    slow, *_ = hook_for(Receiver(per_id=[hang]))
    alice = WebhookEndpoint.objects.get().owner
    many = [WebhookEndpoint.objects.create_endpoint(alice, slow.url)[0] for _ in range(20)]
    for endpoint in many:
        for _ in range(5):
            event(endpoint)
    with working(), Receiver().running() as fast:
        slow.wait_for(40)
        event(WebhookEndpoint.objects.create_endpoint(personas.olga(), fast.url)[0])
        fast.wait_for(1)
        assert len(slow.received) <= 50  # none of them has ended: that takes 15 s
        slow.closing.set()


@pytest.mark.slow
def test_a_worker_that_is_told_to_stop_stops_soon_and_its_work_is_due_at_once(
    hook_for: Callable[[Receiver], Hook], start_worker: Start
) -> None:
    receiver, endpoint, _ = hook_for(Receiver(hang))
    row = event(endpoint)
    worker = start_worker()
    worker.wait_until_ready()
    receiver.wait_for(1)
    began = time.monotonic()
    assert worker.stop() == 0
    assert time.monotonic() - began < scaled(10)
    row.refresh_from_db()
    assert (row.status, row.claim, row.tries) == ("pending", "", 0)
    call_command("deliver_webhooks", "--once")
    assert {request.id for request in receiver.wait_for(2)} == {row.webhook_id}


def test_an_outage_of_the_database_is_waited_out(
    hook_for: Callable[[Receiver], Hook], caplog: pytest.LogCaptureFixture
) -> None:
    receiver, endpoint, _ = hook_for(Receiver())
    event(endpoint)
    away = "ALTER TABLE realtime_webhookdelivery RENAME TO away"
    back = "ALTER TABLE away RENAME TO realtime_webhookdelivery"
    with connection.cursor() as cursor:
        cursor.execute(away)
        try:
            with working():
                wait_until(lambda: "trying again" in caplog.text, "no outage was noticed")
                cursor.execute(back)
                receiver.wait_for(1)
                wait_until(all_delivered, "not delivered")
        finally:
            if "away" in connection.introspection.table_names():
                cursor.execute(back)
    assert caplog.text.count("trying again") == 1


def test_once_sends_what_is_due_and_ends(
    hook_for: Callable[[Receiver], Hook], capsys: pytest.CaptureFixture[str]
) -> None:
    receiver, endpoint, secret = hook_for(Receiver(status(503)))
    for _ in range(7):
        event(endpoint)
    call_command("deliver_webhooks", "--once")
    assert capsys.readouterr().out == "7 attempt(s) made\n"
    assert len(receiver.verify(secret)) == 7
    assert endpoint.deliveries.filter(status="delivered").count() == 6


def test_celery_s_beat_runs_a_task_that_sends_what_is_due(
    hook_for: Callable[[Receiver], Hook],
) -> None:
    receiver, endpoint, secret = hook_for(Receiver())
    event(endpoint)
    task = import_string(django_settings.CELERY_BEAT_SCHEDULE["deliver-webhooks"]["task"])
    assert task() == 1
    assert len(receiver.verify(secret)) == 1


def test_what_was_given_up_is_sent_again_from_a_terminal(
    hook_for: Callable[[Receiver], Hook], capsys: pytest.CaptureFixture[str]
) -> None:
    receiver, endpoint, _ = hook_for(Receiver())
    old = event(endpoint, status="failed", created_at=timezone.now() - timedelta(hours=3))
    row = event(endpoint, status="failed", tries=10)
    call_command("resend_webhooks", "--since", "2h", "--endpoint", str(endpoint.pk))
    call_command("deliver_webhooks", "--once")
    assert "1 event(s) will be sent again" in capsys.readouterr().out
    assert [request.id for request in receiver.received] == [row.webhook_id]
    old.refresh_from_db()
    assert old.status == "failed"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--since", "2h", "--endpoint", "99999"], "there is no endpoint 99999"),
        (["--since", "yesterday"], "is not a time"),
        (["--since", "999999w"], "before all calendars"),
        (["--since", "9999-12-31T23:59:59-12:00"], "is not a time"),
        ([], "--since"),
    ],
)
def test_a_wrong_resend_says_what_is_wrong(arguments: list[str], problem: str) -> None:
    with pytest.raises(CommandError, match=problem):
        call_command("resend_webhooks", *arguments)
