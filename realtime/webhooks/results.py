"""One attempt: the HTTP request that is made, and what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request whose address is checked when it is made."""

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """The result of an attempt: an answer with its `code`, or the `problem` that prevented one."""

    code: int | None = None
    body: str = ""
    problem: str = ""
    retry_after: timedelta | None = None

    @property
    def success(self) -> bool:
        return self.code is not None and 200 <= self.code < 300
