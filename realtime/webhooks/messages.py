"""What a person reads of alerts: one, or a digest of many. Its texts are the same everywhere."""

import json
import zoneinfo
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Final

from realtime.models import WebhookEndpoint, WebhookEvent
from realtime.models.destinations import hours_of
from realtime.webhooks.links import confirm_link, stop_link

# Alerts that a digest spells out; of the others it gives the number.
SPELLED_OUT: Final = 50
MAX_TITLE: Final = 150
MAX_LINE: Final = 500

_CUT: Final = "The newest ones:"
_TEST: Final = "This is a test of your destination. Alerts of your rules will arrive like this."
_CONFIRM: Final = (
    "{who} wants alerts of {site} to be sent to this address. If that is what you want, confirm it "
    "within three days:\n\n{confirm}\n\nIf you do nothing, there will be no alerts."
)
_FOOTER: Final = (
    "\n\n--\nYou get this because the account {who} at {site} sends its alerts to this address.\n"
    "To stop it: {stop}\n"
)


@dataclass(frozen=True, slots=True)
class Message:
    """One message to a destination, with `address`; empty where that cannot be read.

    `stop`: the link that stops such mails; empty where there is none.
    """

    kind: str
    address: str = field(repr=False)
    title: str
    text: str
    stop: str = field(default="", repr=False)


def message_to(endpoint: WebhookEndpoint, address: str, bodies: Sequence[str]) -> Message:
    """These events, as the deliveries hold them, in one message."""
    title, text = _content(endpoint, [_event(body) for body in bodies])
    if endpoint.kind != WebhookEndpoint.Kind.EMAIL:
        return Message(endpoint.kind, address, title, text)
    stop, site = stop_link(endpoint.pk)
    footer = _FOOTER.format(who=_one_line(endpoint.owner), site=site, stop=stop)
    return Message(endpoint.kind, address, title, text + footer, stop)


def fitting(text: str, most: int) -> str:
    """The text in `most` characters: the newest lines of a digest, which are its last ones."""
    if len(text) <= most:
        return text
    kept: list[str] = []
    for line in reversed(text.splitlines()):
        if kept and sum(map(len, kept)) + len(kept) + len(line) + len(_CUT) > most:
            break
        kept.insert(0, line)
    return "\n".join([_CUT, *kept])[:most]


def _content(endpoint: WebhookEndpoint, events: Sequence[Mapping[str, object]]) -> tuple[str, str]:
    """Title and text."""
    alerts = [_data(each) for each in events if each.get("type") != WebhookEvent.TEST]
    if endpoint.kind == WebhookEndpoint.Kind.EMAIL and endpoint.confirmed_at is None:
        link, site = confirm_link(endpoint.pk)
        asked = _CONFIRM.format(who=_one_line(endpoint.owner), site=site, confirm=link)
        return "Confirm that you want alerts", asked
    if not alerts:
        return "A test of your destination", _TEST
    hours = hours_of(endpoint)
    zone: tzinfo = UTC if hours is None else zoneinfo.ZoneInfo(hours.timezone)
    if len(alerts) == 1:
        return _title(alerts[0]), _line(alerts[0], zone)
    return f"{len(alerts)} alerts: {_symbols(alerts)}"[:MAX_TITLE], _digest(alerts, zone)


def _event(body: str) -> Mapping[str, object]:
    """Empty where it cannot be read: the other events of the message are to arrive."""
    try:
        event: object = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return event if isinstance(event, dict) else {}


def _data(event: Mapping[str, object]) -> Mapping[str, object]:
    data = event.get("data")
    return data if isinstance(data, dict) else {}


def _title(alert: Mapping[str, object]) -> str:
    return f"[{alert.get('severity') or 'alert'}] {_message(alert)}"[:MAX_TITLE]


def _digest(alerts: Sequence[Mapping[str, object]], zone: tzinfo) -> str:
    lines = [_line(alert, zone) for alert in alerts[-SPELLED_OUT:]]
    if left := len(alerts) - len(lines):
        lines.insert(0, f"{left} earlier alerts, and:")
    return "\n".join(lines)


def _line(alert: Mapping[str, object], zone: tzinfo) -> str:
    parts = [_time(alert, zone), str(alert.get("severity") or ""), _message(alert)]
    rule = alert.get("rule")
    parts.append(f"(rule: {_one_line(rule)})" if rule else "")
    return " ".join(part for part in parts if part)


def _symbols(alerts: Sequence[Mapping[str, object]]) -> str:
    return ", ".join(dict.fromkeys(str(alert.get("symbol") or "?") for alert in alerts))


def _message(alert: Mapping[str, object]) -> str:
    return _one_line(alert.get("message") or alert.get("symbol") or "alert")


def _one_line(value: object) -> str:
    """Without line breaks, which would begin another header of a mail."""
    text = " ".join(str(value).split())
    return "".join(sign for sign in text if sign.isprintable())[:MAX_LINE]


def _time(alert: Mapping[str, object], zone: tzinfo) -> str:
    try:
        moment = datetime.fromisoformat(str(alert.get("timestamp"))).astimezone(zone)
    except (ValueError, OverflowError):
        return ""
    return f"{moment:%Y-%m-%d %H:%M:%S %Z}"
