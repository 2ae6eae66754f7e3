"""A project with no more than the app needs, with users of its own, in German and in Berlin."""

from tests.hosts.settings import *  # noqa: F403

INSTALLED_APPS = [
    "realtime",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "channels",
    "rest_framework",
    "tests.hosts.customers",
]
AUTH_USER_MODEL = "customers.Customer"
MIDDLEWARE = []
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
ROOT_URLCONF = "realtime.urls"
TIME_ZONE = "Europe/Berlin"
LANGUAGE_CODE = "de"
USE_THOUSAND_SEPARATOR = True
APPEND_SLASH = False
DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
    "archive": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
}
