"""Every setting of the project, from the environment, in one flat file.

A variable that is absent has a default that works on a newcomer's machine: SQLite and an
embedded Valkey, both below `var/`. A bad value stops the start and names the variable.
README's "Settings" table lists them all; a test compares it with this file.
"""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ara_project import files
from ara_project.environment import Environment
from realtime.isolation import under_test

env = Environment()
UNDER_TEST = under_test()

BASE_DIR = Path(__file__).resolve().parent.parent
if not UNDER_TEST:
    files.make_private()
VAR_DIR = env.directory("VAR_DIR", default=BASE_DIR / "var")

# Django ---------------------------------------------------------------------------------------

# Without one, a key that is made once for this checkout.
SECRET_KEY = env.text("SECRET_KEY") or files.secret_key(VAR_DIR / "secret_key")
# Earlier values of SECRET_KEY, which still open what was signed or encrypted with them.
SECRET_KEY_FALLBACKS = env.names_of("SECRET_KEY_FALLBACKS")
DEBUG = env.flag("DEBUG", default=False)
ALLOWED_HOSTS = env.served_hosts("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.origins("CSRF_TRUSTED_ORIGINS")
CSRF_FAILURE_VIEW = "ara_project.urls.csrf_failure"

# Is a proxy in front that speaks TLS and sets X-Forwarded-Proto? Then cookies go over TLS only.
TLS_PROXY = env.flag("TLS_PROXY", default=False)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TLS_PROXY else None
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = TLS_PROXY
# For how long browsers that came over TLS come over nothing else; 0: they are told nothing.
SECURE_HSTS_SECONDS = env.count("HSTS_SECONDS", default=0, least=0)

INSTALLED_APPS = [
    # Before staticfiles, which has a `runserver`, too. Ours extends daphne's without the app
    # "daphne": that one loads Twisted, a second or so, into every command and worker.
    "realtime",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "rest_framework",
    "rest_framework_simplejwt",
    "rest_framework_simplejwt.token_blacklist",
    "drf_spectacular",
    "drf_spectacular_sidecar",
]

MIDDLEWARE = [
    "realtime.api.health.answer_probes",
    "realtime.api.cors.ApiCorsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "ara_project.static.read_files",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "ara_project.urls"
ASGI_APPLICATION = "ara_project.asgi.application"
WSGI_APPLICATION = "ara_project.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES: dict[str, dict[str, Any]] = {
    "default": env.database("DATABASE_URL", default=VAR_DIR / "db.sqlite3")
}
if DATABASES["default"]["NAME"] == str(VAR_DIR / "db.sqlite3"):
    files.private_sqlite(VAR_DIR / "db.sqlite3")
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # WAL: readers do not wait for the writer. IMMEDIATE: two writers queue up (busy_timeout)
    # instead of one failing when its read transaction turns into a write.
    DATABASES["default"].setdefault("OPTIONS", {}).update(
        init_command=(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA busy_timeout=10000;"
        ),
        transaction_mode="IMMEDIATE",
    )
    # Tests that start real servers need a file that a second process can open.
    DATABASES["default"]["TEST"] = {"NAME": str(VAR_DIR / "test.sqlite3")}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
] + [{"NAME": "realtime.access.revocation.EndLogins"}]

LANGUAGE_CODE = "en-us"
TIME_ZONE = env.time_zone("TIME_ZONE", default="UTC")
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = files.make_directory(VAR_DIR / "static")
# Served from the apps' own folders: no collectstatic step to forget.
WHITENOISE_USE_FINDERS = True

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {
        "redact": {"()": "realtime.access.redact.RedactFilter"},
        "requests": {"()": "realtime.access.redact.RequestFilter"},
    },
    "formatters": {"plain": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": "plain",
            "filters": ["requests", "redact"],
        }
    },
    "root": {"handlers": ["console"], "level": env.log_level("LOG_LEVEL", default="INFO")},
    "loggers": {
        "django": {"handlers": ["console"], "level": "INFO", "propagate": False},
    },
}

# Error pages of DEBUG, and error mails, show settings and variables.
DEFAULT_EXCEPTION_REPORTER_FILTER = "realtime.access.reports.RedactingFilter"

# Where mail goes out: smtp+tls://user:password@mail.example.com:587. Empty: no mail is sent.
EMAIL_URL = env.text("EMAIL_URL")
vars().update(env.mail("EMAIL_URL"))
EMAIL_TIMEOUT = 10  # seconds
DEFAULT_FROM_EMAIL = env.text("DEFAULT_FROM_EMAIL", default="ara-realtime@localhost")

# Redis, Channels, Celery ----------------------------------------------------------------------

# Empty: the embedded Valkey, on a unix socket in VAR_DIR. Several URLs (comma-separated): shards.
REDIS_URL: list[str] = env.redis_urls("REDIS_URL")
EMBEDDED_VALKEY = not REDIS_URL
VALKEY_DIR = VAR_DIR / "valkey"
_redis_hosts: list[str] = REDIS_URL or [
    f"unix://{quote(str(files.valkey_socket(VALKEY_DIR)))}?db=0"
]

CHANNEL_LAYERS: dict[str, dict[str, Any]] = {
    "default": {
        "BACKEND": env.text("CHANNEL_LAYER", default="realtime.delivery.layers.RedisStreamLayer"),
        "CONFIG": {"hosts": _redis_hosts},
    }
}
if CHANNEL_LAYERS["default"]["BACKEND"].endswith(("MemoryStreamLayer", "InMemoryChannelLayer")):
    CHANNEL_LAYERS["default"]["CONFIG"] = {}

# kombu spells a unix socket `redis+socket://`.
CELERY_BROKER_URL = env.broker_url(
    "CELERY_BROKER_URL",
    default=_redis_hosts[0].replace("unix://", "redis+socket://").replace("?db=", "?virtual_host="),
)
# Celery itself takes the variables before any setting, also one that is blank.
if not env.text("CELERY_BROKER_URL"):
    os.environ.pop("CELERY_BROKER_URL", None)
# Tests reach no worker of the project that runs beside them.
if UNDER_TEST:
    CELERY_BROKER_URL = "memory://"
    for name in ("CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL"):
        os.environ.pop(name, None)
# Seconds. Without them `.delay()` waits without end for a broker that has stopped answering.
CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any] = {"socket_timeout": 5, "socket_connect_timeout": 2}
# A worker takes a task when it can begin with it: one that is killed has no others in its hands.
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
if CELERY_BROKER_URL.startswith(("redis", "sentinel")):
    CELERY_WORKER_DISABLE_PREFETCH = True
    # What a worker has taken and not acknowledged (a task with a countdown, or one of yours that is
    # acknowledged late) is given to another one a minute after it was last heard of: see celery.py.
    # Looked for every ten seconds.
    CELERY_BROKER_TRANSPORT_OPTIONS |= {"visibility_timeout": 60, "unacked_restore_throttle": 1}
CELERY_TASK_IGNORE_RESULT = True
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TIMEZONE = TIME_ZONE
# Beside the other files that are made here, not in whatever directory beat is started in.
CELERY_BEAT_SCHEDULE_FILENAME = str(VAR_DIR / "celerybeat-schedule")
# No task of ours is acknowledged late, so this changes nothing but silences a warning of Celery's
# whenever Redis goes away.
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = True
# For `celery -A ara_project beat`, where no `manage.py deliver_webhooks` runs. Seconds.
CELERY_BEAT_SCHEDULE: dict[str, dict[str, Any]] = {
    "deliver-webhooks": {
        "task": "realtime.tasks.deliver_webhooks",
        "schedule": 5.0,
        # What waited for a busy worker is not made up for: the next one does the same.
        "options": {"expires": 5.0},
    },
    "resolve-predictions": {
        "task": "realtime.tasks.resolve_predictions",
        "schedule": 5.0,
        "options": {"expires": 5.0},
    },
    "prune-history": {
        "task": "realtime.tasks.prune_history",
        "schedule": 6 * 3600.0,
        "options": {"expires": 3600.0},
    },
}

# REST and tokens ------------------------------------------------------------------------------

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "realtime.api.authentication.CredentialAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.CursorPagination",
    "PAGE_SIZE": 100,
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "ARA Realtime",
    "DESCRIPTION": "Publish to WebSocket clients, obtain credentials, read alerts, predictions and "
    "statistics. The WebSockets themselves: [asyncapi.json](asyncapi.json).",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    # What follows it names the group of a path.
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    # Fields of the same name that choose among different things.
    "ENUM_NAME_OVERRIDES": {
        "ApiKeyStatusEnum": "realtime.models.keys.ApiKey.Status",
        "WebhookDeliveryStatusEnum": "realtime.models.webhooks.WebhookDelivery.Status",
        "WebhookEventEnum": "realtime.models.webhooks.WebhookEvent",
    },
}
SIMPLE_JWT = {
    "ACCESS_TOKEN_LIFETIME": timedelta(seconds=env.count("JWT_ACCESS_SECONDS", default=900)),
    "REFRESH_TOKEN_LIFETIME": timedelta(
        seconds=env.count("JWT_REFRESH_SECONDS", default=7 * 86400)
    ),
    "ALGORITHM": "HS256",
    "UPDATE_LAST_LOGIN": False,
    # Whatever the user model calls its primary key.
    "USER_ID_FIELD": "pk",
    # A refresh token works once: what was stolen and used by two is worthless to one of them.
    "ROTATE_REFRESH_TOKENS": True,
    "BLACKLIST_AFTER_ROTATION": True,
}

# ARA Realtime ---------------------------------------------------------------------------------

# May a socket without a credential receive? The customer's document says "optional": yes.
REALTIME_ALLOW_ANONYMOUS = env.flag("REALTIME_ALLOW_ANONYMOUS", default=True)
# Seconds that a socket without a credential has to send `auth` where anonymous is not allowed.
REALTIME_AUTH_TIMEOUT = env.number("REALTIME_AUTH_TIMEOUT", default=10.0)
# Seconds between two `ping`; two of them without a `pong` close the socket (4504).
REALTIME_HEARTBEAT_INTERVAL = env.number("REALTIME_HEARTBEAT_INTERVAL", default=30.0, least=0.05)
# Seconds that a client of `manage.py serve` has to send all of an HTTP request.
REALTIME_REQUEST_SECONDS = env.number("REALTIME_REQUEST_SECONDS", default=30.0, least=0.1)
# HTTP requests that one process of `manage.py serve` works on at a time; each takes a thread.
REALTIME_HTTP_CONCURRENCY = env.count("REALTIME_HTTP_CONCURRENCY", default=8)
# Largest message that a client may send, and largest update that a publisher may send, in bytes.
REALTIME_MAX_MESSAGE_BYTES = env.count("REALTIME_MAX_MESSAGE_BYTES", default=65536)
# Subscriptions that one socket may hold.
REALTIME_MAX_SUBSCRIPTIONS = env.count("REALTIME_MAX_SUBSCRIPTIONS", default=200)
# Invalid messages in one minute after which a socket is closed (4400).
REALTIME_MAX_INVALID_PER_MINUTE = env.count("REALTIME_MAX_INVALID_PER_MINUTE", default=20)
# Bytes that may wait for one slow reader before it is closed (4508).
REALTIME_OUTBOX_BYTES = env.count("REALTIME_OUTBOX_BYTES", default=1024 * 1024)
# Sockets that may be open at once, over all processes; 0: any number. A key's own limit goes first.
REALTIME_CONNECTIONS_PER_KEY = env.count("REALTIME_CONNECTIONS_PER_KEY", default=0, least=0)
REALTIME_CONNECTIONS_PER_USER = env.count("REALTIME_CONNECTIONS_PER_USER", default=0, least=0)
REALTIME_CONNECTIONS_PER_IP = env.count("REALTIME_CONNECTIONS_PER_IP", default=0, least=0)
# What happens at that limit: `refuse` the newcomer, or `close_oldest`.
REALTIME_CONNECTION_LIMIT_POLICY = env.choice(
    "REALTIME_CONNECTION_LIMIT_POLICY", "refuse", "close_oldest"
)
# New sockets of one address in a minute; 0: any number.
REALTIME_HANDSHAKES_PER_IP_PER_MINUTE = env.count(
    "REALTIME_HANDSHAKES_PER_IP_PER_MINUTE", default=0, least=0
)
# Passwords that one address may try in a minute; 0: any number.
REALTIME_LOGINS_PER_IP_PER_MINUTE = env.count(
    "REALTIME_LOGINS_PER_IP_PER_MINUTE", default=30, least=0
)
# Networks of proxies whose X-Forwarded-For is believed: 10.0.0.0/8,::1/128; `unix` for one that
# connects through a unix socket.
REALTIME_TRUSTED_PROXIES = env.networks("REALTIME_TRUSTED_PROXIES")
# Messages a second that one socket may send, and how many of them at once.
REALTIME_MESSAGES_PER_SECOND = env.number("REALTIME_MESSAGES_PER_SECOND", default=100, least=0.1)
REALTIME_MESSAGES_BURST = env.count("REALTIME_MESSAGES_BURST", default=200)
# Updates a second that one key or user may publish over HTTP, over all processes; 0: any number.
# A key's own limit goes first.
REALTIME_PUBLISH_PER_SECOND = env.count("REALTIME_PUBLISH_PER_SECOND", default=0, least=0)
# Updates kept per stream for `since`, and for how many seconds after the last one.
REALTIME_HISTORY_LENGTH = {
    "predictions": env.count("REALTIME_HISTORY_LENGTH_PREDICTIONS", default=1000),
    "market-data": env.count("REALTIME_HISTORY_LENGTH_MARKET_DATA", default=1000),
    "alerts": env.count("REALTIME_HISTORY_LENGTH_ALERTS", default=1000),
}
REALTIME_HISTORY_SECONDS = {
    "predictions": env.count("REALTIME_HISTORY_SECONDS_PREDICTIONS", default=7 * 86400),
    "market-data": env.count("REALTIME_HISTORY_SECONDS_MARKET_DATA", default=86400),
    "alerts": env.count("REALTIME_HISTORY_SECONDS_ALERTS", default=7 * 86400),
}
# Seconds within which a stream's next update is expected; when they have passed, its subscribers
# are told that it is stale. 0: twice the longest recent spacing of the stream, within these bounds.
REALTIME_EXPECTED_INTERVAL = {
    "market-data": env.number("REALTIME_EXPECTED_INTERVAL_MARKET_DATA", default=0),
    "predictions": env.number("REALTIME_EXPECTED_INTERVAL_PREDICTIONS", default=0),
}
REALTIME_EXPECTED_INTERVAL_FLOOR = env.number(
    "REALTIME_EXPECTED_INTERVAL_FLOOR", default=5.0, least=0.1
)
REALTIME_EXPECTED_INTERVAL_CEILING = env.number(
    "REALTIME_EXPECTED_INTERVAL_CEILING", default=3600.0, least=0.1
)
# Missed updates that one `since` may replay; more than that gets a snapshot.
REALTIME_RECOVERY_LIMIT = env.count("REALTIME_RECOVERY_LIMIT", default=300)
# Seconds over which a stopping server spreads its goodbyes.
REALTIME_DRAIN_SECONDS = env.number("REALTIME_DRAIN_SECONDS", default=5.0)
# Seconds for which a stopping server still accepts, while /readyz already answers 503.
REALTIME_UNREADY_SECONDS = env.number("REALTIME_UNREADY_SECONDS", default=0.0)
# Predictions that one socket may request in a minute.
REALTIME_PREDICTIONS_PER_MINUTE = env.count("REALTIME_PREDICTIONS_PER_MINUTE", default=30)
# Seconds that one requested prediction may take.
REALTIME_PREDICTION_TIMEOUT = env.number("REALTIME_PREDICTION_TIMEOUT", default=10.0)
# Where requested predictions are computed: `pool` (threads of the web process) or `celery`.
REALTIME_PREDICTION_RUNNER = env.choice("REALTIME_PREDICTION_RUNNER", "pool", "celery")
# Dotted path of the callable that makes a prediction: (symbol, closes, horizon) -> Prediction.
REALTIME_PREDICTOR = env.text(
    "REALTIME_PREDICTOR", default="realtime.predictions.predictors.random_walk"
)
# Days for which stored predictions, and bars of a minute, are kept; 0: without end.
REALTIME_PREDICTION_DAYS = env.days("REALTIME_PREDICTION_DAYS", default=90, least=0)
REALTIME_MINUTE_BAR_DAYS = env.days("REALTIME_MINUTE_BAR_DAYS", default=30, least=0)
# Outcomes that the score of a model looks back on, per symbol.
REALTIME_SCORE_WINDOW = env.count("REALTIME_SCORE_WINDOW", default=200)
# Where `run_feed` takes ticks from without --source: replay, ccxt, alpaca, or the dotted path of an
# `async def ticks(symbols)` or of a class with such a method.
REALTIME_FEED = env.text("REALTIME_FEED", default="replay")
# What ccxt's exchange is made with: {"apiKey": …, "secret": …, "options": {…}}.
REALTIME_CCXT_CONFIG: dict[str, Any] = env.json_object("REALTIME_CCXT_CONFIG")
ALPACA_API_KEY = env.text("ALPACA_API_KEY")
ALPACA_SECRET_KEY = env.text("ALPACA_SECRET_KEY")
# Of US shares: iex, sip, delayed_sip or test.
ALPACA_FEED = env.choice("ALPACA_FEED", "iex", "sip", "delayed_sip", "test")
ALPACA_URL = env.endpoint("ALPACA_URL", default="wss://stream.data.alpaca.markets", scheme="ws")
ALPACA_REST_URL = env.endpoint(
    "ALPACA_REST_URL", default="https://data.alpaca.markets", scheme="http"
)
# Origins whose pages may open a WebSocket; empty: the hosts in ALLOWED_HOSTS. `*`: any.
REALTIME_ALLOWED_ORIGINS = env.names_of("REALTIME_ALLOWED_ORIGINS")
# Seconds that a receiver of webhooks has to answer, from the look-up of its name on.
REALTIME_WEBHOOK_TIMEOUT = env.number("REALTIME_WEBHOOK_TIMEOUT", default=15.0, least=0.1)
# Seconds after each attempt that failed, before the next: ten attempts in three days and a bit.
REALTIME_WEBHOOK_RETRY_DELAYS = env.seconds(
    "REALTIME_WEBHOOK_RETRY_DELAYS",
    default=[5, 300, 1800, 2 * 3600, 5 * 3600, 10 * 3600, 14 * 3600, 20 * 3600, 24 * 3600],
)
# Attempts that are made at one endpoint at a time.
REALTIME_WEBHOOK_CONCURRENCY = env.count("REALTIME_WEBHOOK_CONCURRENCY", default=5)
# Days for which the log keeps deliveries that are finished.
REALTIME_WEBHOOK_LOG_DAYS = env.days("REALTIME_WEBHOOK_LOG_DAYS", default=30)
# Endpoints that one user may have.
REALTIME_WEBHOOKS_PER_USER = env.count("REALTIME_WEBHOOKS_PER_USER", default=20)
# Hosts inside that webhooks may go to, as `host` or `host:port`; also without TLS.
REALTIME_WEBHOOK_ALLOWED_HOSTS = env.hosts("REALTIME_WEBHOOK_ALLOWED_HOSTS")
# Dotted path of what stores alerts before they are sent; empty: they are sent only.
REALTIME_ALERT_STORE = env.str(
    "REALTIME_ALERT_STORE", default="realtime.alerts.inbox.store"
).strip()
# Days for which alerts are kept.
REALTIME_ALERT_DAYS = env.days("REALTIME_ALERT_DAYS", default=90)
# Alert rules that one user may have.
REALTIME_ALERT_RULES_PER_USER = env.count("REALTIME_ALERT_RULES_PER_USER", default=1000)
# Alerts that the rules of one user store in a minute; 0: any number.
REALTIME_ALERTS_PER_USER_PER_MINUTE = env.count(
    "REALTIME_ALERTS_PER_USER_PER_MINUTE", default=1000, least=0
)

# What the environment may say; a check names variables that look like ours and are not among these.
KNOWN_VARIABLES = env.names
