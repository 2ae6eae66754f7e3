"""API keys: who may connect without a password, to what, and until when."""

import hashlib
import hmac
import re
import secrets
import string
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.utils import timezone

from realtime.models.rights import has_publish_permission, may_publish, reads_metrics
from realtime.scopes import InvalidScope, parse_scopes, parse_symbols
from realtime.streams import CHANNELS

_VISIBLE_LENGTH: Final = 8
_VISIBLE_ALPHABET: Final = string.ascii_lowercase + string.digits
_SECRET_ALPHABET: Final = string.ascii_letters + string.digits
_SECRET_LENGTH: Final = 32  # 62 ** 32 is 190.5 bits
_RAW: Final = re.compile(
    rf"ara_(?P<prefix>[a-z0-9]{{{_VISIBLE_LENGTH}}})_[A-Za-z0-9]{{{_SECRET_LENGTH}}}", re.ASCII
)
# Numbers of a key's own that go before the settings of the server; 0: as the server has them.
KEY_LIMITS: Final = (
    "max_connections",
    "max_subscriptions",
    "messages_per_second",
    "publish_per_second",
)
ONE_LIVE_KEY: Final = "This owner has a key of this name that is not revoked."
# Of a key; each at most as long as a name in DNS, with scheme and port.
MAX_ORIGINS: Final = 100
MAX_ORIGIN: Final = 270
# What a browser sends. By hand, as urlsplit() takes `[::1].evil.example` for `::1`.
ORIGIN: Final = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.\-]*)://"
    r"(?P<host>\[[0-9a-f:.]+\]|[^\s/?#@\\:\[\]]+)(?::(?P<port>[0-9]{1,5}))?",
    re.ASCII | re.IGNORECASE,
)
LAST_USED_EVERY: Final = timedelta(minutes=1)


def _random_text(alphabet: str, length: int) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(length))


def hash_secret(raw: str) -> str:
    """SHA-512, as 128 hexadecimal digits.

    A fast hash is enough: 190 random bits cannot be guessed however cheap one try is, and a
    password hasher would cost every connection 200 ms.
    """
    return hashlib.sha512(raw.encode()).hexdigest()


# Compared with when no row is found, so that an unknown key takes as long as a wrong one.
_NO_HASH: Final = hash_secret("")


def validate_scopes(value: object) -> None:
    try:
        parse_scopes(value)
    except InvalidScope as exc:
        raise ValidationError(str(exc)) from exc


def validate_symbols(value: object) -> None:
    try:
        parse_symbols(value)
    except InvalidScope as exc:
        raise ValidationError(str(exc)) from exc


def limit_field(help_text: str) -> "models.PositiveIntegerField[int, int]":
    return models.PositiveIntegerField(
        default=0, blank=True, help_text=f"{help_text} 0: the server's limit."
    )


def validate_origins(value: object) -> None:
    """A list of `https://host` or `https://host:port`, as browsers send in `Origin`."""
    if not isinstance(value, list):
        raise ValidationError("Origins must be a list.")
    if len(value) > MAX_ORIGINS:
        raise ValidationError(f"There are more than {MAX_ORIGINS} origins.")
    for origin in value:
        parts = ORIGIN.fullmatch(origin) if isinstance(origin, str) else None
        if (
            parts is None
            or parts["scheme"] not in ("http", "https")
            or int(parts["port"] or 0) > 65_535
            or len(origin) > MAX_ORIGIN
        ):
            raise ValidationError(
                f"{str(origin)[:80]!r} is not an origin; write scheme, host and port only: https://example.com"
            )


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def active(self, now: datetime | None = None) -> "ApiKeyQuerySet":
        now = now or timezone.now()
        return self.filter(revoked_at__isnull=True).exclude(expires_at__lte=now)

    def expired(self, now: datetime | None = None) -> "ApiKeyQuerySet":
        return self.filter(revoked_at__isnull=True, expires_at__lte=now or timezone.now())

    def revoked(self) -> "ApiKeyQuerySet":
        return self.filter(revoked_at__isnull=False)


class ApiKeyManager(models.Manager["ApiKey"]):
    def get_queryset(self) -> ApiKeyQuerySet:
        return ApiKeyQuerySet(self.model, using=self._db)

    def with_owners(self) -> ApiKeyQuerySet:
        """Keys that know in one query whose they are, and whether their owners may publish."""
        publishing = has_publish_permission("owner_id")
        return self.get_queryset().select_related("owner").annotate(owner_publishes=publishing)

    def create_key(
        self,
        owner: Any,
        name: str,
        *,
        scopes: Sequence[str] = CHANNELS,
        symbols: Mapping[str, Sequence[str]] | None = None,
        allowed_origins: Sequence[str] = (),
        expires_at: datetime | None = None,
        **limits: int,
    ) -> tuple["ApiKey", str]:
        """The saved key and its raw text, which is known here and never again.

        `limits` are those of KEY_LIMITS. Raises ValidationError, by field.
        """
        key = self.model(
            owner=owner,
            name=name,
            scopes=list(scopes),
            symbols=dict(symbols or {}),
            allowed_origins=list(allowed_origins),
            expires_at=expires_at,
            **limits,
        )
        raw = key.issue()
        key.full_clean()
        key.grant_publish()
        key.grant_metrics()
        key.save()
        return key, raw

    def find(self, raw: str) -> "ApiKey | None":
        """The key that this text opens, also an expired or revoked one: see `status`.

        One query, with the owner. None for anything that is not a key of this server.
        """
        return self.find_many([raw]).get(raw)

    def find_many(self, raws: Collection[str]) -> "dict[str, ApiKey]":
        """Those keys that one of the texts opens, by their texts; one query for all."""
        prefixes = {raw: parts["prefix"] for raw in raws if (parts := _RAW.fullmatch(raw))}
        if not prefixes:
            return {}
        rows = self.with_owners().filter(prefix__in=set(prefixes.values()))
        keys = {key.prefix: key for key in rows}
        found = {}
        for raw, prefix in prefixes.items():
            key = keys.get(prefix)
            if key is None:
                hmac.compare_digest(hash_secret(raw), _NO_HASH)
            elif key.is_opened_by(raw):
                found[raw] = key
        return found

    def touch(self, keys: Collection["ApiKey"], now: datetime) -> int:
        """Note that these keys were used; returns for how many that was not noted lately."""
        earlier = now - LAST_USED_EVERY
        due = [key for key in keys if key.last_used_at is None or key.last_used_at <= earlier]
        if not due:
            return 0
        # The condition again in SQL: other processes see the same keys used.
        stale = Q(last_used_at__isnull=True) | Q(last_used_at__lte=earlier)
        return self.filter(stale, pk__in=[key.pk for key in due]).update(last_used_at=now)


class ApiKey(models.Model):
    """`ara_<8 visible characters>_<32 secret characters>`; only a hash of it is kept."""

    class Status(models.TextChoices):
        ACTIVE = "active"
        EXPIRED = "expired"
        REVOKED = "revoked"

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_keys"
    )
    name = models.CharField(
        max_length=100,
        help_text="The program or person that uses this key: “Trading desk, Berlin”.",
    )
    prefix = models.CharField(max_length=_VISIBLE_LENGTH, unique=True, editable=False)
    hash = models.CharField(max_length=128, editable=False)
    scopes = models.JSONField(default=list, validators=[validate_scopes])
    symbols = models.JSONField(default=dict, blank=True, validators=[validate_symbols])
    allowed_origins = models.JSONField(default=list, blank=True, validators=[validate_origins])
    max_connections = limit_field("Sockets open at once, over all processes.")
    max_subscriptions = limit_field("Subscriptions of one socket.")
    messages_per_second = limit_field("Messages that one socket may send.")
    publish_per_second = limit_field("Updates published over HTTP, over all processes.")
    expires_at = models.DateTimeField(null=True, blank=True, help_text="Empty: never.")
    # By an operator, to an owner who may not publish. Otherwise the right is the owner's own.
    publish_granted = models.BooleanField(default=False, editable=False)
    metrics_granted = models.BooleanField(default=False, editable=False)
    # The secret before the last rotation, which stays good until previous_expires_at.
    previous_hash = models.CharField(max_length=128, blank=True, editable=False)
    previous_expires_at = models.DateTimeField(
        "old secret works until", null=True, blank=True, editable=False
    )
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects: ClassVar[ApiKeyManager] = ApiKeyManager()

    class Meta:
        verbose_name = "API key"
        ordering = ["-created_at", "-id"]
        permissions = [("publish", "Can publish updates")]
        constraints = [
            # Also what keeps a form that is sent twice from making two keys.
            models.UniqueConstraint(
                fields=["owner", "name"],
                condition=Q(revoked_at__isnull=True),
                name="one_live_key_per_owner_and_name",
                violation_error_message=ONE_LIVE_KEY,
            )
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.visible})"

    def clean(self) -> None:
        # Owners name their keys, and operators list them in a terminal.
        if not self.name.isprintable():
            raise ValidationError({"name": "The name must not hold control characters."})
        # The validators have said what is wrong; what is right is kept as it is compared.
        with suppress(InvalidScope):
            self.scopes = parse_scopes(self.scopes)
            self.symbols = parse_symbols(self.symbols)

    @property
    def visible(self) -> str:
        """What people may see of the key: `ara_k3f9a2bc`."""
        return f"ara_{self.prefix}"

    @property
    def scopes_now(self) -> frozenset[str]:
        """Its scopes, without those that were its owner's right and are not any more."""
        scopes = set(self.scopes)
        if "publish" in scopes and not (self.publish_granted or self._owner_publishes()):
            scopes.remove("publish")
        if "metrics" in scopes and not (self.metrics_granted or reads_metrics(self.owner)):
            scopes.remove("metrics")
        return frozenset(scopes)

    def grant_publish(self) -> None:
        """A person with the right to do so has given this key its scopes; the caller saves."""
        self.publish_granted = "publish" in self.scopes and not may_publish(self.owner)

    def grant_metrics(self) -> None:
        """An operator has given this key its scopes; the caller saves."""
        self.metrics_granted = "metrics" in self.scopes and not reads_metrics(self.owner)

    def _owner_publishes(self) -> bool:
        known: bool | None = getattr(self, "owner_publishes", None)
        if known is None:
            return may_publish(self.owner)
        return known or bool(getattr(self.owner, "is_superuser", False))

    def issue(self) -> str:
        """Give the key a new secret and return the raw key; the caller saves."""
        self.prefix = self.prefix or _random_text(_VISIBLE_ALPHABET, _VISIBLE_LENGTH)
        raw = f"ara_{self.prefix}_{_random_text(_SECRET_ALPHABET, _SECRET_LENGTH)}"
        self.hash = hash_secret(raw)
        return raw

    def rotate(self, overlap: timedelta = timedelta(0)) -> str:
        """Give the key a new secret, saved, and return the new raw key.

        The visible part stays. The old secret stays good for `overlap`; the one before it does not.
        """
        self.previous_hash = self.hash if overlap else ""
        self.previous_expires_at = timezone.now() + overlap if overlap else None
        raw = self.issue()
        self.save(update_fields=["hash", "previous_hash", "previous_expires_at"])
        return raw

    def is_opened_by(self, raw: str) -> bool:
        """Is this the key's secret, or the one before it? Says nothing about expiry."""
        candidate = hash_secret(raw)
        # Always both: the time taken says nothing about which one it was.
        current = hmac.compare_digest(self.hash, candidate)
        previous = hmac.compare_digest(self.previous_hash or _NO_HASH, candidate)
        return current or previous

    def expiry_of(self, secret_hash: str) -> datetime | None:
        """When the secret with this hash stops working: a rotated one before the key itself."""
        if self.previous_expires_at is None or self.hash == secret_hash:
            return self.expires_at
        return min(self.previous_expires_at, self.expires_at or self.previous_expires_at)

    def status_at(self, now: datetime) -> Status:
        if self.revoked_at is not None:
            return self.Status.REVOKED
        if self.expires_at is not None and self.expires_at <= now:
            return self.Status.EXPIRED
        return self.Status.ACTIVE

    @property
    def status(self) -> Status:
        return self.status_at(timezone.now())

    def revoke(self) -> bool:
        """The key stops working; False when it was revoked already."""
        now = timezone.now()
        changed = (
            type(self).objects.filter(pk=self.pk, revoked_at__isnull=True).update(revoked_at=now)
        )
        if changed:
            self.revoked_at = now
        return bool(changed)
