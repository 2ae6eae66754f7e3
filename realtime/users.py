"""Users of any model: the primary key of one may be a number, a UUID or a text.

JSON and messages between processes carry it as a number or a text: a `UserId`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from uuid import UUID

from django.contrib.auth import get_user_model
from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db import models, transaction

UserId = int | str

_LARGEST: Final = 2**63 - 1
_DIGITS: Final = len(str(_LARGEST))


class InvalidUserId(ValueError):
    """Raised for what is not a primary key of the user model; says what one is."""


def user_id_of(key: object) -> UserId:
    """A user's primary key as messages carry it."""
    return key if isinstance(key, int) else str(key)


def parse_user_id(value: object) -> UserId:
    """The primary key that a caller gave, in its one spelling; raises InvalidUserId.

    Says nothing about whether there is such a user.
    """
    field = _key_field()
    if has_numbers():
        return _whole_number(value)
    if not isinstance(value, str | UUID) or not _is_text(str(value)):
        raise InvalidUserId(_what_it_is(field))
    try:
        return user_id_of(field.clean(value, None))
    except ValidationError:
        raise InvalidUserId(_what_it_is(field)) from None


def read_user_id(text: str) -> UserId:
    """`parse_user_id` of typed text, where every key is a text; raises InvalidUserId."""
    whole = has_numbers() and text.isdecimal() and len(text) <= _DIGITS
    return parse_user_id(int(text) if whole else text)


def has_numbers() -> bool:
    """Are the users of this project numbered?"""
    return isinstance(_key_field(), models.IntegerField)


def active(prefix: str = "") -> models.Q:
    """A condition for queries: the user, or (`owner__`) the user of a row, is active."""
    return models.Q(**{f"{prefix}is_active": True}) if _may_be_inactive() else models.Q()


def inactive(prefix: str = "") -> models.Q:
    return models.Q(**{f"{prefix}is_active": False}) if _may_be_inactive() else models.Q(pk__in=[])


def _may_be_inactive() -> bool:
    # The model may say that all of its users are active.
    return _has_field(get_user_model(), "is_active")


def email_of(user: Any) -> str:
    """A user's e-mail address, or an empty text where the model has none."""
    return getattr(user, user.get_email_field_name(), None) or ""


def field_lookups(prefix: str, *, email: bool = True) -> tuple[str, ...]:
    """Look-ups of a user's name and e-mail address: `owner__username`, `owner__email`."""
    model: Any = get_user_model()
    names = [model.USERNAME_FIELD]
    if email and _has_field(model, model.get_email_field_name()):
        names.append(model.get_email_field_name())
    return tuple(f"{prefix}__{name}" for name in dict.fromkeys(names))


@contextmanager
def one_at_a_time(user_id: Any) -> Iterator[None]:
    """A transaction in which no other one counts what this user has, or adds to it."""
    users = get_user_model()._default_manager.select_for_update(no_key=True)
    with transaction.atomic():
        users.filter(pk=user_id).order_by().values_list("pk", flat=True).first()
        yield


def _key_field() -> Any:
    field: Any = get_user_model()._meta.pk
    while field.remote_field is not None:  # the parent of a model that extends another one
        field = field.target_field
    return field


def _whole_number(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidUserId("must be a user's primary key (an integer), or None")
    if value < 1:
        raise InvalidUserId("must be positive")
    if value > _LARGEST:
        raise InvalidUserId(f"must be at most {_LARGEST}")
    return value


def _is_text(text: str) -> bool:
    return text.isprintable() and text != ""


def _what_it_is(field: object) -> str:
    kind = "a UUID" if isinstance(field, models.UUIDField) else "a text"
    return f"must be a user's primary key ({kind}), or None"


def _has_field(model: Any, name: str) -> bool:
    try:
        model._meta.get_field(name)
    except FieldDoesNotExist:
        return False
    return True
