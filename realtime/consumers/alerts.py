"""Alerts for everybody and for the user: live and missed ones, and the rules that fire them."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Final

from django.db import Error as DatabaseError

from realtime import protocol
from realtime.alerts import inbox
from realtime.alerts.dry_run import Busy, TooMuch, try_out
from realtime.alerts.rule_editing import TooManyRules, check_allowed, definition_of, replace_rules
from realtime.alerts.rules import Definition, InvalidRule, parse_rule
from realtime.consumers.base import RealtimeConsumer
from realtime.db import in_database
from realtime.delivery.publisher import BackendUnavailable
from realtime.delivery.readers import AlertFilter, ShownAlerts
from realtime.delivery.updates import Reader
from realtime.models import Alert, AlertRule
from realtime.protocol import ErrorCode, Position, ProtocolError
from realtime.session.requests import Change, alert_streams, parse_streams
from realtime.session.url import position_in_url
from realtime.streams import ALERTS_ALL, WILDCARD, Stream

logger = logging.getLogger(__name__)

# Rules in one dry run: each may take a second of processor time.
MAX_TRIED: Final = 10


class AlertsConsumer(RealtimeConsumer):
    """`/ws/alerts`: alerts for everybody, and for the user of the credential."""

    channel = "alerts"

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.config = protocol.AlertConfig()
        self.shown = ShownAlerts()
        self._trying: asyncio.Task[None] | None = None

    async def wanted_streams(self) -> tuple[list[Stream], dict[str, Position]]:
        """Both. A position in the URL is one in `all`: the inbox has the user's missed alerts."""
        return alert_streams(self.identity), position_in_url(ALERTS_ALL, self.scope)

    # The inbox --------------------------------------------------------------------------------

    async def welcome(self, streams: Sequence[Stream], since: Mapping[str, Position]) -> None:
        if self.identity.is_authenticated:
            self.shown.held = []
        await super().welcome(streams, since)
        await self._replay_inbox()

    async def became_known(self) -> None:
        mine = [stream for stream in alert_streams(self.identity) if stream.user_id is not None]
        if any(stream.symbol not in self.subscriptions.streams for stream in mine):
            self.shown.held = []
            await self.changes.make(Change(mine), None)
            await self._replay_inbox()

    async def _replay_inbox(self) -> None:
        """Send the unacknowledged alerts, then those that came while they were read."""
        if not self.identity.is_authenticated:
            return
        try:
            alerts = await in_database(inbox.waiting)(self.identity.user)
        except DatabaseError as exc:
            logger.error("an inbox could not be read: %s", exc)
            alerts = []
        self.socket.hold()
        for uid, text in _newest_within(alerts, self.socket.outbox.limit // 2):
            if self.shown.is_new(uid):
                self.subscriptions.replayed += 1
                self.socket.send(text)
        self.shown.release()
        self.socket.release()

    async def _on_ack(self, message: protocol.Ack) -> None:
        self._require_user("type", message.id)
        by_uid = {str(id): id for id in message.ids}
        try:
            known = await in_database(inbox.acknowledge)(self.identity.user, list(by_uid))
        except DatabaseError as exc:
            raise _unavailable(message.id) from exc
        answer = protocol.Acked(ids=[by_uid[uid] for uid in known])
        self.send_message(protocol.answering(answer, message.id))

    # Configuration ----------------------------------------------------------------------------

    async def receive_other(self, message: protocol.AnyClientMessage) -> None:
        if isinstance(message, protocol.ConfigureAlerts):
            await self.changes.in_turn(lambda: self._on_configure(message))
        elif isinstance(message, protocol.Ack):
            await self._on_ack(message)
        else:
            await super().receive_other(message)

    async def _on_configure(self, message: protocol.ConfigureAlerts) -> None:
        config = message.config
        filters = config.min_severity is not None or config.symbols is not None
        if filters and not self.numbered:
            raise _invalid("config", "the channel layer of this server cannot filter", message.id)
        if config.symbols is not None:
            streams = parse_streams("market-data", config.symbols, message.id)
            config.symbols = [stream.symbol for stream in streams]
        if config.rules is not None or config.dry_run:
            self._require_user("config.rules", message.id)
        definitions = _definitions(config.rules or [], message.id)
        if config.dry_run:
            if config.rules is None:
                raise _invalid("config.dry_run", "needs rules to try", message.id)
            self._start_dry_run(message, definitions)
            return
        if config.rules is not None:
            config.rules = await self._save(definitions, message.id)
        self.config = protocol.AlertConfig(min_severity=config.min_severity, symbols=config.symbols)
        if self.numbered:
            self.subscriptions.read_again(self.make_reader)
        answer = protocol.AlertsConfigured(config=config, message="Alerts configured")
        self.send_message(protocol.answering(answer, message.id))

    async def _save(
        self, definitions: Sequence[tuple[int | None, Definition]], id: str | int | None
    ) -> list[dict[str, object]]:
        try:
            rows = await in_database(replace_rules)(self.identity, definitions)
        except InvalidRule as exc:
            raise _invalid(f"config.rules{exc.field}", exc.reason, id) from None
        except TooManyRules as exc:
            raise _invalid("config.rules", str(exc), id) from None
        except DatabaseError as exc:
            raise _unavailable(id) from exc
        return [_shown(row) for row in rows]

    def _start_dry_run(
        self,
        message: protocol.ConfigureAlerts,
        definitions: Sequence[tuple[int | None, Definition]],
    ) -> None:
        if len(definitions) > MAX_TRIED:
            reason = f"a dry run tries {MAX_TRIED} rules at most"
            raise _invalid("config.rules", reason, message.id)
        if self._trying is not None and not self._trying.done():
            raise _busy("this socket has a dry run in progress; wait for its answer", 1, message.id)
        self._trying = self.spawn(self.guarded(lambda: self._dry_run(message, definitions)))

    async def _dry_run(
        self,
        message: protocol.ConfigureAlerts,
        definitions: Sequence[tuple[int | None, Definition]],
    ) -> None:
        await self._check_allowed(definitions, message.id)
        rules = [definition for _, definition in definitions]
        try:
            reports = await try_out(rules, "history", self.identity.user_id)
        except Busy as exc:
            raise _busy(str(exc), exc.retry_after, message.id) from None
        except TooMuch as exc:
            raise _invalid("config.rules", str(exc), message.id) from None
        except (BackendUnavailable, DatabaseError) as exc:
            raise _unavailable(message.id) from exc
        message.config.rules = [
            {**rule.as_data(), "dry_run": dict(report)}
            for rule, report in zip(rules, reports, strict=True)
        ]
        answer = protocol.AlertsConfigured(
            config=message.config, message="Nothing was changed: this was a dry run"
        )
        self.send_message(protocol.answering(answer, message.id))

    async def _check_allowed(
        self, definitions: Sequence[tuple[int | None, Definition]], id: str | int | None
    ) -> None:
        for index, (_, definition) in enumerate(definitions):
            try:
                await in_database(check_allowed)(definition, self.identity)
            except InvalidRule as exc:
                raise _invalid(f"config.rules[{index}].{exc.field}", exc.reason, id) from None
            except DatabaseError as exc:
                raise _unavailable(id) from exc

    def _require_user(self, field: str, id: str | int | None) -> None:
        if not self.identity.is_authenticated:
            raise ProtocolError(
                ErrorCode.AUTH_REQUIRED,
                "rules and acknowledgements belong to a user: send auth, or connect with a token",
                details={"field": field},
                id=id,
            )

    def make_reader(self, stream: Stream, max_rate: float | None) -> Reader | None:
        symbols = self.config.symbols
        if symbols is not None and WILDCARD in symbols:
            symbols = None
        return AlertFilter(self.socket, self.config.min_severity, symbols, self.shown)


def _definitions(
    rules: Sequence[Mapping[str, object]], id: str | int | None
) -> list[tuple[int | None, Definition]]:
    """Rules with their ids, if they have one."""
    found: list[tuple[int | None, Definition]] = []
    for index, rule in enumerate(rules):
        raw = dict(rule)
        known = raw.pop("id", None)
        raw.pop("dry_run", None)
        try:
            found.append((known if isinstance(known, int) else None, parse_rule(raw)))
        except InvalidRule as exc:
            raise _invalid(f"config.rules[{index}].{exc.field}", exc.reason, id) from None
    return found


def _shown(row: AlertRule) -> dict[str, object]:
    return {"id": row.pk, **definition_of(row).as_data()}


def _newest_within(alerts: Sequence[Alert], most: int) -> list[tuple[str, bytes]]:
    """The newest alerts, oldest first, that fit into so many bytes together; always at least one.

    All of them at once would be too much for a socket that has just opened, however fast it reads.
    The others follow once these have been acknowledged.
    """
    chosen: list[tuple[str, bytes]] = []
    size = 0
    for alert in reversed(alerts):
        text = protocol.encode(_replayed(alert))
        size += len(text)
        if chosen and size > most:
            break
        chosen.append((alert.uid, text))
    return chosen[::-1]


def _replayed(alert: Alert) -> protocol.ReplayedAlert:
    return protocol.ReplayedAlert(
        id=alert.uid,
        audience="all" if alert.owner_id is None else "user",
        data=alert.data,
        timestamp=protocol.timestamp(alert.created_at),
    )


def _invalid(field: str, reason: str, id: str | int | None) -> ProtocolError:
    field = field.rstrip(".")
    return ProtocolError(
        ErrorCode.INVALID_MESSAGE, f"{field}: {reason}", details={"field": field}, id=id
    )


def _busy(reason: str, seconds: int, id: str | int | None) -> ProtocolError:
    return ProtocolError(
        ErrorCode.RATE_LIMITED, reason, retry=True, retry_after_ms=seconds * 1000, id=id
    )


def _unavailable(id: str | int | None) -> ProtocolError:
    return ProtocolError(
        ErrorCode.INTERNAL_ERROR, "the database does not answer; try again", retry=True, id=id
    )
