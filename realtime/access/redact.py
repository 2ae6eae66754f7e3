"""Keeps tokens, tickets and API keys out of log records.

Servers log the whole URL of a WebSocket, and a traceback may quote a header. The filter is attached
to the handlers, which every record of the project, Django and the server passes.
"""

import functools
import logging
import re
import sys
from collections.abc import Mapping
from typing import Any, Final

REDACTED: Final = "[redacted]"

# Every text that a pattern below matches contains one of these; for an ordinary record, only this
# search is run.
_HINTS: Final = (
    "token", "ticket", "eyj", "ara_", "arat_", "bearer", "api-key", "api_key", "apikey",
    "authorization", "password", "secret", "whsec_", "://",
)  # fmt: skip
_NAMES: Final = r"(?:access_|refresh_)?token|ticket|api[-_]?key|x[-_]api[-_]key|password|secret"

_SECRET_NAME: Final = re.compile(rf"(?i)(?:{_NAMES}|(?:http_)?authorization|http_x_api_key)")
# What each record has, beside what `extra=` added.
_OWN_FIELDS: Final = frozenset(vars(logging.makeLogRecord({})))

# Every quantifier is bounded, or repeats one class that the next element cannot match, so matching
# takes linear time.
_PATTERNS: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    # The password of `redis://user:password@host`.
    (
        re.compile(r"(://[^\s/@:\"'\\]{0,64}:)(?!\[redacted\])[^\s\"'\\]{1,256}@"),
        rf"\1{REDACTED}@",
    ),
    # The visible part of a key says which key it was, and is not secret.
    (re.compile(r"\bara_([0-9A-Za-z]{8})_[^\s\"'&,;<>\\]+"), rf"ara_\1_{REDACTED}"),
    (re.compile(r"\barat_[0-9A-Za-z]+"), REDACTED),
    # The secret of a webhook.
    (re.compile(r"\bwhsec_[\w+/=-]+"), REDACTED),
    (re.compile(r"\bara\.token\.[^\s\"',;\\]+"), f"ara.token.{REDACTED}"),
    # A JSON Web Token: base64url of `{"`, a dot, the claims, a dot, the signature.
    (re.compile(r"(?<![\w-])eyJ[\w-]+\.[\w-]+(?:\.[\w-]*)?"), REDACTED),
    # `Authorization: Bearer x`, `(b'authorization', b'Bearer x')`, `"HTTP_AUTHORIZATION": "x"`
    (
        re.compile(
            r"(?i)(authorization(?:\s*[:=]|\\?[\"']\s*[,:])\s*(?:b(?=[\"']))?\\?[\"']?)[^\s\"'\\][^\"'\r\n\\]*"
        ),
        rf"\1{REDACTED}",
    ),
    (re.compile(r"(?i)\b(bearer|api-key)\s+[\w.~+/=-]{8,}"), rf"\1 {REDACTED}"),
    # `?token=x`, `"token": "x"`, `'token': 'x'`, `(b'x-api-key', b'x')`, `X-API-Key: x`
    (re.compile(rf"(?i)(?<![a-z])({_NAMES})=(?!\[redacted\])[^\s\"'&;#<>\\]+"), rf"\1={REDACTED}"),
    (
        re.compile(rf"(?i)(?<![a-z])((?:{_NAMES})(\\?[\"'])\s*[:,]\s*b?\\?[\"'])[^\"'\\\r\n]+"),
        rf"\1{REDACTED}",
    ),
    (re.compile(r"(?i)(?<![a-z])(x[-_]api[-_]key\s*:\s*)[^\s\"',\[]+"), rf"\1{REDACTED}"),
)


def redact(text: str) -> str:
    """The text with each secret value in it replaced by `[redacted]`."""
    lowered = text.lower()
    for hint in _HINTS:
        if hint in lowered:
            break
    else:
        return text
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


class RedactFilter(logging.Filter):
    """Lets every record pass, without the secrets in it. Never raises."""

    _formatter = logging.Formatter()

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            self._redact_message(record)
            self._redact_tracebacks(record)
            self._redact_extra(record)
        except Exception:
            # An exception here would reach the caller. A record that cannot be checked is not
            # logged.
            record.msg, record.args = f"{REDACTED}: a log record that could not be read", None
            record.exc_info = record.exc_text = record.stack_info = None
        return True

    def _redact_message(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except Exception:
            # The arguments do not fit the format string: the handler will report the record with
            # its parts.
            record.msg, record.args = redact(str(record.msg)), _redact_args(record.args)
            return
        if redact(message) == message:
            return
        # Some formatters (uvicorn's access log) read the arguments, so their structure is kept.
        args = record.args
        record.msg, record.args = redact(str(record.msg)), _redact_args(args)
        try:
            message = record.getMessage()
            clean = redact(message)
        except Exception:  # a `%s` went with a value in the format string
            record.msg, record.args = redact(message), None
            return
        if clean != message:  # the name in one part, the secret in another
            record.msg, record.args = clean, None

    def _redact_tracebacks(self, record: logging.LogRecord) -> None:
        if record.exc_info and not record.exc_text and isinstance(record.exc_info, tuple):
            record.exc_text = self._formatter.formatException(record.exc_info)
        if record.exc_text and (clean := redact(record.exc_text)) != record.exc_text:
            # Formatters of other handlers would render exc_info again.
            record.exc_text, record.exc_info = clean, None
        if record.stack_info:
            record.stack_info = redact(record.stack_info)

    def _redact_extra(self, record: logging.LogRecord) -> None:
        """What `extra=` added, which formatters of JSON write. Objects stay: handlers use them."""
        for name in record.__dict__.keys() - _OWN_FIELDS:
            record.__dict__[name] = _redact_field(name, record.__dict__[name])


def _redact_field(name: object, value: object) -> object:
    if isinstance(value, str | bytes) and _SECRET_NAME.fullmatch(str(name)):
        return REDACTED
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {key: _redact_field(key, each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_redact_field("", each) for each in value]
    return value


class RequestFilter(logging.Filter):
    """Lets every record pass, but shortens Django's report of a failed request to one line.

    A 4xx is the client's fault, to which a traceback of thirty lines adds nothing. A 503 means that
    a backend is away, which has been logged already.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        status = getattr(record, "status_code", None)
        if isinstance(status, int) and (400 <= status < 500 or status == 503):
            record.exc_info = record.exc_text = record.stack_info = None
            if record.levelno > logging.WARNING:
                record.levelno, record.levelname = logging.WARNING, "WARNING"
        return True


def redacted_text(value: object) -> str:
    """A value as text, for formatters that write what a record holds beside its message."""
    return redact(str(value))


_Args = tuple[object, ...] | Mapping[str, object] | None


def _redact_args(args: _Args) -> _Args:
    if isinstance(args, Mapping):
        return {name: _redact_value(value) for name, value in args.items()}
    return tuple(_redact_value(value) for value in args) if args else args


def _redact_value(value: object) -> object:
    if isinstance(value, str):
        return redact(value)
    # Numbers stay numbers for `%d`; anything else that shows a secret is shown as text.
    if value is None or isinstance(value, int | float):
        return value
    text = str(value)
    clean = redact(text)
    return value if clean == text else clean


def redact_access_log_of_daphne() -> None:
    """Redact the access log of the `daphne` command: a file, which no log filter sees."""
    daphne: Any = sys.modules.get("daphne.access")
    if daphne is None:
        return
    write_entry = daphne.AccessLogGenerator.write_entry

    @functools.wraps(write_entry)
    def redacted(
        self: object, host: object, date: object, request: str, *args: object, **kw: object
    ) -> None:
        write_entry(self, host, date, redact(request), *args, **kw)

    daphne.AccessLogGenerator.write_entry = redacted
