"""Makes a change of a credential known, once it is committed."""

from collections.abc import Collection
from functools import partial
from typing import Any, Final

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.contrib.auth.signals import user_logged_out
from django.db import transaction
from django.db.models.signals import m2m_changed, post_delete, post_save, pre_delete
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken

from realtime.access.authentication import forget
from realtime.access.identity import credential_id_of_key
from realtime.access.live_sockets import announce
from realtime.access.tokens import (
    can_end_logins,
    end_django_session,
    end_session,
    end_sessions,
    session_id_of,
    session_of,
)
from realtime.models import ApiKey, GroupAccess
from realtime.users import user_id_of


def key_changed(key: ApiKey) -> None:
    """A key was revoked, rotated, edited or deleted: its old state is refused after the commit."""
    transaction.on_commit(partial(_changed, credential_id=credential_id_of_key(key)))


def log_out(session_id: str) -> None:
    """End one login: from the commit on, none of its tokens is accepted."""
    end_session(session_id)
    transaction.on_commit(partial(_changed, session_id=session_id))


def log_out_everywhere(user_id: Any) -> None:
    """End every login of a user. API keys stay."""
    end_sessions(user_id)
    user_changed(user_id)


def user_changed(user_id: object) -> None:
    """The rights of a user (a primary key) have changed, or the user was deactivated.

    After the commit every open socket of the user keeps to what REALTIME_USER_ACCESS says now.
    """
    transaction.on_commit(partial(_changed, user_id=user_id_of(user_id)))


class EndLogins:
    """Says in forms what a new password does. As one of AUTH_PASSWORD_VALIDATORS; optional."""

    def validate(self, password: str, user: object = None) -> None:
        """Accepts every password."""

    def get_help_text(self) -> str:
        return "A new password ends all logins of the user. API keys stay."


# Signals are used only here, because the writers of these rows cannot be enumerated: Django's admin
# of users, the admin of simplejwt, a shell and the customer's code call save() and delete().
# QuerySet.update() and bulk_create() send none: where this project uses them it calls the functions
# above.

_UNIMPORTANT_OF_KEY: Final = frozenset({"name", "last_used_at"})
# Every login saves `last_login`, which changes no rights; EndLogins hears of passwords. Any other
# field of a user may mean something to REALTIME_USER_ACCESS.
_UNIMPORTANT_OF_USER: Final = frozenset({"last_login", "password"})


_DONE: Final = frozenset({"post_add", "post_remove", "post_clear"})


def watch_changes() -> None:
    """Connect to every save() and delete() from now on; call it when the models are loaded."""
    user = get_user_model()
    for signal, receiver, model in (
        (post_save, _key_saved, ApiKey),
        (post_delete, _key_deleted, ApiKey),
        (post_save, _user_saved, user),
        (post_delete, _user_deleted, user),
        (post_save, _access_of_group_changed, GroupAccess),
        (post_delete, _access_of_group_changed, GroupAccess),
    ):
        signal.connect(receiver, sender=model, dispatch_uid=f"realtime.{receiver.__name__}")
    user_logged_out.connect(_logged_out, dispatch_uid=f"realtime.{_logged_out.__name__}")
    if can_end_logins():
        name = f"realtime.{_token_blacklisted.__name__}"
        post_save.connect(_token_blacklisted, sender=BlacklistedToken, dispatch_uid=name)
    # The right to publish depends on permissions: the user's own and those of the user's groups.
    for changed, related in (
        (_permissions_of_user_changed, getattr(user, "user_permissions", None)),
        (_groups_of_user_changed, getattr(user, "groups", None)),
        (_permissions_of_group_changed, Group.permissions),
    ):
        if related is not None:  # not every user model has PermissionsMixin
            name = f"realtime.{changed.__name__}"
            m2m_changed.connect(changed, sender=related.through, dispatch_uid=name)
    pre_delete.connect(_group_deleted, sender=Group, dispatch_uid="realtime._group_deleted")


def _key_saved(
    instance: ApiKey, created: bool, update_fields: Collection[str] | None, **kwargs: object
) -> None:
    if not created and (update_fields is None or {*update_fields} - _UNIMPORTANT_OF_KEY):
        key_changed(instance)


def _key_deleted(instance: ApiKey, **kwargs: object) -> None:
    key_changed(instance)


def _user_saved(
    instance: Any, created: bool, update_fields: Collection[str] | None, **kwargs: Any
) -> None:
    if created:
        return
    if getattr(instance, "_password", None) is not None:
        # The text of a new password is here until Django has told its validators, not for a new
        # hash of the old one. Its sessions end by themselves; the logins of ours end here.
        log_out_everywhere(instance.pk)
    elif update_fields is None or {*update_fields} - _UNIMPORTANT_OF_USER:
        user_changed(instance.pk)


def _user_deleted(instance: Any, **kwargs: Any) -> None:
    user_changed(instance.pk)


def _logged_out(request: Any, user: Any, **kwargs: object) -> None:
    session_id = session_id_of(request)
    if user is not None and session_id is not None:
        end_django_session(session_id, user.pk)
        transaction.on_commit(partial(_changed, session_id=session_id))


def _permissions_of_user_changed(instance: Any, reverse: bool, action: str, **kwargs: Any) -> None:
    """`reverse`: users were added to, or removed from, a permission, which only code does."""
    if not reverse and action in _DONE:
        user_changed(instance.pk)


def _groups_of_user_changed(
    instance: Any, reverse: bool, action: str, pk_set: Collection[Any] | None, **kwargs: Any
) -> None:
    if not reverse and action in _DONE:
        user_changed(instance.pk)
    elif reverse and (action in _DONE or action == "pre_clear"):
        # When a group loses all of its users, the later signal does not say which users they were.
        members = _members(instance) if action == "pre_clear" else pk_set or ()
        for user_id in members:
            user_changed(user_id)


def _permissions_of_group_changed(instance: Any, reverse: bool, action: str, **kwargs: Any) -> None:
    if not reverse and action in _DONE:
        for user_id in _members(instance):
            user_changed(user_id)


def _group_deleted(instance: Group, **kwargs: object) -> None:
    for user_id in _members(instance):
        user_changed(user_id)


def _access_of_group_changed(instance: GroupAccess, **kwargs: object) -> None:
    for user_id in _members(instance.group):
        user_changed(user_id)


def _members(group: Group) -> list[object]:
    user = get_user_model()
    if not hasattr(user, "groups"):
        return []
    return list(user._default_manager.filter(groups=group).values_list("pk", flat=True))


def _token_blacklisted(instance: BlacklistedToken, created: bool, **kwargs: object) -> None:
    """A token was blacklisted by hand: ends it, and its login unless it is an access token."""
    if created:
        jti = instance.token.jti
        transaction.on_commit(partial(_changed, credential_id=f"jwt:{jti}"))
        log_out(session_of(instance.token))


def _changed(**which: Any) -> None:
    forget(**which)
    announce(**which)
