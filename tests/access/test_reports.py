"""Django's error pages with DEBUG: no password is on them, wherever it stands."""

import sys

import pytest
from django.test import RequestFactory, override_settings
from django.views.debug import ExceptionReporter, get_exception_reporter_filter

PASSWORD = "hunter2"
URL = f"redis://ara:{PASSWORD}@redis.internal:6379/0"
SETTINGS = {
    "EMAIL_URL": f"smtp+tls://u:{PASSWORD}@mail.internal:587",
    "CELERY_BROKER_URL": URL,
    "REDIS_URL": [URL],
    "CHANNEL_LAYERS": {"default": {"BACKEND": "x", "CONFIG": {"hosts": [URL, {"address": URL}]}}},
    "CACHES": {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache",
                           "LOCATION": [URL], "OPTIONS": {"password": PASSWORD}}},
    "DATABASES_SEEN": {"replica": {"HOST": "db.internal", "PASSWORD": PASSWORD, "URL": URL}},
    "LOGGED_HOSTS": ((URL,), frozenset()),
}  # fmt: skip


class Client:
    def __repr__(self) -> str:
        return f"<Client {URL}>"


def connect_to(url: str) -> None:
    options = {"address": [url], "password": PASSWORD}
    client = Client()
    raise ConnectionError(f"nobody answers {options is client}")


@pytest.fixture
def reporter() -> ExceptionReporter:
    request = RequestFactory().get("/", headers={"Referer": URL})
    try:
        connect_to(URL)
    except ConnectionError:
        return ExceptionReporter(request, *sys.exc_info())
    raise AssertionError


@override_settings(DEBUG=True, **SETTINGS)
def test_an_error_page_shows_no_password_of_a_setting(reporter: ExceptionReporter) -> None:
    page = reporter.get_traceback_html()
    assert "redis.internal" in page
    assert PASSWORD not in page


@override_settings(DEBUG=True, **SETTINGS)
def test_a_report_in_text_shows_none(reporter: ExceptionReporter) -> None:
    assert PASSWORD not in reporter.get_traceback_text()


@override_settings(**SETTINGS)
def test_a_dump_of_the_settings_shows_none() -> None:
    settings = get_exception_reporter_filter(None).get_safe_settings()
    assert "mail.internal" in settings["EMAIL_URL"]
    assert PASSWORD not in repr(settings)
