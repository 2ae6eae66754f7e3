"""What can go wrong, each with the way out in its text."""

from collections.abc import Mapping
from typing import ClassVar, Final


class AraError(Exception):
    """The base of all errors of this package."""


class Unreachable(AraError):
    """No connection could be made, or no answer came, for as long as was allowed."""


class NotAnAraServer(AraError):
    """Whatever answers at this URL does not speak the protocol of ARA Realtime."""


class RequestFailed(AraError):
    """The server answered a request with an `error`.

    `code` is one of the error codes, such as `invalid_symbol`; `details` says which and why.
    With `retry` the same request may succeed later, after `retry_after` seconds if that is known.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        details: Mapping[str, object] | None = None,
        retry: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.details = dict(details or {})
        self.retry = retry
        self.retry_after = retry_after


class Refused(AraError):
    """The server refuses, and would again: something has to change first.

    `code` is the close code of the socket (44xx), or 4000 plus the status of an HTTP answer.
    """

    way_out: ClassVar[str] = "Something has to change before the next attempt."

    def __init__(self, code: int, reason: str, details: Mapping[str, object] | None = None) -> None:
        super().__init__(f"{reason.rstrip('.') or type(self).__name__} ({code}). {self.way_out}")
        self.code = code
        self.reason = reason
        self.details = dict(details or {})


class BadRequest(Refused):
    """4400: too many invalid messages; or a request over HTTP with a field that is wrong."""

    way_out = "Correct what the text names; if it names nothing, update ara-realtime-client."


class Unauthorized(Refused):
    """4401: the credential is missing, invalid, expired or revoked."""

    way_out = "Pass a valid api_key or token, or a get_token that returns a new one."


class Forbidden(Refused):
    """4403: the credential may not do this."""

    way_out = "Use a credential with the scope and the symbols that this needs."


class NotFound(Refused):
    """4404: there is nothing at this address."""

    way_out = "Check the URL of the server, and the symbol."


class Disconnected(Refused):
    """4409: an operator of the server has ended the connection."""

    way_out = "Ask the operator before you connect again."


class LimitExceeded(Refused):
    """4429: more connections or requests than the credential or the address may have."""

    way_out = "Close other connections, or ask the operator for a higher limit."


REFUSALS: Final[Mapping[int, type[Refused]]] = {
    4400: BadRequest,
    4401: Unauthorized,
    4403: Forbidden,
    4404: NotFound,
    4409: Disconnected,
    4429: LimitExceeded,
}


def is_terminal(code: int) -> bool:
    """44xx: to reconnect unchanged would end the same way."""
    return 4400 <= code <= 4499


def refusal(code: int, reason: str, details: Mapping[str, object] | None = None) -> Refused:
    """The error for a close code."""
    return REFUSALS.get(code, Refused)(code, reason, details)
