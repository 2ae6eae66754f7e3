"""README's receiver, run as it is printed there, against what is sent."""

import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from django.conf import settings as django_settings

from realtime.models import WebhookEvent
from realtime.webhook_secrets import new_secret
from realtime.webhooks.sender import Sender, WebhookRequest
from tests.documents import block, section
from tests.patience import PATIENCE, START_SECONDS, STOP_SECONDS
from tests.processes import free_port

SECRET = new_secret()


@pytest.fixture
def receiver() -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """README's receiver with another secret and port: its URL and its process."""
    code = block("Webhooks", "python")
    port = free_port()
    assert code.count("whsec_YOUR_SECRET") == code.count("9000") == 1
    code = code.replace("whsec_YOUR_SECRET", SECRET).replace("9000", str(port))
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}/hook"
    try:
        wait_for(url, process)
        yield url, process
    finally:
        process.kill()
        process.communicate(timeout=STOP_SECONDS)


def wait_for(url: str, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            urllib.request.urlopen(url, timeout=PATIENCE).close()
        except urllib.error.HTTPError as exc:
            exc.close()
            return  # it answers, that it knows no GET
        except OSError:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)


async def test_the_receiver_takes_what_is_sent_once_and_refuses_what_is_forged(
    receiver: tuple[str, "subprocess.Popen[str]"], settings: type[django_settings]
) -> None:
    settings.REALTIME_WEBHOOK_ALLOWED_HOSTS = ["127.0.0.1"]
    url, process = receiver
    body = b'{"type":"test","timestamp":"2024-01-01T12:00:00.000Z","data":{"number":7}}'
    sender = Sender(timeout=10.0)
    codes = []
    for webhook_id, secret in (("a", SECRET), ("a", SECRET), ("b", new_secret()), ("c", SECRET)):
        outcome = await sender.send(
            WebhookRequest(url, webhook_id, body, [secret]), datetime.now(UTC)
        )
        codes.append(outcome.code)
    await sender.aclose()
    assert codes == [204, 204, 400, 204]
    process.terminate()
    printed, _ = process.communicate(timeout=STOP_SECONDS)
    assert printed.splitlines() == ["test {'number': 7}"] * 2


def test_the_section_names_every_event() -> None:
    named = re.findall(r"^\| `(\w+)` \|", section("Webhooks"), re.MULTILINE)
    assert sorted(named) == sorted(WebhookEvent.values)
