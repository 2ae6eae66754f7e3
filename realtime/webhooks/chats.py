"""Loads `chat`, which needs the extra [notify]."""

from importlib import import_module
from typing import Protocol, cast

from realtime.webhooks.messages import Message
from realtime.webhooks.results import AttemptResult, HttpRequest


class InvalidAddress(ValueError):
    """Raised for what no destination may have as its address; says what is wrong with it."""


class Exchange(Protocol):
    """Makes a request whose address is checked; blocks."""

    def __call__(self, request: HttpRequest, /) -> AttemptResult: ...


class Chat(Protocol):
    """What `chat` offers."""

    def send_chat(self, message: Message, exchange: Exchange) -> AttemptResult: ...

    def check_url(self, url: str) -> str: ...


def load_chat() -> Chat:
    """Raises MissingExtra."""
    return cast(Chat, import_module("realtime.webhooks.chat"))
