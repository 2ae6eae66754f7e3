"""Messages by e-mail, to a real SMTP server of this process."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import Message as Mail
from email.policy import default

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from django.conf import settings as django_settings

from realtime.models import WebhookAttempt
from realtime.webhooks.messages import Message
from realtime.webhooks.sender import _MAILS_AT_ONCE, Sender
from tests.patience import START_SECONDS
from tests.processes import free_port

Problem = WebhookAttempt.Problem
NOW = datetime(2026, 11, 30, tzinfo=UTC)
STOP = "https://realtime.example.com/destinations/stop?token=t"
MESSAGE = Message("email", "ada@example.com", "[high] AAPL ≥ 150", "It is.\n\nTo stop it: …", STOP)


class Mailbox:
    """What aiosmtpd calls; `answer`: to each mail."""

    def __init__(self) -> None:
        self.mails: list[Mail] = []
        self.answer = "250 OK"
        self.open = self.most_at_once = 0

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        self.open += 1
        self.most_at_once = max(self.open, self.most_at_once)
        await asyncio.sleep(0.02)  # others come in the meantime
        self.open -= 1
        self.mails.append(message_from_bytes(envelope.content, policy=default))
        return self.answer


@pytest.fixture
def mailbox(settings: type[django_settings]) -> Iterator[Mailbox]:
    box, port = Mailbox(), free_port()
    controller = Controller(box, hostname="127.0.0.1", port=port, ready_timeout=START_SECONDS)
    controller.start()
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", port
    settings.REALTIME_PUBLIC_URL = "https://realtime.example.com"
    yield box
    controller.stop()


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    sender = Sender(10.0)
    yield sender
    await sender.aclose()


async def test_a_mail_arrives_and_says_how_to_stop_it(mailbox: Mailbox, sender: Sender) -> None:
    assert (await sender.send(MESSAGE, NOW)).success
    (mail,) = mailbox.mails
    assert (mail["To"], mail["Subject"]) == ("ada@example.com", "[high] AAPL ≥ 150")
    assert mail["List-Unsubscribe"] == f"<{STOP}>"
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert "It is." in str(mail.get_payload(decode=True), "utf-8")


async def test_what_the_server_refuses_has_failed(mailbox: Mailbox, sender: Sender) -> None:
    mailbox.answer = "550 No such user"
    result = await sender.send(MESSAGE, NOW)
    assert (result.success, result.code, result.problem) == (False, 550, Problem.MAIL)


async def test_a_mail_server_that_is_away_is_told(
    mailbox: Mailbox, sender: Sender, settings: type[django_settings]
) -> None:
    settings.EMAIL_PORT = free_port()
    assert (await sender.send(MESSAGE, NOW)).problem == Problem.CONNECT


async def test_a_server_without_mail_is_not_a_success(
    mailbox: Mailbox, sender: Sender, settings: type[django_settings]
) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
    assert (await sender.send(MESSAGE, NOW)).problem == Problem.SETUP


async def test_a_mail_server_gets_a_few_at_a_time(mailbox: Mailbox, sender: Sender) -> None:
    results = await asyncio.gather(*(sender.send(MESSAGE, NOW) for _ in range(30)))
    assert all(result.success for result in results)
    assert len(mailbox.mails) == 30
    assert mailbox.most_at_once <= _MAILS_AT_ONCE


def test_nothing_that_is_logged_of_a_message_holds_its_address() -> None:
    assert "ada@example.com" not in repr(MESSAGE)
    assert STOP not in repr(MESSAGE)


async def test_a_subject_never_becomes_another_header(mailbox: Mailbox, sender: Sender) -> None:
    evil = Message("email", "ada@example.com", "x\nBcc: eve@example.com", "text", STOP)
    assert (await sender.send(evil, NOW)).problem == Problem.MAIL
    assert mailbox.mails == []
