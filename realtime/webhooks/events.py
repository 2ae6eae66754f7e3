"""Events for webhooks: written in the transaction of their cause, sent later.

`emit` writes a delivery row for each endpoint that wants the event, in the transaction of the
caller: an event that is rolled back is never sent, and a committed event is sent even if every
process is killed right afterwards. `realtime.webhooks.worker` sends it. Without an endpoint, `emit`
costs one query.

Called in synchronous code (on an event loop: `realtime.db.in_database(emit)(...)`), in the
`transaction.atomic()` that stores what the event is about.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from django.contrib.auth import get_user_model
from django.utils import timezone
from msgspec import Struct

from realtime.access.user_access import UserAccessFailed, everybody_reads_all, recent_access_of
from realtime.aside import readable, set_aside
from realtime.broadcast import InvalidUpdate, check_data
from realtime.conf import conf
from realtime.models import WebhookDelivery, WebhookEndpoint, WebhookEvent, new_webhook_id
from realtime.protocol import encode_json, timestamp
from realtime.streams import InvalidSymbol, parse_symbol
from realtime.users import active

# Rows in one INSERT.
_BATCH: Final = 500

# Bytes of an event around its data: data that fits into an update also fits into an event.
_ENVELOPE: Final = 1024


class _Payload(Struct):
    type: str
    timestamp: str
    data: Mapping[str, object]


def emit(
    event: str,
    data: Mapping[str, object],
    *,
    symbol: str | None,
    user_id: Any = None,
    after: float = 0.0,
) -> list[WebhookDelivery]:
    """Queue an event for the endpoints that want it, due `after` seconds; returns the deliveries.

    `data` is a JSON object of any shape, by convention with a `symbol`. Endpoints filter by
    `symbol`; an event without a symbol passes every filter. `user_id`: only endpoints of this user;
    None: of every active user. The owner must be allowed to read what the event is about.
    Raises InvalidUpdate, with nothing written.
    """
    return emit_all(event, [(symbol, data)], user_id=user_id, after=after)


def emit_all(
    event: str,
    items: Sequence[tuple[str | None, Mapping[str, object]]],
    *,
    user_id: Any = None,
    after: float = 0.0,
) -> list[WebhookDelivery]:
    """`emit` for many events at once, each given by its symbol and its data."""
    endpoints = WebhookEndpoint.objects.filter(active("owner__"), enabled=True)
    if user_id is not None:
        endpoints = endpoints.filter(owner_id=user_id)
    candidates = readable(endpoints.only("pk", "events", "symbols", "owner").order_by())
    deliveries: list[WebhookDelivery] = []
    targets: dict[tuple[str | None, str | None], Sequence[WebhookEndpoint]] = {}
    for name, data in items:
        symbol, scope, body = _symbol(name), _scope_of(event, data), event_body(event, data)
        if (symbol, scope) not in targets:
            targets[symbol, scope] = _allowed(_wanting(candidates, event, symbol), scope, symbol)
        deliveries += rows_for(targets[symbol, scope], event, symbol, body, after)
    return WebhookDelivery.objects.bulk_create(deliveries, _BATCH) if deliveries else []


def _wanting(
    candidates: Sequence[WebhookEndpoint], event: str, symbol: str | None
) -> list[WebhookEndpoint]:
    wanting: list[WebhookEndpoint] = []
    for endpoint in candidates:
        with set_aside(f"webhook endpoint {endpoint.pk}"):
            wanting += [endpoint] if endpoint.wants(event, symbol) else []
    return wanting


def emit_to(
    endpoint_id: int, event: str, data: Mapping[str, object], *, symbol: str | None
) -> WebhookDelivery | None:
    """Queue an event for one endpoint, regardless of its events and symbols.

    None if it is disabled or deleted, or its owner is inactive. The caller checks whether this
    endpoint may be used. Raises InvalidUpdate.
    """
    symbol = _symbol(symbol)
    body = event_body(event, data)
    endpoints = WebhookEndpoint.objects.filter(active("owner__"), enabled=True, pk=endpoint_id)
    written = WebhookDelivery.objects.bulk_create(
        rows_for(endpoints.only("pk"), event, symbol, body)
    )
    return written[0] if written else None


def send_test(endpoint: WebhookEndpoint) -> WebhookDelivery | None:
    """Queue a `test` event for an endpoint, so that its owner can test the receiver."""
    data = {"message": "This is a test of your webhook.", "webhook": endpoint.pk}
    return emit_to(endpoint.pk, WebhookEvent.TEST, data, symbol=None)


def _scope_of(event: str, data: Mapping[str, object]) -> str | None:
    """What the owner of an endpoint must be allowed to read; None: nothing."""
    match event:
        case WebhookEvent.PREDICTION_COMPLETE | WebhookEvent.PREDICTION_OUTCOME:
            return "predictions"
        case WebhookEvent.ALERT_TRIGGERED:
            return "alerts"
        case WebhookEvent.STREAM_STALE:
            return str(data.get("channel"))
        case _:
            return None


def _allowed(
    endpoints: Sequence[WebhookEndpoint], scope: str | None, symbol: str | None
) -> Sequence[WebhookEndpoint]:
    """Those whose owners may read this, as they could a few seconds ago at the earliest."""
    if scope is None or not endpoints or everybody_reads_all():
        return endpoints
    owner_ids = {each.owner_id for each in endpoints}
    owners = get_user_model()._default_manager.in_bulk(owner_ids)
    reading = {pk for pk, owner in owners.items() if _may_read(owner, scope, symbol)}
    return [each for each in endpoints if each.owner_id in reading]


def _may_read(owner: object, scope: str, symbol: str | None) -> bool:
    try:
        return recent_access_of(owner).allows(scope, None if scope == "alerts" else symbol)
    except UserAccessFailed:
        return False


def rows_for(
    endpoints: Iterable[WebhookEndpoint],
    event: str,
    symbol: str | None,
    body: str,
    after: float = 0.0,
) -> list[WebhookDelivery]:
    """The deliveries of one event to these endpoints; not saved yet."""
    # One id for all deliveries, so that a receiver with two endpoints can recognise the event.
    webhook_id = new_webhook_id()
    now = timezone.now()
    return [
        WebhookDelivery(
            endpoint_id=endpoint.pk,
            webhook_id=webhook_id,
            event=event,
            symbol=symbol or "",
            body=body,
            next_attempt_at=now + timedelta(seconds=after),
            created_at=now,
        )
        for endpoint in endpoints
    ]


def _symbol(symbol: str | None) -> str | None:
    try:
        return None if symbol is None else parse_symbol(symbol)
    except InvalidSymbol as exc:
        raise InvalidUpdate("symbol", exc.reason) from None


def event_body(event: str, data: Mapping[str, object]) -> str:
    """The payload, as it is sent to webhooks; raises InvalidUpdate."""
    if event not in WebhookEvent.values:
        raise InvalidUpdate("event", f"{event!r} is not one of {', '.join(WebhookEvent.values)}")
    payload = _Payload(type=event, timestamp=timestamp(), data=check_data(data, "data"))
    body = encode_json(payload)
    if len(body) > conf.REALTIME_MAX_MESSAGE_BYTES + _ENVELOPE:
        raise InvalidUpdate(
            "data",
            f"{len(body)} bytes as JSON; an event may have {conf.REALTIME_MAX_MESSAGE_BYTES} "
            "(REALTIME_MAX_MESSAGE_BYTES)",
        )
    return body.decode()
