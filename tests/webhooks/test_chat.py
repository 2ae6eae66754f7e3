"""Messages to chats, over real sockets: a local server plays the service."""

import ast
import json
import logging
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import pytest
import requests
from django.conf import settings as django_settings

from realtime.conf import CHAT_SERVICES
from realtime.models import WebhookAttempt
from realtime.webhooks.chat import check_url
from realtime.webhooks.messages import Message
from realtime.webhooks.results import AttemptResult
from realtime.webhooks.sender import Sender
from tests.processes import free_port
from tests.webhooks.receiver import Receiver, hang, status
from tests.webhooks.test_addresses import answer_with

Problem = WebhookAttempt.Problem
NOW = datetime(2026, 11, 30, tzinfo=UTC)
TOPIC = "very-secret-topic"


@pytest.fixture(autouse=True)
def _inside_is_allowed(settings: type[django_settings]) -> None:
    settings.REALTIME_WEBHOOK_ALLOWED_HOSTS = ["127.0.0.1"]


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    sender = Sender(10.0)
    yield sender
    await sender.aclose()


@pytest.fixture
def play() -> Iterator[Callable[..., Receiver]]:
    """A function that starts a chat with these answers."""
    with ExitStack() as stack:
        yield lambda *answers: stack.enter_context(Receiver(*answers).running())


def to(receiver: Receiver | None = None, url: str = "") -> Message:
    port = receiver.port if receiver else free_port()
    url = url or f"ntfy://127.0.0.1:{port}/{TOPIC}"
    return Message("chat", url, "[high] AAPL: above 150", "12:00 high AAPL: above 150")


async def test_a_chat_gets_title_and_text(sender: Sender, play: Callable[..., Receiver]) -> None:
    chat = play()
    assert await sender.send(to(chat), NOW) == AttemptResult(code=200)
    (request,) = chat.received
    body = json.loads(request.body)
    assert (body["topic"], body["title"]) == (TOPIC, "[high] AAPL: above 150")
    assert body["message"] == "12:00 high AAPL: above 150"


@pytest.mark.parametrize(
    ("url", "most"),
    [
        ("mmost://127.0.0.1:{port}/abcdefghijklmnopqrstuvwxyz", 4000),
        ("ntfy://127.0.0.1:{port}/topic", 7800),
    ],
)
async def test_a_digest_that_a_chat_would_refuse_is_cut_to_its_newest_alerts(
    sender: Sender, play: Callable[..., Receiver], url: str, most: int
) -> None:
    chat = play()
    lines = [f"12:00:{number} high AAPL: above {'1' * 300}, {number}" for number in range(50)]
    message = Message("chat", url.format(port=chat.port), "50 alerts: AAPL", "\n".join(lines))
    assert (await sender.send(message, NOW)).success
    (request,) = chat.received
    body = json.loads(request.body)
    text = body.get("text") or body["message"]
    assert len(text) <= most
    assert "The newest ones:" in text
    assert text.endswith(", 49")
    assert ", 48\n" in text


async def test_a_redirect_is_not_followed(sender: Sender, play: Callable[..., Receiver]) -> None:
    inside = play()
    chat = play(status(307, location=inside.url))
    result = await sender.send(to(chat), NOW)
    assert (result.code, result.success) == (307, False)
    assert inside.connections == 0


@pytest.mark.parametrize(
    "url", ["gotify://{host}/AbCdEfGhIjKlMnO", "mmost://{host}/abcdefghijklmnopqrstuvwxyz",
            "rocket://user:password@{host}/%23room", "matrix://user:secret@{host}/#room",
            "ntfy://{host}/topic"],
)  # fmt: skip
async def test_a_name_that_leads_inside_when_it_is_sent_is_refused(
    sender: Sender,
    play: Callable[..., Receiver],
    monkeypatch: pytest.MonkeyPatch,
    settings: type[django_settings],
    url: str,
) -> None:
    settings.DEBUG = True  # without TLS, which none of these would come to
    settings.REALTIME_WEBHOOK_ALLOWED_HOSTS = []
    chat = play()
    answer_with(monkeypatch, "127.0.0.1")
    message = to(url=url.format(host=f"chat.example.com:{chat.port}"))
    assert (await sender.send(message, NOW)).problem == Problem.ADDRESS
    assert chat.connections == 0


async def test_nothing_that_goes_wrong_raises(
    sender: Sender, play: Callable[..., Receiver]
) -> None:
    assert (await sender.send(to(), NOW)).problem == Problem.CONNECT
    assert (await sender.send(to(play(status(404))), NOW)).code == 404
    assert (await sender.send(to(url="mailto://a:b@example.com"), NOW)).problem == Problem.SETUP


async def test_a_chat_that_says_wait_is_left_alone(
    sender: Sender, play: Callable[..., Receiver]
) -> None:
    result = await sender.send(to(play(status(429, retry_after="60"))), NOW)
    assert result.code == 429
    assert result.retry_after is not None
    assert result.retry_after.total_seconds() == 60


async def test_a_chat_that_hangs_ends_at_the_deadline(play: Callable[..., Receiver]) -> None:
    hasty = Sender(0.5)
    assert (await hasty.send(to(play(hang)), NOW)).problem == Problem.TIMEOUT
    await hasty.aclose()


async def test_matrix_sends_to_its_server_alone(
    sender: Sender, play: Callable[..., Receiver]
) -> None:
    login = b'{"access_token": "t", "home_server": "h", "user_id": "@u:h", "device_id": "d"}'
    answers = [status(200, login), status(200, b'{"room_id": "!r:h"}')]
    chat = play(*answers, *[status(200, b'{"event_id": "e", "joined_rooms": ["!r:h"]}')] * 9)
    await sender.send(to(url=f"matrix://user:secret@127.0.0.1:{chat.port}/!r:h"), NOW)
    assert "/login" in chat.received[0].path


async def test_addresses_are_not_logged(
    sender: Sender, play: Callable[..., Receiver], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await sender.send(to(play(status(404))), NOW)
    await sender.send(to(), NOW)
    assert TOPIC not in caplog.text


async def test_other_users_of_apprise_are_not_guarded(play: Callable[..., Receiver]) -> None:
    check_url(f"ntfy://127.0.0.1/{TOPIC}")
    plugin = vars(import_module("apprise.plugins.ntfy"))
    assert plugin["requests"].post is requests.post
    assert plugin["requests"].Session is requests.Session


@pytest.mark.parametrize("service", CHAT_SERVICES)
def test_a_plug_in_reaches_the_network_by_requests_alone(service: str) -> None:
    module = import_module(f"apprise.plugins.{service}")
    files = (
        sorted(Path(module.__file__ or "").parent.glob("*.py"))
        if hasattr(module, "__path__")
        else [Path(module.__file__ or "")]
    )
    imported: set[str] = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add((node.module or "").partition(".")[0])
    assert "requests" in imported
    network = {"socket", "ssl", "smtplib", "http", "httpx", "urllib3", "aiohttp", "subprocess",
               "asyncio", "websocket", "websockets", "paho", "ftplib", "telnetlib"}  # fmt: skip
    assert not imported & network


async def test_a_missing_extra_is_named(
    sender: Sender, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delitem(sys.modules, "realtime.webhooks.chat")
    monkeypatch.setitem(sys.modules, "apprise", None)
    assert (await sender.send(to(), NOW)).problem == Problem.SETUP
    assert "requirements-notify.txt" in caplog.text or "[notify]" in caplog.text
