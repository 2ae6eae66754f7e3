"""The demo login and API key of `make run`, made once and kept in a file of mode 0600.

The file is needed because the database has hashes of both only.
"""

import json
import os
import secrets
import shlex
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from django.contrib.auth import get_user_model
from django.db import models

from realtime.conf import conf
from realtime.models import ApiKey
from realtime.scopes import SCOPES
from realtime.standalone.valkey import private_opener

USERNAME: Final = "admin"
KEY_NAME: Final = "Demo key of make run"


@dataclass(frozen=True)
class Demo:
    """`password` is None when the account has one that was not made here."""

    username: str
    password: str | None
    api_key: str


def project_python() -> Path:
    """The Python that runs this, relative to the project's directory where it is in there."""
    python = Path(sys.executable)
    inside = python.is_relative_to(conf.BASE_DIR)
    return python.relative_to(conf.BASE_DIR) if inside else python


def project_command(*, private: bool) -> str:
    """What a shell on this machine runs in place of `python`, for commands that reach this server.

    A command needs the same VAR_DIR, where the embedded Valkey and the database are. Unless it is
    `private`, paths outside the project are left out: strangers learn nothing about the machine.
    """
    python = project_python()
    command = shlex.quote(str(python)) if private or not python.is_absolute() else "python"
    if private and "VAR_DIR" in os.environ:
        return f"VAR_DIR={shlex.quote(str(conf.REALTIME_VAR_DIR))} {command}"
    return command


def ensure_demo(path: Path) -> Demo:
    """Make the account and the key where they are missing; an existing password is left alone."""
    saved = _load(path)
    user, password = _ensure_user(saved.get("password"))
    demo = Demo(user.get_username(), password, _ensure_key(user, saved.get("api_key")))
    if asdict(demo) != saved:
        _store(path, demo)
    return demo


def left_open(path: Path) -> list[tuple[str, str]]:
    """Which of the two still work, each with what ends that."""
    left = []
    model: Any = get_user_model()
    user = model._default_manager.filter(**{model.USERNAME_FIELD: _name()}).first()
    password = _load(path).get("password")
    if user is not None and user.is_active and password and user.check_password(password):
        left.append((f"The account {_name()!r}", f"python manage.py changepassword {_name()}"))
    left += [
        (f"The API key {key.visible}", f"python manage.py revoke_api_key {key.visible}")
        for key in ApiKey.objects.get_queryset().active().filter(name=KEY_NAME)
    ]
    return left


def _ensure_user(saved: str | None) -> tuple[Any, str | None]:
    users: Any = get_user_model()._default_manager
    name = {get_user_model().USERNAME_FIELD: _name()}
    user = users.filter(**name).first()
    if user is None:
        password = saved or secrets.token_urlsafe(9)
        return users.create_superuser(**name, password=password), password
    return user, saved if saved and user.check_password(saved) else None


def _name() -> str:
    model: Any = get_user_model()
    by_mail = isinstance(model._meta.get_field(model.USERNAME_FIELD), models.EmailField)
    return f"{USERNAME}@example.com" if by_mail else USERNAME


def _ensure_key(owner: Any, saved: str | None) -> str:
    key = ApiKey.objects.find(saved) if saved else None
    if saved and key is not None and key.status == ApiKey.Status.ACTIVE:
        return saved
    # One whose text is lost: only a hash of it is kept, so it can no longer be used.
    for lost in ApiKey.objects.filter(owner=owner, name=KEY_NAME, revoked_at__isnull=True):
        lost.revoke()
    _, raw = ApiKey.objects.create_key(owner, KEY_NAME, scopes=SCOPES)
    return raw


def _load(path: Path) -> dict[str, str | None]:
    try:
        saved = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return saved if isinstance(saved, dict) else {}


def _store(path: Path, demo: Demo) -> None:
    # Whole or not at all: the password cannot be made a second time.
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    with open(new, "x", opener=private_opener) as file:
        json.dump(asdict(demo), file, indent=2)
        file.write("\n")
    new.replace(path)
