"""What the members of a group may read: rows for `realtime.access.groups`."""

from contextlib import suppress

from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import models

from realtime.models.keys import limit_field, validate_scopes, validate_symbols
from realtime.scopes import InvalidScope, parse_scopes, parse_symbols
from realtime.streams import CHANNELS


def validate_user_scopes(value: object) -> None:
    validate_scopes(value)
    if isinstance(value, list) and not {*value} <= {*CHANNELS, "publish"}:
        raise ValidationError(f"Choose among {', '.join(CHANNELS)} and publish.")


class GroupAccess(models.Model):
    """Scopes of one group, each for every symbol or for some; a member of several has them all."""

    group = models.OneToOneField(
        Group,
        on_delete=models.CASCADE,
        related_name="realtime_access",
        help_text="Its members receive this access. A user in several groups has that of each.",
    )
    scopes = models.JSONField(default=list, validators=[validate_user_scopes])
    symbols = models.JSONField(default=dict, blank=True, validators=[validate_symbols])
    max_connections = limit_field("Sockets that one member may have open at once.")
    max_subscriptions = limit_field("Subscriptions of one socket.")
    messages_per_second = limit_field("Messages that one socket may send.")
    publish_per_second = limit_field("Updates that one member may publish over HTTP.")

    class Meta:
        verbose_name = "access of a group"
        verbose_name_plural = "access of groups"
        ordering = ["group__name"]

    def __str__(self) -> str:
        return f"Access of {self.group}"

    def clean(self) -> None:
        # The validators have said what is wrong; what is right is kept as it is compared.
        with suppress(InvalidScope):
            self.scopes = parse_scopes(self.scopes)
            self.symbols = parse_symbols(self.symbols)
