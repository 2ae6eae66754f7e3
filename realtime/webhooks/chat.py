"""Messages to chats, by Apprise, which knows their protocols; the requests are made here.

The plug-ins call `requests.post` and its like, which follows redirects to anywhere. In those that
REALTIME_CHAT_SERVICES may name, the module `requests` is exchanged for one that hands a request of
ours to the sender of webhooks: it checks the address, connects to what it has checked, and follows
no redirect. Plug-ins that speak to the network by other means cannot be named there, and options
of a URL that name files or more addresses are refused. What a project sends by Apprise itself is
not changed.
"""

import io
import logging
from collections.abc import Mapping
from contextvars import ContextVar
from functools import cache
from importlib import import_module
from typing import Any, Final

from realtime.conf import CHAT_SERVICES, conf
from realtime.extras import extra
from realtime.models import WebhookAttempt
from realtime.webhook_addresses import InvalidUrl, parse_url
from realtime.webhooks.chats import Exchange, InvalidAddress
from realtime.webhooks.messages import Message, fitting
from realtime.webhooks.results import AttemptResult, HttpRequest

with extra("notify", needed_by="A destination in a chat"):
    import apprise
    import requests

Problem = WebhookAttempt.Problem
logger = logging.getLogger(__name__)

# What a URL may say beside the address: nothing that names a file or another host.
_OPTIONS: Final = {
    "auth", "channel", "format", "mode", "priority", "silent", "stream", "tags", "thread", "to",
    "token", "topic", "version",
}  # fmt: skip
# Where plug-ins keep what they read files by.
_FILES: Final = ("attach", "template")
_VERBS: Final = ("delete", "get", "patch", "post", "put", "request")
# No file on this machine, nothing loaded from its home directories, nothing secret in logs.
_ASSET: Final = apprise.AppriseAsset(
    app_id="ARA Realtime", app_desc="ARA Realtime", app_url="", image_url_mask="",
    async_mode=False, plugin_paths=[], secure_logging=True,
    storage_mode=apprise.PersistentStoreMode.MEMORY,
)  # fmt: skip


class _Channel:
    """How the message of this thread is sent, and what came of its last request."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.last: AttemptResult | None = None

    def request(self, method: str, url: str, **options: Any) -> requests.Response:
        """`requests.request`; of its options those that say what is sent."""
        options = {name: options[name] for name in _CONTENT if name in options}
        sent = requests.Request(method.upper(), url, **options).prepare()
        body = sent.body or b""
        if not isinstance(body, str | bytes):
            raise requests.RequestException("no files are sent")
        headers = {name: str(value) for name, value in sent.headers.items() if name not in _OURS}
        content = body.encode() if isinstance(body, str) else body
        self.last = self.exchange(HttpRequest(sent.method or "", sent.url or "", headers, content))
        if self.last.code is None:
            raise requests.ConnectionError(self.last.problem)
        return _response(sent, self.last)


_CONTENT: Final = ("params", "data", "json", "headers", "auth")
_OURS: Final = ("Accept-Encoding", "Connection", "Host")
_channel: Final[ContextVar[_Channel | None]] = ContextVar("_channel", default=None)


def _response(sent: requests.PreparedRequest, result: AttemptResult) -> requests.Response:
    response = requests.Response()
    response.status_code = result.code or 0
    response.raw = io.BytesIO(result.body.encode())
    response.url, response.request, response.encoding = sent.url or "", sent, "utf-8"
    if result.retry_after is not None:
        response.headers["Retry-After"] = str(int(result.retry_after.total_seconds()))
    return response


class _GuardedRequests:
    """The module `requests` for a plug-in: as ever, but while a message of ours is sent."""

    def __getattr__(self, name: str) -> Any:
        found, channel = getattr(requests, name), _channel.get()
        if channel is None or name == "codes" or _is_exception(found):
            return found
        if name == "request":
            return channel.request
        if name in _VERBS:
            return lambda url, *args, **options: channel.request(
                name, url, **dict(zip(_POSITIONAL.get(name, ()), args, strict=False)), **options
            )
        raise AttributeError(f"requests.{name} is not guarded")


_POSITIONAL: Final[Mapping[str, tuple[str, ...]]] = {
    "get": ("params",), "post": ("data", "json"), "put": ("data",), "patch": ("data",),
}  # fmt: skip


def _is_exception(found: object) -> bool:
    return isinstance(found, type) and issubclass(found, Exception)


@cache
def _plugins() -> Mapping[str, tuple[str, Any]]:
    """Service and guarded plug-in for each schema of a URL. All others are not even loaded."""
    schemas: dict[str, tuple[str, Any]] = {}
    for service in CHAT_SERVICES:
        package = import_module(f"apprise.plugins.{service}")
        base = (
            import_module(f"{package.__name__}.base") if hasattr(package, "__path__") else package
        )
        assert vars(base)["requests"] in (requests, _guarded), service
        vars(base)["requests"] = _guarded
        for plugin in filter(_is_plugin, vars(base).values()):
            schemas |= dict.fromkeys(_schemas(plugin), (service, plugin))
    return schemas


def _schemas(plugin: Any) -> list[str]:
    """Those with TLS first."""
    given = (plugin.secure_protocol, plugin.protocol)
    named = [name if isinstance(name, tuple) else (name,) for name in given if name]
    return [schema for names in named for schema in names]


def _is_plugin(found: object) -> bool:
    return (
        isinstance(found, type)
        and issubclass(found, apprise.NotifyBase)
        and found is not apprise.NotifyBase
    )


_guarded: Final = _GuardedRequests()


class _Silent(logging.Filter):
    """Drops what Apprise says while it sends for us: it may hold addresses."""

    def filter(self, record: logging.LogRecord) -> bool:
        return _channel.get() is None


logging.getLogger("apprise").addFilter(_Silent())


def check_url(url: str) -> str:
    """What may be shown of the URL of a chat; raises InvalidAddress."""
    plugin = _plugin(url)
    schema = _schemas(plugin)[0 if plugin.secure else -1]
    has_host = any("{host}" in template for template in plugin.templates)
    if not has_host or ("." not in (plugin.host or "") and plugin.host != "localhost"):
        return f"{schema}://…"
    port = f":{plugin.port}" if plugin.port else ""
    scheme = "https" if plugin.secure else "http"
    try:
        parse_url(f"{scheme}://{plugin.host}{port}/")
    except InvalidUrl as exc:
        hint = "" if plugin.secure else f" With TLS it is {plugin.secure_protocol}://"
        raise InvalidAddress(f"{exc}{hint}") from None
    return f"{schema}://{plugin.host}{port}/…"


def _plugin(url: str) -> Any:
    """The plug-in for a URL that may be used."""
    channel = _channel.set(_Channel(_no_exchange))
    try:
        return _instance(url)
    finally:
        _channel.reset(channel)


def _instance(url: str) -> Any:
    found, parts = _parts(url)
    if found is None or found[0] not in conf.REALTIME_CHAT_SERVICES:
        raise InvalidAddress(f"The URL must begin with one of {_allowed()}")
    for name in parts["qsd"] if parts else ():
        if name.lower() not in _OPTIONS:
            raise InvalidAddress(f"The option {name[:40]!r} is not allowed in the URL.")
    service, plugin = found
    try:
        made = plugin(**{**parts, "asset": _ASSET}) if parts else None
    except Exception:  # of Apprise's own kind, or any that its parts raise; it quotes the URL
        made = None
    if made is None or any(getattr(made, name, None) for name in _FILES):
        raise InvalidAddress(f"This is not a valid URL of {service}.")
    return made


def _parts(url: str) -> tuple[tuple[str, Any] | None, Any]:
    """The plug-in, and what it makes of a URL; also of one that a service shows for copying."""
    schema = url.partition("://")[0].lower()
    if schema != "https":
        found = _plugins().get(schema)
        return found, found[1].parse_url(url) if found else None
    for found in _plugins().values():
        if parts := found[1].parse_native_url(url):
            return found, parts
    return None, None


def _allowed() -> str:
    services = conf.REALTIME_CHAT_SERVICES
    return ", ".join(f"{schema}://" for schema, found in _plugins().items() if found[0] in services)


def _no_exchange(request: HttpRequest) -> AttemptResult:
    return AttemptResult(problem=Problem.ADDRESS)


def send_chat(message: Message, exchange: Exchange) -> AttemptResult:
    """Blocks. The answer is not kept: it may hold the address."""
    try:
        plugin = _plugin(message.address)
    except InvalidAddress as exc:
        logger.error("a message to a chat: %s", exc)
        return AttemptResult(problem=Problem.SETUP)
    # A chat refuses what is longer; signs that its markup escapes take more than one place.
    room = int(plugin.body_maxlen * 0.8) - len(message.title)
    plugin.overflow_mode = apprise.OverflowMode.TRUNCATE
    channel = _Channel(exchange)
    token = _channel.set(channel)
    try:
        taken = plugin.notify(
            body=fitting(message.text, room),
            title=message.title,
            body_format=apprise.NotifyFormat.TEXT,
        )
    except Exception as exc:  # a plug-in that did not expect an answer
        logger.error("a message to a chat: %s", type(exc).__name__)
        taken = False
    finally:
        _channel.reset(token)
    return _outcome(bool(taken), channel.last or AttemptResult(problem=Problem.ANSWER))


def _outcome(taken: bool, last: AttemptResult) -> AttemptResult:
    if taken:
        return AttemptResult(code=200)
    if last.success:  # HTTP is content, and the chat is not
        return AttemptResult(problem=Problem.ANSWER)
    return AttemptResult(code=last.code, problem=last.problem, retry_after=last.retry_after)
