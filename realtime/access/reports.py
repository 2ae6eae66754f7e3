"""Django's error pages and error mails, without the passwords that it shows inside URLs."""

from collections.abc import ItemsView
from types import FrameType
from typing import Any

from django.http import HttpRequest
from django.views.debug import SafeExceptionReporterFilter

from realtime.access.redact import redact


class RedactingFilter(SafeExceptionReporterFilter):
    """Django's own filter looks at names, and `EMAIL_URL` and `hosts` do not suggest a password."""

    def cleanse_setting(self, key: Any, value: Any) -> Any:
        cleansed = super().cleanse_setting(key, value)
        return redact(cleansed) if isinstance(cleansed, str) else cleansed

    def get_traceback_frame_variables(
        self, request: HttpRequest | None, tb_frame: FrameType
    ) -> ItemsView[str, object]:
        shown = super().get_traceback_frame_variables(request, tb_frame)
        return {name: _redacted(value) for name, value in shown}.items()


def _redacted(value: object) -> object:
    """The value, or its text where that has a secret in it."""
    try:
        text = repr(value)
    except Exception:  # Django says so on the page
        return value
    clean = redact(text)
    return value if clean == text else clean
