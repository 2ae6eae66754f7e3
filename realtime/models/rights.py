"""The right to publish: superusers, and users with the permission, given directly or by group."""

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission, PermissionsMixin
from django.db.models import BooleanField, Exists, OuterRef, Q, Value
from django.db.models.expressions import Combinable


def reads_metrics(user: object) -> bool:
    """May a user read the metrics and statistics of the server, as operators do?"""
    return bool(getattr(user, "is_staff", False) or getattr(user, "is_superuser", False))


def has_publish_permission(user: str) -> Combinable:
    """An expression for queries; `user` is the field there that has the user's primary key."""
    if not issubclass(get_user_model(), PermissionsMixin):
        return Value(False, output_field=BooleanField())
    permission = Permission.objects.filter(
        Q(user=OuterRef(user)) | Q(group__user=OuterRef(user)),
        content_type__app_label="realtime",
        codename="publish",
    )
    return Exists(permission)


def with_publish_permission(users: Any) -> Any:
    """Users (a manager or a query set) that know whether they may publish, in the one query."""
    return users.annotate(has_publish_permission=has_publish_permission("pk"))


def may_publish(user: Any) -> bool:
    """May a user publish? Asks the database, unless it is one of `with_publish_permission`."""
    if getattr(user, "is_superuser", False):
        return True
    if not hasattr(user, "has_publish_permission"):
        users = with_publish_permission(get_user_model()._default_manager)
        user = users.filter(pk=user.pk).first()
    return user is not None and bool(user.has_publish_permission)
