"""Messages by e-mail, with whatever Django's EMAIL_BACKEND is."""

import logging
from smtplib import SMTPException, SMTPResponseException
from typing import Any, Final

from django.conf import settings
from django.core.mail import EmailMessage, get_connection

from realtime.conf import conf
from realtime.models import WebhookAttempt
from realtime.webhooks.messages import Message
from realtime.webhooks.results import AttemptResult

logger = logging.getLogger(__name__)

Problem = WebhookAttempt.Problem

_NO_LINKS: Final = "The URLs of this project leave out realtime.urls, where links in mails lead."


def missing_for_mail() -> str:
    """Why there is no mail from this server; empty if there is."""
    if settings.EMAIL_BACKEND.endswith(".dummy.EmailBackend"):
        return "This server sends no mail. Its operator names a mail server in EMAIL_URL."
    if not conf.REALTIME_PUBLIC_URL:
        return "This server sends no alerts by mail. Its operator sets REALTIME_PUBLIC_URL."
    return ""


def send_mail(message: Message, timeout: float) -> AttemptResult:
    """Blocks; the mail server is the operator's, and its address is not checked."""
    if missing := missing_for_mail() or (not message.stop and _NO_LINKS):
        logger.error("mail to a destination: %s", missing)
        return AttemptResult(problem=Problem.SETUP)
    try:
        sent = _mail(message, timeout).send()
    except SMTPResponseException as exc:
        return AttemptResult(code=max(exc.smtp_code, 0), problem=Problem.MAIL)
    except SMTPException:
        return AttemptResult(problem=Problem.MAIL)
    except TimeoutError:
        return AttemptResult(problem=Problem.TIMEOUT)
    except OSError:
        return AttemptResult(problem=Problem.CONNECT)
    except Exception as exc:  # a backend of the project may raise anything, with the address in it
        logger.error("mail to a destination: %s", type(exc).__name__)
        return AttemptResult(problem=Problem.MAIL)
    return AttemptResult(code=250) if sent else AttemptResult(problem=Problem.MAIL)


def _mail(message: Message, timeout: float) -> EmailMessage:
    connection: Any = get_connection()
    if getattr(connection, "timeout", timeout) is None:  # without EMAIL_TIMEOUT, of smtplib: never
        connection.timeout = timeout
    return EmailMessage(
        message.title,
        message.text,
        to=[message.address],
        connection=connection,
        headers={
            "Auto-Submitted": "auto-generated",  # no answers of people who are away
            "List-Unsubscribe": f"<{message.stop}>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        },
    )
