"""Every setting of the project, from the environment, in one flat file.

A variable that is absent has a default that works on a newcomer's machine: SQLite and an
embedded Valkey, both below `var/`. A bad value stops the start and names the variable.
Nothing is made here: `files.py` makes the directory, the key and the database when Django starts.
docs/reference/settings.md lists all variables; a test compares it with this file and with
`realtime/conf.py`, where those of the app have their defaults.
"""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from ara_project.environment import Environment
from realtime.isolation import under_test
from realtime.setting_kinds import Choice
from realtime.standalone import valkey

env = Environment()
UNDER_TEST = under_test()

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = env.directory("VAR_DIR", default=BASE_DIR / "var")

# Django ---------------------------------------------------------------------------------------

# Without one, a key that is made once for this checkout: see apps.py.
SECRET_KEY = env.text("SECRET_KEY")
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
    # The first: others may read the SECRET_KEY while they are loaded.
    "ara_project",
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
    "realtime.compression.CompressAnswers",
    "servestatic.middleware.ServeStaticMiddleware",
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
STATIC_ROOT = VAR_DIR / "static"
# Served from the apps' own folders: no collectstatic step to forget.
SERVESTATIC_USE_FINDERS = True

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {
        "redact": {"()": "realtime.access.redact.RedactFilter"},
        "requests": {"()": "realtime.access.redact.RequestFilter"},
    },
    "formatters": {
        "plain": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"},
        "json": {
            "()": "pythonjsonlogger.json.JsonFormatter",
            "format": ["levelname", "name", "message"],
            "rename_fields": {"levelname": "level", "name": "logger"},
            "timestamp": "time",
            # Values without a form in JSON, such as Django's requests.
            "json_default": "ext://realtime.access.redact.redacted_text",
        },
    },
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": env.read("LOG_FORMAT", Choice("plain", "json")),
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
vars().update(env.mail("EMAIL_URL"))
EMAIL_TIMEOUT = 10  # seconds
DEFAULT_FROM_EMAIL = env.text("DEFAULT_FROM_EMAIL", default="ara-realtime@localhost")

# Redis, Channels, Celery ----------------------------------------------------------------------

# Empty: the embedded Valkey, on a unix socket in VAR_DIR. Several URLs (comma-separated): shards.
REDIS_URL: list[str] = env.redis_urls("REDIS_URL")
REALTIME_EMBEDDED_VALKEY = not REDIS_URL
REALTIME_VAR_DIR = VAR_DIR
_redis_hosts: list[str] = REDIS_URL or [valkey.url(VAR_DIR / "valkey")]

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

# Tokens ---------------------------------------------------------------------------------------

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

# Each variable that the environment has; the others keep the default of realtime/conf.py.
vars().update(env.app_settings())
# A check names variables that look like ours and are not among these.
REALTIME_KNOWN_VARIABLES = sorted(env.names)
