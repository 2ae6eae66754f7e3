import io
import logging
import sys
import time
from typing import Any

import daphne.access
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.access.redact import (
    RedactFilter,
    RequestFilter,
    redact,
    redact_access_log_of_daphne,
)

KEY = "ara_k3f9a2bc_" + "S3cretS3cretS3cretS3cretS3cret12"
TICKET = "arat_" + "T1cketT1cketT1cketT1cketT1cket12"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJ1c2VyX2lkIjoiMSJ9.c2lnbmF0dXJlLXNlY3JldA"
WEBHOOK = "whsec_S3cret+S3cret/S3cretS3cretS3cretS3cretS3c="
OPAQUE = "opaque-0123456789-value"
SECRETS = (KEY[13:], TICKET[5:], JWT.rsplit(".", 1)[1], OPAQUE, WEBHOOK[6:])


def formatted(message: str, *args: Any, exc_info: Any = None) -> str:
    record = logging.LogRecord("test", logging.INFO, __file__, 1, message, args, exc_info)
    assert RedactFilter().filter(record) is True
    return logging.Formatter("%(message)s").format(record)


def assert_clean(text: str) -> None:
    assert not [secret for secret in SECRETS if secret in text], text


@pytest.mark.parametrize(
    "text",
    [
        f"GET /ws/alerts?token={OPAQUE} HTTP/1.1",
        f"GET /ws/alerts?a=1&ticket={OPAQUE}&b=2",
        f"GET /ws/alerts?TOKEN={JWT}",
        f"Authorization: Bearer {OPAQUE}",
        f"authorization: Api-Key {KEY}",
        f"[(b'authorization', b'Bearer {OPAQUE}'), (b'x-api-key', b'{OPAQUE}')]",
        f"{{'HTTP_AUTHORIZATION': 'Bearer {OPAQUE}', 'HTTP_X_API_KEY': '{OPAQUE}'}}",
        f"X-API-Key: {OPAQUE}",
        f"Sec-WebSocket-Protocol: ara.v1, ara.token.{OPAQUE}",
        f"subprotocols ['ara.v1', 'ara.token.{OPAQUE}']",
        f'{{"type": "auth", "token": "{OPAQUE}"}}',
        f"{{'type': 'auth', 'token': '{OPAQUE}'}}",
        f'{{"access": "{JWT}", "refresh": "{JWT}"}}',
        f'"{{\\"token\\": \\"{OPAQUE}\\"}}"',
        f"the key {KEY} was used",
        f"the ticket {TICKET} was used",
        f"signed with {WEBHOOK}",
        f"the token {JWT} was used",
        f'{{"username": "alice", "password": "{OPAQUE}"}}',
        f"redis://ara:{OPAQUE}@h/0 and amqp://:{OPAQUE}@h",
        f"smtp+tls://u:a#b?c/d@e{OPAQUE}@h:587",
    ],
)
def test_a_secret_is_redacted_wherever_it_stands(text: str) -> None:
    assert_clean(redact(text))
    assert redact(redact(text)) == redact(text)


def test_the_visible_part_of_a_key_stays() -> None:
    assert redact(f"key {KEY} revoked") == "key ara_k3f9a2bc_[redacted] revoked"


@pytest.mark.parametrize(
    "text",
    [
        "GET /ws/alerts?symbol=AAPL HTTP/1.1",
        "ara_project.settings",
        "The token has expired. Refresh it, or obtain a new one.",
        "no authorization, closing",
        "Unauthorized: /api/v1/auth/token/refresh",
    ],
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert redact(text) == text


def test_arguments_are_redacted_and_keep_their_shape() -> None:
    # As uvicorn's access log passes them; its formatter unpacks the tuple.
    args = ("127.0.0.1:5000", "GET", f"/x?token={OPAQUE}", "1.1", 200)
    record = logging.LogRecord("uvicorn.access", 20, "", 1, '%s - "%s %s HTTP/%s" %d', args, None)
    RedactFilter().filter(record)
    assert record.args == ("127.0.0.1:5000", "GET", "/x?token=[redacted]", "1.1", 200)


def test_arguments_by_name_are_redacted() -> None:
    # As daphne's runserver passes them: one dict, which it goes on using.
    details = {"path": f"/ws/alerts?token={OPAQUE}", "client": "127.0.0.1:5000"}
    text = formatted("WebSocket CONNECT %(path)s [%(client)s]", details)
    assert text == "WebSocket CONNECT /ws/alerts?token=[redacted] [127.0.0.1:5000]"
    assert OPAQUE in details["path"]


def test_a_secret_is_redacted_when_its_name_is_in_the_format_string() -> None:
    assert formatted("refused token=%s for %s", OPAQUE, "alice") == (
        "refused token=[redacted] for alice"
    )


def test_an_argument_that_is_no_string_is_redacted() -> None:
    assert_clean(formatted("scope %s", {"query_string": f"token={OPAQUE}".encode()}))
    assert_clean(formatted("error %r", ValueError(f"bad token {JWT}")))


def test_a_traceback_is_redacted() -> None:
    try:
        raise ValueError(f"cannot read {JWT}")
    except ValueError:
        text = formatted("failed", exc_info=sys.exc_info())
    assert "Traceback" in text
    assert "ValueError: cannot read [redacted]" in text
    assert_clean(text)


def test_a_record_with_wrong_arguments_does_not_raise() -> None:
    record = logging.LogRecord("test", 20, "", 1, "%d %d", (JWT,), None)
    assert RedactFilter().filter(record)
    assert_clean(f"{record.msg} {record.args}")


def test_an_argument_that_cannot_be_shown_does_not_raise() -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError(JWT)

    record = logging.LogRecord("test", 20, "", 1, "%s", (Broken(),), None)
    assert RedactFilter().filter(record)
    assert_clean(record.getMessage())


@given(st.text())
def test_any_text_is_redacted_and_for_all(text: str) -> None:
    assert redact(redact(text)) == redact(text)


@given(st.text(), st.text(alphabet=st.characters(codec="ascii", categories=["L", "N"]), min_size=9))
def test_a_token_in_a_query_is_redacted_whatever_surrounds_it(text: str, secret: str) -> None:
    assert f"token={secret}" not in redact(f"{text} /ws/alerts?token={secret}")


@pytest.mark.parametrize(
    "hostile",
    [
        "-eyJ" * 16_000,
        "authorization" + " " * 64_000,
        "token=" * 10_000,
        'token"' * 10_000,
        "ara_aaaaaaaa_" * 5_000,
        "bearer " * 9_000,
        "x-api-key:" * 6_000,
        "authorization:" * 5_000,
        "ara.token." * 6_000,
        "eyJ" + "a." * 30_000,
        'password"' + "\\" * 60_000,
    ],
    ids=lambda text: text[:12],
)
def test_hostile_text_takes_linear_time(hostile: str) -> None:
    begin = time.process_time()
    redact(hostile)
    assert time.process_time() - begin < 0.5


def test_a_record_without_a_secret_costs_little() -> None:
    record = logging.LogRecord(
        "test", 20, "", 1, "%s published %d updates of %s", ("feed", 500, "AAPL"), None
    )
    log_filter = RedactFilter()
    begin = time.process_time()
    for _ in range(10_000):
        log_filter.filter(record)
    assert (time.process_time() - begin) / 10_000 < 50e-6


def test_the_access_log_of_daphne_is_redacted() -> None:
    stream = io.StringIO()
    redact_access_log_of_daphne()
    details = {
        "client": "127.0.0.1:1",
        "method": "GET",
        "path": f"/x?token={OPAQUE}",
        "status": 200,
    }
    daphne.access.AccessLogGenerator(stream)("http", "complete", {**details, "size": 7})
    assert '"GET /x?token=[redacted]" 200 7' in stream.getvalue()


@pytest.mark.parametrize(
    ("status", "level", "traceback"),
    [(400, "WARNING", False), (503, "WARNING", False), (500, "ERROR", True)],
)
def test_only_what_is_our_fault_is_an_error_with_a_traceback(
    status: int, level: str, traceback: bool
) -> None:
    error = (ValueError, ValueError("x"), None)
    record = logging.LogRecord("django.request", logging.ERROR, "", 1, "x", None, error)
    record.status_code = status
    assert RequestFilter().filter(record)
    assert (record.levelname, record.exc_info is not None) == (level, traceback)
