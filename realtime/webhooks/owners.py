"""Notifies owners that this server has stopped sending to their endpoint."""

import logging
from smtplib import SMTPException

from django.core.mail import send_mail

from realtime.broadcast import PublishFailed, send_alert
from realtime.models import WebhookEndpoint
from realtime.users import email_of

logger = logging.getLogger(__name__)


def tell_owner(endpoint: WebhookEndpoint) -> None:
    """An alert to the owner's sockets, and an email; EMAIL_BACKEND may drop it."""
    reason = WebhookEndpoint.Reason(endpoint.disabled_reason).label
    what = "webhook" if endpoint.kind == WebhookEndpoint.Kind.WEBHOOK else "destination"
    message = (
        f"The {what} {endpoint} was disabled: {reason}. Enable it when its receiver works "
        "again; events that were not delivered can be resent."
    )
    logger.warning("%s %d was disabled: %s", what, endpoint.pk, reason)
    data = {
        "message": message,
        "severity": "high",
        what: {"id": endpoint.pk, "url": endpoint.url, "disabled_reason": reason},
    }
    try:
        send_alert(data, endpoint.owner_id)
    except PublishFailed as exc:
        logger.warning("its owner could not be told: %s", exc)
    address = email_of(endpoint.owner)
    if address:
        try:
            send_mail(f"A {what} was disabled", message, None, [address])
        except (SMTPException, OSError) as exc:
            logger.warning("its owner could not be told by email: %s", exc)
