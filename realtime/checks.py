"""System checks: settings that work but are unsafe or unwanted.

`manage.py check` and every start: what is wrong anywhere. `manage.py check --deploy`: also what is
right on one's own machine and wrong on the internet. A value that cannot be at all stops the
start as an error. While there is one, the other checks wait: they rely on the values.
"""

import ipaddress
import os
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from importlib.util import find_spec
from typing import Any, Final

from channels.exceptions import InvalidChannelLayerError
from corsheaders.conf import conf as cors
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import PermissionsMixin
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import DatabaseError
from django.urls import NoReverseMatch, reverse
from django.utils.module_loading import import_string
from redis.exceptions import RedisError
from rest_framework_simplejwt import settings as jwt

from realtime import isolation
from realtime.access.identity import ANONYMOUS
from realtime.access.origins import normal_origin
from realtime.access.redact import redact
from realtime.access.tokens import BLACKLIST_APP, can_end_logins
from realtime.access.user_access import everybody_reads_all, load_rule
from realtime.conf import FEEDS, bad_values, conf, nearest, spelled, unknown_names
from realtime.delivery.cluster import is_cluster
from realtime.delivery.layers import shared_layer
from realtime.extras import missing
from realtime.models import validate_origins
from realtime.predictions.predictors import configured_predictor
from realtime.standalone import demo

_ONE_PROCESS: Final = ("MemoryStreamLayer", "InMemoryChannelLayer")
_SHORTEST_KEY: Final = 32  # bytes, for HS256: RFC 7518, section 3.2
# Prefixes of variables that only this project reads: an unknown name is a slip.
_OUR_NAMES: Final = ("REALTIME_", "JWT_", "ALPACA_")
# The examples of docs/how-to/production.md.
_EXAMPLE_KEY: Final = "fifty-random-characters-that-are-the-same-on-every-machine"
_EXAMPLE_PASSWORD: Final = "password"
_OUR_CORS: Final = "realtime.api.cors.ApiCorsMiddleware"
_THEIR_CORS: Final = "corsheaders.middleware.CorsMiddleware"
_BY_GROUPS: Final = "realtime.access.groups.of_user"
_LONGEST_ACCESS: Final = timedelta(days=1)


def _check(*tags: str, deploy: bool = False) -> Callable[..., object]:
    """Register a generator of messages."""

    def decorate(function: Callable[[], Iterator[CheckMessage]]) -> Callable[..., object]:
        def run(app_configs: object, **kwargs: object) -> list[CheckMessage]:
            if function is not check_values and any(bad_values()):
                return []
            return list(function())

        register(run, *tags, deploy=deploy)
        return function

    return decorate


@_check(Tags.security)
def check_values() -> Iterator[CheckMessage]:
    for problem in bad_values():
        yield Error(
            problem, hint="The settings reference in docs/ lists them all.", id="realtime.E013"
        )


@_check(Tags.security)
def check_secret_key() -> Iterator[CheckMessage]:
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    if any(len(key.encode()) < _SHORTEST_KEY for key in keys):
        name = "SECRET_KEY" if len(keys[0].encode()) < _SHORTEST_KEY else "SECRET_KEY_FALLBACKS"
        yield Error(
            f"{name} has fewer than {_SHORTEST_KEY} bytes: JSON Web Tokens can be forged.",
            hint="Leave SECRET_KEY unset on one machine, or set 50 random characters.",
            id="realtime.E001",
        )
    elif settings.SECRET_KEY.startswith("django-insecure-") and not settings.DEBUG:
        yield Error(
            "SECRET_KEY is an example made by Django.",
            hint="Leave SECRET_KEY unset on one machine, or set 50 random characters.",
            id="realtime.E002",
        )


@_check(Tags.compatibility)
def check_time_zones() -> Iterator[CheckMessage]:
    if not settings.USE_TZ:
        yield Error(
            "USE_TZ is False: alerts, keys, webhooks and predictions need times with a zone.",
            hint="Set USE_TZ = True. TIME_ZONE may stay what it is.",
            id="realtime.E020",
        )


@_check(Tags.security)
def check_tokens() -> Iterator[CheckMessage]:
    # By the module, which replaces its object when SIMPLE_JWT changes.
    lifetime = jwt.api_settings.ACCESS_TOKEN_LIFETIME
    if lifetime > _LONGEST_ACCESS:
        yield Warning(
            f"An access token is valid for {lifetime}: a stolen one stays valid that long.",
            hint="Set ACCESS_TOKEN_LIFETIME in SIMPLE_JWT (or the variable JWT_ACCESS_SECONDS) to "
            "a day or less; clients refresh.",
            id="realtime.W001",
        )
    if lifetime >= jwt.api_settings.REFRESH_TOKEN_LIFETIME:
        yield Warning(
            "An access token lives as long as the refresh token, which then has no use.",
            hint="Set REFRESH_TOKEN_LIFETIME in SIMPLE_JWT (or the variable JWT_REFRESH_SECONDS) "
            "to more.",
            id="realtime.W002",
        )
    if not can_end_logins():
        yield Warning(
            "Nobody can log out: tokens are good until they expire.",
            hint=f"Add {BLACKLIST_APP!r} to INSTALLED_APPS, and migrate.",
            id="realtime.W020",
        )


@_check()
def check_project() -> Iterator[CheckMessage]:
    if not conf.ASGI_APPLICATION:
        yield Warning(
            "ASGI_APPLICATION is not set: `serve` and `up` have nothing to serve.",
            hint="Set it to the application with the WebSockets: yourproject.asgi.application",
            id="realtime.W017",
        )
    if "default" not in conf.CHANNEL_LAYERS:
        yield Warning(
            "CHANNEL_LAYERS has no default: nothing can be published.",
            hint='Set CHANNEL_LAYERS = {"default": {"BACKEND": "realtime.delivery.layers.'
            'RedisStreamLayer", "CONFIG": {"hosts": ["redis://localhost:6379/0"]}}}',
            id="realtime.W018",
        )


@_check(Tags.security)
def check_hosts_and_origins() -> Iterator[CheckMessage]:
    if not settings.ALLOWED_HOSTS and not settings.DEBUG:
        yield Error(
            "ALLOWED_HOSTS is empty: every request is answered with 400.",
            hint="Set ALLOWED_HOSTS to the names that clients use: realtime.example.com",
            id="realtime.E003",
        )
    for origin in conf.REALTIME_ALLOWED_ORIGINS:
        try:
            validate_origins([] if origin in ("*", "null") else [origin])
            if origin != "*" and normal_origin(origin) is None:
                raise ValidationError(f"{origin[:80]!r} must be written in Punycode: https://xn--…")
        except ValidationError as exc:
            yield Error(
                redact(f"REALTIME_ALLOWED_ORIGINS: {exc.messages[0]}"),
                hint="An entry that matches nothing lets no page connect.",
                id="realtime.E004",
            )


@_check(Tags.security)
def check_cors() -> Iterator[CheckMessage]:
    """Does a middleware of the project answer preflights of the API before ours?"""
    found = [name for name in settings.MIDDLEWARE if name in (_OUR_CORS, _THEIR_CORS)]
    try:
        path = reverse("realtime:api:token")
    except NoReverseMatch:
        return
    if found[:1] == [_THEIR_CORS] and re.match(cors.CORS_URLS_REGEX, path):
        yield Warning(
            f"django-cors-headers answers pages of other origins at {path} by its own settings.",
            hint=f'Put "{_OUR_CORS}" before "{_THEIR_CORS}" in MIDDLEWARE, or leave the paths of '
            "the API out of CORS_URLS_REGEX.",
            id="realtime.W014",
        )


@_check(Tags.security)
def check_anonymous() -> Iterator[CheckMessage]:
    if ANONYMOUS.allows("publish"):
        yield Error(
            "Clients without a credential may publish.",
            hint="Take `publish` out of the scopes of ANONYMOUS, in realtime/access/identity.py.",
            id="realtime.E005",
        )


@_check()
def check_predictor() -> Iterator[CheckMessage]:
    try:
        configured_predictor()
    except ImproperlyConfigured as exc:
        yield Error(
            str(exc),
            hint="A dotted path of a callable, such as realtime.predictions.predictors.random_walk",
            id="realtime.E007",
        )


@_check()
def check_prediction_runner() -> Iterator[CheckMessage]:
    if conf.REALTIME_PREDICTION_RUNNER == "celery" and find_spec("celery") is None:
        yield Error(
            str(missing("celery", needed_by="REALTIME_PREDICTION_RUNNER=celery", package="celery")),
            hint="Or set REALTIME_PREDICTION_RUNNER to pool.",
            id="realtime.E014",
        )


@_check()
def check_dotted_paths() -> Iterator[CheckMessage]:
    layer = conf.CHANNEL_LAYERS.get("default", {}).get("BACKEND", "")
    feed = conf.REALTIME_FEED
    for name, path, number in (
        (spelled("CHANNEL_LAYER", "CHANNEL_LAYERS"), layer, "E008"),
        ("REALTIME_ALERT_STORE", conf.REALTIME_ALERT_STORE, "E009"),
        ("REALTIME_FEED", "" if feed in FEEDS else feed, "E018"),
    ):
        try:
            if path:
                import_string(path)
        except ImportError as exc:
            yield Error(
                f"{name}={path!r} cannot be loaded: {exc}",
                hint=f"Leave {name} unset, or write a dotted path such as package.module.name",
                id=f"realtime.{number}",
            )


@_check(Tags.security)
def check_user_access() -> Iterator[CheckMessage]:
    path = conf.REALTIME_USER_ACCESS
    try:
        load_rule()
    except Exception as exc:  # the module is the project's own, and may raise anything
        yield Error(
            f"REALTIME_USER_ACCESS={path!r} cannot be used: {exc}",
            hint="Write the dotted path of a function such as def of_user(user) -> Access. Until "
            "then no credential of a user is accepted.",
            id="realtime.E021",
        )
        return
    if path == _BY_GROUPS and not issubclass(get_user_model(), PermissionsMixin):
        yield Error(
            f"REALTIME_USER_ACCESS={path!r} needs users with groups, and "
            f"{settings.AUTH_USER_MODEL} is not a PermissionsMixin.",
            hint="Write a function of your own.",
            id="realtime.E022",
        )
    if conf.REALTIME_ALLOW_ANONYMOUS and not everybody_reads_all():
        yield Warning(
            "REALTIME_USER_ACCESS limits what users may read, and anybody without a credential "
            "may read everything.",
            hint="Set REALTIME_ALLOW_ANONYMOUS=false.",
            id="realtime.W021",
        )


@_check()
def check_names() -> Iterator[CheckMessage]:
    for name, meant in unknown_names():
        yield Warning(f"{name} is not a known setting.", hint=_meant(meant), id="realtime.W011")
    known = {*conf.REALTIME_KNOWN_VARIABLES, isolation.VARIABLE}
    for name in sorted(os.environ) if conf.REALTIME_KNOWN_VARIABLES else ():
        if name.startswith(_OUR_NAMES) and name not in known:
            yield Warning(
                f"{name} is set in the environment but is not a known setting.",
                hint=_meant(nearest(name, known)),
                id="realtime.W008",
            )


def _meant(name: str | None) -> str:
    if name is None:
        return "The settings reference in docs/ lists them all."
    return f"Did you mean {name}?"


@_check(Tags.security)
def check_trusted_proxies() -> Iterator[CheckMessage]:
    for name in conf.REALTIME_TRUSTED_PROXIES:
        if name != "unix" and ipaddress.ip_network(name, strict=False).prefixlen == 0:
            yield Warning(
                f"REALTIME_TRUSTED_PROXIES has {name}: any client may claim any address.",
                hint="Name the addresses of your proxies only.",
                id="realtime.W003",
            )


@_check(Tags.security)
def check_logs_are_redacted() -> Iterator[CheckMessage]:
    logging: dict[str, Any] = settings.LOGGING
    redacting = {
        name
        for name, options in logging.get("filters", {}).items()
        if options.get("()") == "realtime.access.redact.RedactFilter"
    }
    for name, options in logging.get("handlers", {}).items():
        if not redacting & set(options.get("filters", ())):
            yield Warning(
                f"LOGGING: the handler {name!r} writes tokens and keys unredacted.",
                hint="Give it the filter realtime.access.redact.RedactFilter.",
                id="realtime.W004",
            )


@_check(Tags.security, deploy=True)
def check_shared_secret_key() -> Iterator[CheckMessage]:
    try:
        made_here = (conf.REALTIME_VAR_DIR / "secret_key").read_text()
    except OSError:
        return
    if made_here == settings.SECRET_KEY and not conf.REALTIME_EMBEDDED_VALKEY:
        yield Warning(
            "SECRET_KEY was made on this machine, and REDIS_URL names a server for several: "
            "tokens of one machine are refused by the others.",
            hint="Set the same SECRET_KEY on all of them.",
            id="realtime.W005",
        )


@_check(Tags.security, deploy=True)
def check_examples() -> Iterator[CheckMessage]:
    """Secrets that everybody can read, since the documentation shows them."""
    for name, keys in (
        ("SECRET_KEY", [settings.SECRET_KEY]),
        ("SECRET_KEY_FALLBACKS", settings.SECRET_KEY_FALLBACKS),
    ):
        if _EXAMPLE_KEY in keys:
            yield Error(
                f"{name} is the example of the documentation: anybody can forge JSON Web Tokens.",
                hint="Set 50 random characters, the same ones on every machine.",
                id="realtime.E010",
            )
    if settings.DATABASES["default"].get("PASSWORD") == _EXAMPLE_PASSWORD:
        yield Warning(
            "The password in DATABASE_URL is the example of the documentation.",
            hint="Give the database's user a password that nobody can guess.",
            id="realtime.W010",
        )


@_check(deploy=True)
def check_test_namespace() -> Iterator[CheckMessage]:
    if not isolation.under_test() and isolation.namespace():
        yield Warning(
            f"{isolation.VARIABLE} is set: this process hears and reaches only a test run.",
            hint="Leave it unset; the tests of a project set it for the processes that they start.",
            id="realtime.W015",
        )


@_check(Tags.security, deploy=True)
def check_demo() -> Iterator[CheckMessage]:
    try:
        left = demo.left_open(conf.REALTIME_VAR_DIR / "demo.json")
    except (DatabaseError, OSError):
        return  # /readyz tells of a database that is away
    for what, remedy in left:
        yield Warning(
            f"{what} of `make run` works here, and its secret is in a file.",
            hint=remedy,
            id="realtime.W009",
        )


@_check(Tags.security, deploy=True)
def check_channel_layer() -> Iterator[CheckMessage]:
    backend = conf.CHANNEL_LAYERS.get("default", {}).get("BACKEND", "")
    if not settings.DEBUG and backend.endswith(_ONE_PROCESS):
        yield Error(
            f"{backend} lives in one process: commands, Celery tasks and other server processes "
            "publish to nobody, and one-use tickets and revocations do not reach them.",
            hint='Use "realtime.delivery.layers.RedisStreamLayer" in CHANNEL_LAYERS, which is the '
            "default of the ready-made project; set REDIS_URL there for several machines.",
            id="realtime.E006",
        )


@_check(Tags.compatibility)
def check_redis_cluster() -> Iterator[CheckMessage]:
    if conf.REALTIME_EMBEDDED_VALKEY:
        return
    try:
        layer = shared_layer()
        found = layer is not None and any(map(is_cluster, layer.sync_clients))
    except (InvalidChannelLayerError, RedisError, OSError):
        return  # E008 tells of a bad layer, and /readyz of a Redis that is away
    if found:
        yield Error(
            "REDIS_URL names a node of a Redis Cluster, which is not supported: the keys of one "
            "update would lie on several nodes.",
            hint="Use a server that is not part of a cluster; several of them share the streams if "
            "REDIS_URL names them all.",
            id="realtime.E012",
        )


@_check(Tags.security, deploy=True)
def check_open_doors() -> Iterator[CheckMessage]:
    if settings.DEBUG:
        return
    if conf.REALTIME_ALLOW_ANONYMOUS:
        yield Warning(
            "Anybody who can reach this server may read all predictions, market data and alerts.",
            hint="Set REALTIME_ALLOW_ANONYMOUS=false, or silence this if they are public.",
            id="realtime.W006",
        )
    origins = conf.REALTIME_ALLOWED_ORIGINS
    if "*" in origins or ("*" in settings.ALLOWED_HOSTS and not origins):
        yield Warning(
            "Any web page may open WebSockets here and read answers of the REST API.",
            hint="Set REALTIME_ALLOWED_ORIGINS to the origins of your pages.",
            id="realtime.W007",
        )
