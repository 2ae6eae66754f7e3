"""`{% load realtime %}`: pages that render with data, and go on from exactly there."""

import logging
from collections.abc import Iterable, Sequence
from typing import Any, Final, cast

import msgspec
from django import template
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.html import json_script
from django.utils.safestring import SafeString

from realtime.access.identity import ANONYMOUS, Identity, grant_of, identity_of_user
from realtime.access.tickets import TICKET_SECONDS, TicketsUnavailable, issue
from realtime.access.tokens import session_id_of
from realtime.access.user_access import UserAccessFailed
from realtime.delivery.layers import reading_layer
from realtime.delivery.publisher import BackendUnavailable
from realtime.delivery.stream_state import Page
from realtime.streams import Channel, InvalidSymbol, Stream, parse_symbol

logger = logging.getLogger(__name__)
register = template.Library()

CHANNELS: Final = ("market-data", "predictions")
MAX_SYMBOLS: Final = 200


@register.simple_tag(takes_context=True)
def realtime_bootstrap(
    context: template.Context, channel: str, symbols: str | Iterable[str], id: str = ""
) -> SafeString:
    """The newest updates, their positions and a ticket, as JSON in a `<script>`.

    Its id is `realtime-market-data` or `realtime-predictions`, unless `id` says otherwise. What the
    user of the request may not read is not in it.
    """
    if channel not in CHANNELS:
        raise template.TemplateSyntaxError(
            f"realtime_bootstrap: the channel is one of {', '.join(CHANNELS)}, not {channel!r}"
        )
    request = cast(HttpRequest | None, context.get("request"))
    names = symbols.split(",") if isinstance(symbols, str) else list(symbols)
    content = _content(cast(Channel, channel), names, request)
    return json_script(content, id or f"realtime-{channel}")


def _content(
    channel: Channel, names: Sequence[str], request: HttpRequest | None
) -> dict[str, object]:
    try:
        identity = _identity(request)
    except UserAccessFailed:  # which has been logged
        identity, names = ANONYMOUS, []
    symbols, refused = _readable(channel, names, identity)
    pages = _pages(channel, symbols)
    ticket = _ticket(identity, request)
    return {
        "channel": channel,
        "url": f"{_path(request, 'ws')}/{channel}",
        "events_url": f"{_path(request, 'sse')}/{channel}",
        "symbols": symbols,
        "streams": {
            name: {"epoch": page.epoch, "offset": page.offset} for name, page in pages.items()
        },
        "updates": {
            name: msgspec.json.decode(page.updates[-1].snapshot_text)
            for name, page in pages.items()
            if page.updates
        },
        "refused": refused,
        "ticket": ticket,
        "ticket_expires_in": None if ticket is None else TICKET_SECONDS,
    }


def _identity(request: HttpRequest | None) -> Identity:
    """Of the session; ANONYMOUS without one."""
    user: Any = getattr(request, "user", None)
    return ANONYMOUS if user is None else identity_of_user(user, session_id_of(request))


def _readable(
    channel: Channel, names: Sequence[str], identity: Identity
) -> tuple[list[str], dict[str, str]]:
    """Symbols that the client may read, each once, and why the others are left out."""
    symbols: dict[str, None] = {}
    refused: dict[str, str] = {}
    for name in names:
        try:
            symbol = parse_symbol(str(name).strip())
        except InvalidSymbol as exc:
            refused[str(name)[:64]] = exc.reason
            continue
        if not identity.allows(channel, symbol):
            refused[symbol] = "forbidden"
        elif len(symbols) >= MAX_SYMBOLS and symbol not in symbols:
            refused[symbol] = f"more than {MAX_SYMBOLS} symbols"
        else:
            symbols[symbol] = None
    return list(symbols), refused


def _pages(channel: Channel, symbols: Sequence[str]) -> dict[str, Page]:
    """Position and newest update of each; none while Redis is away: the page renders all the same.

    Both are read in one step, so that nothing is between them.
    """
    layer = reading_layer()
    if layer is None or not symbols:
        return {}
    try:
        pages = layer.read_newest_sync([Stream(channel, symbol) for symbol in symbols])
    except BackendUnavailable as exc:
        logger.error("a page begins without data: %s", exc)
        return {}
    return dict(zip(symbols, pages, strict=True))


def _ticket(identity: Identity, request: HttpRequest | None) -> str | None:
    """For one connection of a user who is logged in."""
    if not identity.is_authenticated:
        return None
    # What Django's own cache of whole pages asks: the page is for this user alone, and soon old.
    vars(request)["_cache_update_cache"] = False
    try:
        return issue(grant_of(identity))
    except TicketsUnavailable as exc:
        logger.error("a page begins without a ticket: %s", exc)
        return None


def _path(request: HttpRequest | None, name: str) -> str:
    """Where the project has our URLs, or where they would be."""
    try:
        return reverse(f"realtime:{name}", current_app=getattr(request, "current_app", None))
    except NoReverseMatch:
        return f"/{name}"
