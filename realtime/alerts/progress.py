"""The engine's reads from the database, and the one transaction by which it commits.

States of rules, positions in the streams and fired alerts are written together. `fence` keeps two
engines from committing the same part of a stream: the second one finds a changed fence.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from django.db import transaction
from django.db.models import Count, Max, Q, Sum
from django.utils import timezone

from realtime.alerts.evaluator import SavedMachine
from realtime.alerts.firing import Draft
from realtime.alerts.quota import within_limit
from realtime.alerts.rights import may_fire, with_rights
from realtime.alerts.rule_editing import rule_of
from realtime.alerts.rule_state import Rule, SavedRule
from realtime.broadcast import InvalidUpdate
from realtime.models import (
    Alert,
    AlertProblem,
    AlertProgress,
    AlertRule,
    AlertRuleState,
    WebhookEndpoint,
)
from realtime.protocol import Position
from realtime.streams import Channel
from realtime.users import inactive
from realtime.values import batches
from realtime.webhooks.destinations import tell
from realtime.webhooks.events import emit

logger = logging.getLogger(__name__)

# Rows that one statement reads or writes.
_BATCH: Final = 300

Fingerprint = tuple[int, int, int]


class Overtaken(Exception):
    """Raised when another process has committed the symbol; nothing was written."""

    def __init__(self, symbol: str) -> None:
        super().__init__(symbol)
        self.symbol = symbol

    def __str__(self) -> str:
        return f"the alert rules of {self.symbol} are evaluated by another engine"


@dataclass(frozen=True, slots=True)
class Saved:
    """A symbol as it was last committed, with the states of its rules by (id, revision)."""

    positions: dict[Channel, Position]
    state: SavedMachine
    fence: int
    rules: dict[tuple[int, int], SavedRule]


NEW: Final = Saved(positions={}, state={}, fence=0, rules={})


@dataclass(frozen=True, slots=True)
class Moved:
    """The changes of a symbol since its last commit; `rules`: changed states by (id, revision)."""

    symbol: str
    fence: int
    positions: Mapping[Channel, Position]
    state: Mapping[str, object]
    rules: Mapping[tuple[int, int], Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class Problem:
    """A failure of a rule on one symbol or on every symbol, or of a symbol with all its rules."""

    symbol: str  # "": every symbol
    rule_id: int | None  # None: all rules
    cause: Exception

    @property
    def reason(self) -> str:
        text = f"{type(self.cause).__name__}: {self.cause}"
        return text.encode("ascii", "backslashreplace").decode().replace("\x00", "")[:300]

    def __str__(self) -> str:
        rules = "the alert rules" if self.rule_id is None else f"alert rule {self.rule_id}"
        place = f"{rules} of {self.symbol}" if self.symbol else rules
        return f"{place} cannot be evaluated: {self.reason}"


@dataclass(slots=True)
class Commit:
    moved: list[Moved] = field(default_factory=list)
    drafts: list[Draft] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)  # uids of alerts that are on their stream

    @classmethod
    def of(cls, parts: Sequence["Commit"], sent: list[str]) -> "Commit":
        """Several commits merged into one."""
        return cls(
            moved=[moved for part in parts for moved in part.moved],
            drafts=[each for part in parts for each in part.drafts],
            sent=sent,
        )


# Rules ------------------------------------------------------------------------------------------


def fingerprint() -> Fingerprint:
    """A value that differs after every change of a rule."""
    found = AlertRule.objects.aggregate(
        number=Count("pk"), newest=Max("pk"), changes=Sum("revision")
    )
    return found["number"], found["newest"] or 0, found["changes"] or 0


def live_revisions() -> dict[int, int]:
    """The revision of each rule that is not paused."""
    rules = AlertRule.objects.filter(paused=False).exclude(inactive("owner__"))
    return dict(rules.values_list("pk", "revision").order_by())


def load_rules(ids: Sequence[int]) -> tuple[list[Rule], list[Problem]]:
    """These rules, and a problem for each rule that cannot be read."""
    rules: list[Rule] = []
    problems: list[Problem] = []
    for part in batches(ids, _BATCH):
        for row in AlertRule.objects.filter(pk__in=part).order_by():
            try:
                rules.append(rule_of(row))
            except Exception as exc:  # a row that was written by other means
                problems.append(Problem("", row.pk, exc))
        AlertProblem.objects.filter(symbol="", rule__in=part).delete()
    return rules, problems


def note(problem: Problem) -> None:
    """Show a problem in the admin, replacing an older one of the same rule and symbol."""
    with transaction.atomic():
        same = AlertProblem.objects.filter(symbol=problem.symbol, rule_id=problem.rule_id)
        same.delete()
        if problem.rule_id is None or _existing([problem.rule_id]):
            AlertProblem.objects.create(
                symbol=problem.symbol, rule_id=problem.rule_id, reason=problem.reason
            )


# Symbols ----------------------------------------------------------------------------------------


def load_symbols(symbols: Sequence[str]) -> dict[str, Saved]:
    """The stored ones among symbols that are taken up; deletes their recorded problems."""
    problems = AlertProblem.objects.filter(symbol__in=symbols)
    if problems.exists():  # otherwise the DELETE would wait for other writers
        problems.delete()
    rows = AlertProgress.objects.in_bulk(symbols)
    rules: dict[str, dict[tuple[int, int], SavedRule]] = {symbol: {} for symbol in rows}
    states = AlertRuleState.objects.filter(symbol__in=rows).values_list(
        "symbol", "rule_id", "revision", "data"
    )
    for symbol, rule_id, revision, data in states:
        rules[symbol][rule_id, revision] = data
    return {
        symbol: Saved(
            positions={name: Position(*place) for name, place in row.positions.items()},
            state=row.state,
            fence=row.fence,
            rules=rules[symbol],
        )
        for symbol, row in rows.items()
    }


def begin_symbols(symbols: Mapping[str, Mapping[Channel, Position]]) -> None:
    """Store the first positions of symbols, before any of their updates is evaluated."""
    rows = [
        AlertProgress(symbol=symbol, positions=_plain(positions))
        for symbol, positions in symbols.items()
    ]
    AlertProgress.objects.bulk_create(rows, ignore_conflicts=True)


def forget_symbols(fences: Mapping[str, int]) -> None:
    """Delete the state of symbols that no rule names, so that later updates are not caught up."""
    with transaction.atomic():
        held = _fences(fences)
        same = [symbol for symbol, fence in fences.items() if held.get(symbol) == fence]
        AlertProgress.objects.filter(symbol__in=same).delete()


def _fences(symbols: Iterable[str]) -> dict[str, int]:
    """The fences of the stored symbols, locked against other writers."""
    rows = AlertProgress.objects.select_for_update().filter(symbol__in=list(symbols))
    return dict(rows.order_by("symbol").values_list("symbol", "fence"))


# Committing -------------------------------------------------------------------------------------


def write(commit: Commit) -> list[Alert]:
    """Write everything in one transaction; returns the stored alerts, which must be sent.

    It uses few statements: between two of them the thread may have to wait for its turn, and other
    writers wait with it. Raises Overtaken, IntegrityError for a rule or a user that was deleted
    concurrently, and any error that the database raises for values that it rejects.
    """
    with transaction.atomic():
        for part in batches(commit.moved, _BATCH):
            _move(part)
        _write_states(commit.moved)
        mark_sent(commit.sent)
        return _store_alerts(commit.drafts)


def _move(symbols: Sequence[Moved]) -> None:
    held = _fences(moved.symbol for moved in symbols)
    for moved in symbols:
        if held.get(moved.symbol) != moved.fence:
            raise Overtaken(moved.symbol)
    rows = [
        AlertProgress(
            symbol=moved.symbol,
            positions=_plain(moved.positions),
            state=moved.state,
            fence=moved.fence + 1,
        )
        for moved in symbols
    ]
    AlertProgress.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["symbol"],
        update_fields=["positions", "state", "fence"],
    )


def _write_states(symbols: Sequence[Moved]) -> None:
    existing = _existing([id for moved in symbols for id, _ in moved.rules])
    rows = [
        AlertRuleState(rule_id=id, revision=revision, symbol=moved.symbol, data=data)
        for moved in symbols
        for (id, revision), data in moved.rules.items()
    ]
    for part in batches([row for row in rows if row.rule_id in existing], _BATCH):
        AlertRuleState.objects.bulk_create(
            part,
            update_conflicts=True,
            unique_fields=["rule", "symbol"],
            update_fields=["revision", "data"],
        )


def _existing(ids: Iterable[int]) -> set[int]:
    return {
        id
        for part in batches(sorted(set(ids)), _BATCH)
        for id in AlertRule.objects.filter(pk__in=part).values_list("pk", flat=True)
    }


def _store_alerts(drafts: Sequence[Draft]) -> list[Alert]:
    if not drafts:
        return []
    now = timezone.now()
    kept, notices = within_limit(_permitted(drafts, now), now)
    stored = Alert.objects.bulk_create([*(_alert(each, now) for each in kept), *notices], _BATCH)
    for part in batches(sorted({alert.rule_id for alert in stored if alert.rule_id}), _BATCH):
        AlertRule.objects.filter(pk__in=part).update(last_fired_at=now)
    if WebhookEndpoint.objects.filter(enabled=True).exists():
        for alert in stored:
            _emit(alert)
    destinations = {each.uid: each.destinations for each in kept}
    for alert in stored:
        if wanted := destinations.get(alert.uid):
            _tell(alert, wanted)
    return stored


def _permitted(drafts: Sequence[Draft], now: datetime) -> list[Draft]:
    """The alerts whose rules still exist and may still read the channels of these alerts."""
    rules = {
        rule.pk: rule
        for part in batches(sorted({each.rule_id for each in drafts}), _BATCH)
        for rule in with_rights(part)
    }
    return [
        each for each in drafts
        if each.rule_id in rules
        and may_fire(rules[each.rule_id], each.symbol, each.channels, now)
    ]  # fmt: skip


def _emit(alert: Alert) -> None:
    data = {"id": alert.uid, **alert.data}
    try:
        emit("alert_triggered", data, symbol=alert.symbol or None, user_id=alert.owner_id)
    except InvalidUpdate as exc:  # it exceeds REALTIME_MAX_MESSAGE_BYTES
        logger.error("alert %s is not sent to webhooks: %s", alert.uid, exc)


def _tell(alert: Alert, destinations: Sequence[int]) -> None:
    data = {"id": alert.uid, **alert.data}
    try:
        tell(destinations, alert.owner_id, data, alert.symbol)
    except InvalidUpdate as exc:  # it exceeds REALTIME_MAX_MESSAGE_BYTES
        logger.error("alert %s is not sent to destinations: %s", alert.uid, exc)


def _alert(each: Draft, now: datetime) -> Alert:
    alert = Alert(
        uid=each.uid, owner_id=each.owner_id, rule_id=each.rule_id, symbol=each.symbol,
        severity=each.severity, data=each.data, created_at=now,
    )  # fmt: skip
    wanted = WebhookEndpoint.objects.filter(pk=each.escalate_to or 0)
    if each.escalate_after is not None and wanted.exists():
        alert.escalate_to_id = each.escalate_to
        alert.escalate_at = now + each.escalate_after
    return alert


def mark_sent(uids: Sequence[str]) -> None:
    now = timezone.now()
    for part in batches(uids, _BATCH):
        Alert.objects.filter(uid__in=part, sent_at=None).update(sent_at=now)


def unsent(fired: datetime, published: datetime, limit: int = 1000) -> list[Alert]:
    """Alerts without a record of being sent, oldest first.

    Alerts of rules that fired before `fired`, other alerts that were published before `published`.
    """
    ours = Q(rule__isnull=False, created_at__lte=fired)
    waiting = Alert.objects.filter(ours | Q(created_at__lte=published), sent_at=None)
    return list(waiting.order_by("id")[:limit])


def known(uids: Sequence[str]) -> set[str]:
    """Which of these alerts are stored."""
    return {
        uid
        for part in batches(uids, _BATCH)
        for uid in Alert.objects.filter(uid__in=part).values_list("uid", flat=True)
    }


def _plain(positions: Mapping[Channel, Position]) -> dict[str, list[object]]:
    return {name: [place.epoch, place.offset] for name, place in positions.items()}
