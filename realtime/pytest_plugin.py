"""The fixture `realtime_messages`. pytest loads this module wherever the app is installed.

Hence it imports nothing of Django's before a test asks for the fixture.
"""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from realtime.testing import RealtimeMessages


@pytest.fixture
def realtime_messages() -> Iterator["RealtimeMessages"]:
    """What this test publishes: `realtime_messages("market-data", "AAPL") == [{"price": 1}]`."""
    from django.apps import apps

    if not apps.ready:
        pytest.fail(
            "realtime_messages needs Django: install pytest-django and set DJANGO_SETTINGS_MODULE",
            pytrace=False,
        )
    if not apps.is_installed("realtime"):
        pytest.fail('realtime_messages needs "realtime" in INSTALLED_APPS', pytrace=False)
    from realtime.testing import RealtimeMessages

    with RealtimeMessages() as messages:
        yield messages


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Say with a comparison that fails what else was published, or waits for a commit."""
    testing = sys.modules.get("realtime.testing")
    found = None if testing is None else testing.Messages
    for one in (left, right):
        if found is not None and isinstance(one, found):
            return [f"{left!r} {op} {right!r}", *one.hints]
    return None
