"""Destinations of one user: added, confirmed, stopped; and the alerts that are queued for them.

An address by e-mail gets nothing until its owner has agreed, since it may be anybody's: a link in
the one mail that it gets before confirms it. That of the user's account needs no confirmation, nor
does any that staff names.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.utils import timezone

from realtime.extras import MissingExtra
from realtime.limits.shared_rates import count_within
from realtime.models import (
    Destination,
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookEvent,
)
from realtime.users import email_of
from realtime.webhook_secrets import seal
from realtime.webhooks import queue
from realtime.webhooks.chats import InvalidAddress, load_chat
from realtime.webhooks.events import event_body, rows_for
from realtime.webhooks.mail import missing_for_mail

Kind = Destination.Kind
MAX_ADDRESS: Final = 500
# Mails that ask one address to confirm, by all users together.
CONFIRMATIONS_PER_DAY: Final = 3
_DAY: Final = 86400.0


def new_destination(owner: Any, address: str, **fields: Any) -> Destination:
    """A saved destination; one that is not confirmed is asked to. Raises ValidationError."""
    destination = Destination(owner=owner, events=[], **fields)
    set_address(destination, address)
    destination.full_clean()
    destination.save()
    if not destination.confirmed:
        queue_test(destination)
    return destination


def set_address(destination: Destination, address: str, *, trusted: bool = False) -> None:
    """Give a destination that is not saved yet its address; raises ValidationError.

    `trusted`: it needs no confirmation.
    """
    try:
        _set_address(destination, address.strip())
    except (InvalidAddress, MissingExtra) as exc:
        raise ValidationError({"address": [str(exc)]}) from exc
    needs_none = trusted or _needs_no_confirmation(destination)
    destination.confirmed_at = timezone.now() if needs_none else None
    destination.sealed_secret = seal(address.strip())


def _set_address(destination: Destination, address: str) -> None:
    if not 1 <= len(address) <= MAX_ADDRESS or not address.isprintable():
        raise InvalidAddress(f"Write 1 to {MAX_ADDRESS} printable characters.")
    if "://" in address:
        destination.kind, destination.url = Kind.CHAT, load_chat().check_url(address)
    else:
        destination.kind, destination.url = Kind.EMAIL, address
        _check_mail_address(address)


def _check_mail_address(address: str) -> None:
    try:
        validate_email(address)
    except ValidationError:
        raise InvalidAddress(
            "This is neither an e-mail address nor the URL of a chat: ntfys://ntfy.sh/your-topic"
        ) from None
    if missing := missing_for_mail():
        raise InvalidAddress(missing)


def _needs_no_confirmation(destination: Destination) -> bool:
    owner: Any = destination.owner
    own = email_of(owner).lower() == destination.url.lower()
    return destination.kind == Kind.CHAT or own or bool(getattr(owner, "is_staff", False))


def queue_test(destination: Destination) -> WebhookDelivery | None:
    """Queue a test message; before an address is confirmed, the mail that asks for that.

    None if this address was asked CONFIRMATIONS_PER_DAY times today.
    """
    data = {"message": "This is a test of your destination.", "destination": destination.pk}
    if not destination.confirmed:
        name = f"confirm-address:{destination.url.lower()}"
        if count_within(_DAY, name, CONFIRMATIONS_PER_DAY):
            return None
    else:  # it does not wait for the next digest, nor for the end of the quiet hours
        _release(destination)
    body = event_body(WebhookEvent.TEST, data)
    [row] = rows_for([destination], WebhookEvent.TEST, None, body)
    row.save()
    return row


def last_attempt(destination: WebhookEndpoint) -> WebhookAttempt | None:
    """The last one that has ended."""
    attempts = WebhookAttempt.objects.filter(delivery__endpoint=destination)
    ended = attempts.filter(finished_at__isnull=False).select_related("delivery")
    return ended.order_by("-id").first()


def _release(destination: Destination) -> None:
    destination.hold_until = None
    destination.save(update_fields=["hold_until"])


def tell(
    destination_ids: Sequence[int], owner_id: Any, data: Mapping[str, object], symbol: str
) -> None:
    """Queue an alert for those of these destinations that its owner has; in its transaction.

    Raises InvalidUpdate.
    """
    ready = Destination.objects.ready().filter(pk__in=destination_ids, owner_id=owner_id)
    found = list(ready.only("pk"))
    if found:
        event = WebhookEvent.ALERT_TRIGGERED
        rows = rows_for(found, event, symbol or None, event_body(event, data))
        WebhookDelivery.objects.bulk_create(rows)


def confirm(destination: Destination) -> None:
    """Alerts may be sent to it; also to one that its recipient had stopped."""
    destination.confirmed_at = timezone.now()
    destination.save(update_fields=["confirmed_at"])
    if destination.disabled_reason == Destination.Reason.STOPPED:
        queue.enable(destination)


def stop(destination: Destination) -> None:
    """Its recipient wants no more mails: its owner needs a new confirmation to change that."""
    destination.confirmed_at = None
    destination.save(update_fields=["confirmed_at"])
    queue.disable(destination, Destination.Reason.STOPPED)


def resume(destination: Destination) -> None:
    """Send to it again; one that its recipient has stopped is asked to confirm once more."""
    queue.enable(destination)
    if not destination.confirmed:
        queue_test(destination)
