"""Connections are not stored: the model is for their permissions and their page in the admin."""

from typing import ClassVar

from django.db import models


class _NoRows(models.Manager["LiveConnection"]):
    """There is no table: `dumpdata` and the like find nothing."""

    def get_queryset(self) -> models.QuerySet["LiveConnection"]:
        return super().get_queryset().none()


class LiveConnection(models.Model):
    """One open connection; see `access.roll_call` for how they are found."""

    objects: ClassVar[_NoRows] = _NoRows()

    class Meta:
        managed = False
        verbose_name = "live connection"
        base_manager_name = "objects"
        default_permissions = ("view", "delete")

    def __str__(self) -> str:
        return f"connection {self.pk}"


def may_see_connections(user: object) -> bool:
    """Staff with the permission *Can view live connection*."""
    return _has(user, "realtime.view_liveconnection")


def may_end_connections(user: object) -> bool:
    """Staff with the permission *Can delete live connection*."""
    return _has(user, "realtime.delete_liveconnection")


def _has(user: object, permission: str) -> bool:
    # A user model of the project may have neither.
    has_perm = getattr(user, "has_perm", None)
    return bool(getattr(user, "is_staff", False) and has_perm and has_perm(permission))
