"""Alice has a JWT, Bob an API key, Mallory a revoked key, and Olga is the operator."""

import datetime as dt
from typing import Any

import jwt
from django.conf import settings
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.contrib.auth.models import User
from django.utils import timezone
from rest_framework_simplejwt.tokens import AccessToken

from realtime.access.tokens import SessionRefreshToken
from realtime.models import ApiKey

READ = ("predictions", "market-data", "alerts")
PASSWORD = "correct horse battery staple"


def alice(**fields: Any) -> User:
    return _user("alice", **fields)


def carol(**fields: Any) -> User:
    """A user to whom no other test on a shared server sends alerts."""
    return _user("carol", **fields)


def newcomer(user: User) -> User:
    """A user who joins now: no earlier alert is in the inbox."""
    user.date_joined = timezone.now()
    user.save()
    return user


def bob_key(**arguments: Any) -> tuple[ApiKey, str]:
    """Bob's key, and its raw text."""
    return ApiKey.objects.create_key(_user("bob"), arguments.pop("name", "desk"), **arguments)


def scraper_key(**arguments: Any) -> str:
    """A key with the scope `metrics`, which an operator has granted."""
    scopes = [*arguments.pop("scopes", []), "metrics"]
    return bob_key(scopes=scopes, **arguments)[1]


def mallory_key(**arguments: Any) -> tuple[ApiKey, str]:
    key, raw = ApiKey.objects.create_key(_user("mallory"), "stolen", **arguments)
    key.revoke()
    return key, raw


def olga(**fields: Any) -> User:
    return _user("olga", is_staff=True, is_superuser=True, **fields)


def token(user: User) -> str:
    """An access token without a login; needs no database."""
    return str(AccessToken.for_user(user))


def login(user: User) -> tuple[str, str]:
    """The access and the refresh token of a new login."""
    refresh = SessionRefreshToken.for_user(user)
    return str(refresh.access_token), str(refresh)


def expired_token(user: User) -> str:
    access = AccessToken.for_user(user)
    access.set_exp(lifetime=-dt.timedelta(seconds=1))
    return str(access)


def forged_token(user: User, *, key: str = "", algorithm: str = "HS256", **claims: Any) -> str:
    """A token with one fault: the key, the algorithm, or a claim (None: absent)."""
    payload = {**AccessToken.for_user(user).payload, **claims}
    payload = {name: value for name, value in payload.items() if value is not None}
    secret = "" if algorithm == "none" else key or settings.SECRET_KEY
    return jwt.encode(payload, secret, algorithm=algorithm)


def _user(name: str, **fields: Any) -> User:
    # One iteration is enough for passwords in tests.
    password = PBKDF2PasswordHasher().encode(PASSWORD, "salt", iterations=1)
    user, _ = User.objects.get_or_create(username=name, defaults={"password": password, **fields})
    return user
