"""One request over real sockets, to receivers that behave and to others."""

import asyncio
import gzip
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.conf import settings as django_settings

from realtime import webhook_addresses as addresses
from realtime.models import WebhookAttempt
from realtime.webhook_secrets import new_secret
from realtime.webhooks.sender import AttemptResult, Sender, WebhookRequest, trusted_authorities
from tests.patience import PATIENCE, scaled
from tests.processes import free_port
from tests.webhooks.receiver import Answer, Receiver, drip, hang, raw, status
from tests.webhooks.test_addresses import answer_with

Problem = WebhookAttempt.Problem
SECRET = new_secret()
OK = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture(autouse=True)
def _inside_is_allowed(settings: type[django_settings]) -> None:
    settings.REALTIME_WEBHOOK_ALLOWED_HOSTS = ["127.0.0.1"]


@pytest.fixture
def receivers() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def receiver(receivers: ExitStack) -> Receiver:
    return receivers.enter_context(Receiver().running())


@pytest.fixture(scope="module")
def trust() -> ssl.SSLContext:
    """What a sender makes for itself, once for all of them."""
    return trusted_authorities()


@pytest.fixture
async def sender(trust: ssl.SSLContext) -> AsyncIterator[Sender]:
    sender = Sender(10.0, trust)
    yield sender
    await sender.aclose()


@pytest.fixture
async def impatient(trust: ssl.SSLContext) -> AsyncIterator[Sender]:
    sender = Sender(0.4, trust)
    yield sender
    await sender.aclose()


async def send(sender: Sender, url: str, **fields: Any) -> AttemptResult:
    request = WebhookRequest(url, "msg_1", b'{"type":"test"}', fields.pop("secrets", [SECRET]))
    return await sender.send(request, datetime.now(UTC))


async def test_a_receiver_verifies_the_signature_and_answers(
    sender: Sender, receiver: Receiver
) -> None:
    outcome = await send(sender, f"{receiver.url}?a=%20b")
    assert outcome == AttemptResult(code=200)
    assert outcome.success
    assert receiver.verify(SECRET) == [{"type": "test"}]
    (request,) = receiver.received
    assert request.path == "/hook?a=%20b"
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert request.headers["content-type"] == "application/json"


async def test_both_secrets_of_a_rotation_sign(sender: Sender, receiver: Receiver) -> None:
    other = new_secret()
    await send(sender, receiver.url, secrets=[SECRET, other])
    assert receiver.verify(SECRET) == receiver.verify(other)


@pytest.mark.parametrize("code", [201, 204, 299])
async def test_every_2xx_is_a_success(sender: Sender, receiver: Receiver, code: int) -> None:
    receiver.answers = [status(code)]
    assert (await send(sender, receiver.url)).success


@pytest.mark.parametrize("code", [300, 304, 400, 404, 410, 500, 503])
async def test_nothing_else_is(sender: Sender, receiver: Receiver, code: int) -> None:
    receiver.answers = [status(code, b"no" if code != 304 else b"")]
    outcome = await send(sender, receiver.url)
    assert (outcome.success, outcome.code) == (False, code)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(
    sender: Sender, receiver: Receiver, receivers: ExitStack, code: int
) -> None:
    elsewhere = receivers.enter_context(Receiver().running())
    receiver.answers = [status(code, location=elsewhere.url)]
    outcome = await send(sender, receiver.url)
    assert (outcome.success, outcome.code) == (False, code)
    assert elsewhere.connections == 0


async def test_a_receiver_may_ask_for_time(sender: Sender, receiver: Receiver) -> None:
    receiver.answers = [status(503, Retry_After="120")]
    outcome = await send(sender, receiver.url)
    assert outcome.retry_after == timedelta(minutes=2)


@pytest.mark.parametrize("code", [200, 503])
@pytest.mark.parametrize("year", ["99999999999", "9" * 5000])
async def test_a_time_beyond_all_calendars_changes_no_outcome(
    sender: Sender, receiver: Receiver, code: int, year: str
) -> None:
    receiver.answers = [status(code, Retry_After=f"Wed, 21 Oct {year} 07:28:00 GMT")]
    outcome = await send(sender, receiver.url)
    assert (outcome.code, outcome.retry_after) == (code, None)


async def test_the_first_kilobyte_of_the_answer_is_kept(sender: Sender, receiver: Receiver) -> None:
    receiver.answers = [status(500, b"x" * 100_000), status(500, "é\0\n".encode() + b"\xff")]
    assert (await send(sender, receiver.url)).body == "x" * 1024
    assert (await send(sender, receiver.url)).body == "é\ufffd\n\ufffd"


async def test_an_endless_answer_ends_after_a_kilobyte(sender: Sender, receiver: Receiver) -> None:
    receiver.answers = [raw(OK, b"\r\n", then=drip(b"x" * 1000))]
    began = time.monotonic()
    assert await send(sender, receiver.url) == AttemptResult(code=200, body="x" * 1024)
    assert time.monotonic() - began < sender.timeout


async def test_a_packed_answer_is_not_unpacked(sender: Sender, receiver: Receiver) -> None:
    bomb = gzip.compress(b"\0" * 10_000_000)
    receiver.answers = [status(200, bomb, Content_Encoding="gzip")]
    assert len((await send(sender, receiver.url)).body) <= 1024


@pytest.mark.parametrize(
    "answer",
    [hang, raw(b"HTT", then=hang), raw(OK, then=drip(b"a: b\r\n")), raw(b"", then=drip(b" "))],
    ids=["nothing", "a beginning", "endless headers", "endless spaces"],
)
async def test_who_does_not_answer_in_time_is_left(
    impatient: Sender, receiver: Receiver, answer: Answer
) -> None:
    receiver.answers = [answer]
    began = time.monotonic()
    outcome = await send(impatient, receiver.url)
    assert outcome.problem in (Problem.TIMEOUT, Problem.ANSWER)
    assert time.monotonic() - began < scaled(5)


async def test_a_status_that_came_counts_although_the_body_does_not(
    impatient: Sender, receiver: Receiver
) -> None:
    receiver.answers = [raw(OK, b"content-length: 100\r\n\r\nsome", then=hang)]
    assert await send(impatient, receiver.url) == AttemptResult(code=200, body="some")


@pytest.mark.parametrize(
    "answer",
    [
        raw(b"SSH-2.0-OpenSSH_9.2\r\n"),
        raw(b""),
        raw(b"HTTP/1.1 9999 x\r\n\r\n"),
        raw(OK, b"content-length: many\r\n\r\n"),
        raw(OK, b"x: " + b"y" * 1_000_000 + b"\r\n\r\n"),
        raw(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"),
    ],
    ids=["ssh", "nothing", "no status", "no length", "long header", "another protocol"],
)
async def test_what_is_no_answer_is_no_success(
    sender: Sender, receiver: Receiver, answer: Answer
) -> None:
    receiver.answers = [answer]
    assert not (await send(sender, receiver.url)).success


async def test_nobody_there(sender: Sender) -> None:
    outcome = await send(sender, f"http://127.0.0.1:{free_port()}/")
    assert outcome == AttemptResult(problem=Problem.CONNECT)


async def test_without_a_secret_nothing_is_sent(sender: Sender, receiver: Receiver) -> None:
    assert await send(sender, receiver.url, secrets=[]) == AttemptResult(problem=Problem.SECRET)
    assert receiver.connections == 0


# Not inside -----------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "2130706433", "hooks.test"])
async def test_a_receiver_inside_hears_nothing(
    monkeypatch: pytest.MonkeyPatch,
    settings: type[django_settings],
    sender: Sender,
    receiver: Receiver,
    host: str,
) -> None:
    settings.REALTIME_WEBHOOK_ALLOWED_HOSTS = []
    settings.DEBUG = True  # http, but not inside
    if host == "hooks.test":
        answer_with(monkeypatch, ["127.0.0.1"])
    outcome = await send(sender, f"http://{host}:{receiver.port}/")
    assert outcome == AttemptResult(problem=Problem.ADDRESS)
    assert receiver.connections == 0


async def test_a_name_that_changes_its_mind_is_asked_once(
    monkeypatch: pytest.MonkeyPatch,
    settings: type[django_settings],
    sender: Sender,
    receiver: Receiver,
) -> None:
    settings.REALTIME_WEBHOOK_ALLOWED_HOSTS = ["hooks.test"]
    # A second question would be answered with an address where nobody is.
    answer_with(monkeypatch, ["127.0.0.1"], ["127.0.0.2"])
    outcome = await send(sender, f"http://hooks.test:{receiver.port}/")
    assert outcome.success
    assert receiver.received[0].headers["host"] == f"hooks.test:{receiver.port}"


async def test_the_next_address_is_tried_where_nobody_listens(
    monkeypatch: pytest.MonkeyPatch,
    settings: type[django_settings],
    sender: Sender,
    receiver: Receiver,
) -> None:
    settings.REALTIME_WEBHOOK_ALLOWED_HOSTS = ["hooks.test"]
    answer_with(monkeypatch, ["127.0.0.2", "::1", "127.0.0.1"])
    assert (await send(sender, f"http://hooks.test:{receiver.port}/")).success
    assert len(receiver.received) == 1


async def test_a_slow_name_server_holds_up_no_other_name(
    monkeypatch: pytest.MonkeyPatch,
    settings: type[django_settings],
    sender: Sender,
    receiver: Receiver,
) -> None:
    settings.REALTIME_WEBHOOK_ALLOWED_HOSTS = ["hooks.test"]
    answers = threading.Event()

    def getaddrinfo(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        if host == "slow.test":
            answers.wait(PATIENCE)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(addresses.socket, "getaddrinfo", getaddrinfo)
    # More than a pool of threads has.
    waiting = [asyncio.create_task(send(sender, "https://slow.test/")) for _ in range(50)]
    assert (await send(sender, f"http://hooks.test:{receiver.port}/")).success
    assert not any(task.done() for task in waiting)
    answers.set()
    assert {task.problem for task in await asyncio.gather(*waiting)} == {Problem.ADDRESS}


async def test_an_unknown_name(monkeypatch: pytest.MonkeyPatch, sender: Sender) -> None:
    answer_with(monkeypatch, [])
    assert await send(sender, "https://nowhere.test/") == AttemptResult(problem=Problem.NAME)


async def test_a_proxy_of_the_environment_hears_nothing(
    monkeypatch: pytest.MonkeyPatch, receiver: Receiver, receivers: ExitStack
) -> None:
    proxy = receivers.enter_context(Receiver().running())
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, proxy.url)
    monkeypatch.delenv("NO_PROXY", raising=False)
    sender = Sender(timeout=10.0)
    assert (await send(sender, receiver.url)).success
    assert proxy.connections == 0
    await sender.aclose()


async def test_no_cookie_comes_back(sender: Sender, receiver: Receiver) -> None:
    receiver.answers = [status(200, Set_Cookie="session=1; Path=/")]
    for _ in range(2):
        await send(sender, receiver.url)
    assert all("cookie" not in request.headers for request in receiver.received)


# TLS ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of hooks.test and its key, in one file, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "hooks.test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("hooks.test")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "hooks.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path


async def send_with_tls(
    monkeypatch: pytest.MonkeyPatch,
    settings: type[django_settings],
    certificate: Path,
    *,
    host: str = "hooks.test",
    trusted: bool = True,
) -> tuple[AttemptResult, Receiver]:
    settings.REALTIME_WEBHOOK_ALLOWED_HOSTS = [host]
    answer_with(monkeypatch, ["127.0.0.1"])
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)
    trust = ssl.create_default_context(cafile=str(certificate)) if trusted else None
    sender = Sender(timeout=10.0, context=trust)
    with Receiver().running(server) as receiver:
        outcome = await send(sender, f"https://{host}:{receiver.port}/")
    await sender.aclose()
    return outcome, receiver


async def test_the_certificate_is_checked_for_the_name_and_not_for_the_address(
    monkeypatch: pytest.MonkeyPatch, settings: type[django_settings], certificate: Path
) -> None:
    outcome, receiver = await send_with_tls(monkeypatch, settings, certificate)
    assert outcome.success
    assert receiver.verify(SECRET)


async def test_a_certificate_of_another_name_is_refused(
    monkeypatch: pytest.MonkeyPatch, settings: type[django_settings], certificate: Path
) -> None:
    outcome, receiver = await send_with_tls(monkeypatch, settings, certificate, host="other.test")
    assert outcome == AttemptResult(problem=Problem.CONNECT)
    assert receiver.received == []


async def test_a_certificate_that_nobody_vouches_for_is_refused(
    monkeypatch: pytest.MonkeyPatch, settings: type[django_settings], certificate: Path
) -> None:
    outcome, receiver = await send_with_tls(monkeypatch, settings, certificate, trusted=False)
    assert outcome == AttemptResult(problem=Problem.CONNECT)
    assert receiver.received == []
