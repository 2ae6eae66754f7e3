"""A foreign project that installs `realtime`, with a Redis that its server also uses."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from realtime.isolation import VARIABLE
from tests.patience import START_SECONDS
from tests.processes import ROOT, process_environment

SETTINGS = """
import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent
SECRET_KEY = "a-key-of-a-shop-that-nobody-uses-" * 2
ALLOWED_HOSTS = ["localhost"]
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "rest_framework",
    "rest_framework_simplejwt",
    "rest_framework_simplejwt.token_blacklist",
    "realtime",
    "shop",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
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
ROOT_URLCONF = "realtime.urls"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"}}
CELERY_BROKER_URL = os.environ.get("SHOP_BROKER", "memory://")
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "realtime.delivery.layers.RedisStreamLayer",
        "CONFIG": {"hosts": [os.environ["REDIS_URL"]]},
    }
}
"""
CELERY = """
from celery import Celery

app = Celery("shop")
app.config_from_object("django.conf:settings", namespace="CELERY")
"""
# With a Redis for tests.
TEST_CONFIG = """
CHANNEL_LAYERS["default"]["TEST_CONFIG"] = CHANNEL_LAYERS["default"]["CONFIG"]
"""
MANAGE = """
import os, sys
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""
# As in reusable apps: the runner starts after the settings were loaded.
RUNTESTS = """
import sys
import django
from django.conf import settings
from django.test.utils import get_runner
django.setup()
sys.exit(bool(get_runner(settings)().run_tests(["shop"])))
"""
RUNNERS = {
    "manage.py test": ["manage.py", "test", "shop"],
    "runtests.py": ["runtests.py"],
    "pytest": ["-m", "pytest", "-p", "no:cacheprovider", "-q"],
    "pytest -n 2": ["-m", "pytest", "-p", "no:cacheprovider", "-q", "-n", "2"],
}


CONFTEST = 'pytest_plugins = ["realtime.pytest_plugin"]'  # an installed wheel does this itself


def write_project(directory: Path, tests: str, settings: str = "") -> None:
    (directory / "shop").mkdir(parents=True)
    (directory / "shop" / "__init__.py").write_text(CELERY)
    (directory / "shop" / "tests.py").write_text(tests)
    (directory / "conftest.py").write_text(CONFTEST)
    (directory / "shop_settings.py").write_text(SETTINGS + settings)
    (directory / "manage.py").write_text(MANAGE)
    (directory / "runtests.py").write_text(RUNTESTS)
    (directory / "pytest.ini").write_text("[pytest]\npython_files = tests.py\n")


def run_tests(
    directory: Path, runner: str, environment: Mapping[str, str] = os.environ
) -> subprocess.CompletedProcess[str]:
    own = {
        "DJANGO_SETTINGS_MODULE": "shop_settings",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{directory}",
    }
    inherited = process_environment(directory, {**environment, **own})
    for name in (VARIABLE, "PYTEST_VERSION", "PYTEST_XDIST_WORKER"):
        inherited.pop(name, None)
    return subprocess.run(
        [sys.executable, *RUNNERS[runner]], cwd=directory, env=inherited,
        capture_output=True, text=True, timeout=2 * START_SECONDS, check=False,
    )  # fmt: skip


def pass_tests(directory: Path, runner: str, environment: Mapping[str, str] = os.environ) -> None:
    result = run_tests(directory, runner, environment)
    assert result.returncode == 0, result.stdout + result.stderr
