"""Events for webhooks: written with what they are about, sent later.

`emit` writes a delivery row for each endpoint that wants the event, in the transaction of the
caller: what rolls back is never sent, and what is committed is sent even if every process dies the
moment after. `realtime.webhooks.worker` sends it. Without an endpoint, `emit` costs one query.

Called in synchronous code (on an event loop: `realtime.db.in_database(emit)(...)`), in the
`transaction.atomic()` that stores what the event is about.
"""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Final

from django.conf import settings
from django.utils import timezone
from msgspec import Struct

from realtime.aside import readable, set_aside
from realtime.broadcast import InvalidUpdate, check_data
from realtime.models import WebhookDelivery, WebhookEndpoint, WebhookEvent, new_webhook_id
from realtime.protocol import encode_json, timestamp
from realtime.streams import InvalidSymbol, parse_symbol

# Rows that one INSERT carries.
_BATCH: Final = 500

# Bytes: what could be published as an update can be told by webhook, with what is around it here.
_ENVELOPE: Final = 1024


class _Payload(Struct):
    type: str
    timestamp: str
    data: Mapping[str, Any]


def emit(
    event: str,
    data: Mapping[str, Any],
    *,
    symbol: str | None,
    user_id: Any = None,
    after: float = 0.0,
) -> list[WebhookDelivery]:
    """Let the endpoints that want it have this event, `after` so many seconds; what was written.

    `data` is a JSON object of any shape, by convention with `symbol` in it. `symbol` is what
    endpoints filter by: one without a symbol passes every filter. `user_id`: only endpoints of
    this user; None: of every active user. Raises InvalidUpdate, with nothing written.
    """
    symbol = _symbol(symbol)
    body = _body(event, data)
    endpoints = WebhookEndpoint.objects.filter(enabled=True, owner__is_active=True)
    if user_id is not None:
        endpoints = endpoints.filter(owner_id=user_id)
    endpoints = endpoints.only("pk", "events", "symbols").order_by()
    wanting = []
    for endpoint in readable(endpoints):
        with set_aside(f"webhook endpoint {endpoint.pk}"):
            wanting += [endpoint] if endpoint.wants(event, symbol) else []
    return _write(wanting, event, symbol, body, timedelta(seconds=after))


def emit_to(
    endpoint_id: int, event: str, data: Mapping[str, Any], *, symbol: str | None
) -> WebhookDelivery | None:
    """Let one endpoint have this event, whatever events and symbols it asked for.

    None if it is disabled or deleted, or its owner is not active. Whether the caller may name this
    endpoint is the caller's to check. Raises InvalidUpdate.
    """
    symbol = _symbol(symbol)
    body = _body(event, data)
    endpoints = WebhookEndpoint.objects.filter(enabled=True, owner__is_active=True, pk=endpoint_id)
    written = _write(endpoints.only("pk"), event, symbol, body)
    return written[0] if written else None


def send_test(endpoint: WebhookEndpoint) -> WebhookDelivery | None:
    """Let an endpoint have a `test` event, to see whether its receiver works."""
    data = {"message": "This is a test of your webhook.", "webhook": endpoint.pk}
    return emit_to(endpoint.pk, WebhookEvent.TEST, data, symbol=None)


def _write(
    endpoints: Iterable[WebhookEndpoint],
    event: str,
    symbol: str | None,
    body: str,
    after: timedelta = timedelta(0),
) -> list[WebhookDelivery]:
    # One id for all of them: who gets an event at two endpoints can tell that it is one.
    webhook_id = new_webhook_id()
    now = timezone.now()
    rows = [
        WebhookDelivery(
            endpoint_id=endpoint.pk,
            webhook_id=webhook_id,
            event=event,
            symbol=symbol or "",
            body=body,
            next_attempt_at=now + after,
            created_at=now,
        )
        for endpoint in endpoints
    ]
    return WebhookDelivery.objects.bulk_create(rows, _BATCH) if rows else []


def _symbol(symbol: str | None) -> str | None:
    try:
        return None if symbol is None else parse_symbol(symbol)
    except InvalidSymbol as exc:
        raise InvalidUpdate("symbol", exc.reason) from None


def _body(event: str, data: Mapping[str, Any]) -> str:
    if event not in WebhookEvent.values:
        raise InvalidUpdate("event", f"{event!r} is not one of {', '.join(WebhookEvent.values)}")
    payload = _Payload(type=event, timestamp=timestamp(), data=check_data(data, "data"))
    body = encode_json(payload)
    if len(body) > settings.REALTIME_MAX_MESSAGE_BYTES + _ENVELOPE:
        raise InvalidUpdate(
            "data",
            f"{len(body)} bytes as JSON; an event may have {settings.REALTIME_MAX_MESSAGE_BYTES} "
            "(REALTIME_MAX_MESSAGE_BYTES)",
        )
    return body.decode()
