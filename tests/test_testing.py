"""What a test can say of its publications: the fixture of pytest, and the mixin for TestCases."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.db import transaction

from realtime import tasks
from realtime.broadcast import (
    abroadcast_market_data,
    asend_alert,
    broadcast_market_data,
    broadcast_prediction_update,
    recent_updates,
    send_alert,
)
from realtime.pytest_plugin import realtime_messages  # noqa: F401
from realtime.streams import Stream
from realtime.testing import RealtimeMessages, RealtimeMessagesMixin
from tests.host_project import pass_tests, run_tests, write_project
from tests.processes import ROOT

ALERT = {"message": "filled"}


@pytest.mark.usefixtures("each_layer")
def test_a_test_sees_what_it_has_published(realtime_messages: RealtimeMessages) -> None:  # noqa: F811
    broadcast_market_data("aapl", {"price": 1})
    broadcast_prediction_update("AAPL", {"confidence": 0.5})
    broadcast_market_data("AAPL", {"price": 2})
    assert realtime_messages("market-data", "AAPL") == [{"price": 1}, {"price": 2}]
    assert realtime_messages("predictions", "aapl") == [{"confidence": 0.5}]
    assert realtime_messages("market-data", "MSFT") == []


@pytest.mark.usefixtures("each_layer")
async def test_an_asynchronous_test_sees_it_too(realtime_messages: RealtimeMessages) -> None:  # noqa: F811
    await abroadcast_market_data("AAPL", {"price": 1})
    await broadcast_market_data("AAPL", {"price": 2})
    assert realtime_messages("market-data", "AAPL") == [{"price": 1}, {"price": 2}]


def test_a_stock_layer_is_recorded_as_well(settings: Any) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    with RealtimeMessages() as messages:
        broadcast_market_data("AAPL", {"price": 1})
    assert messages("market-data", "AAPL") == [{"price": 1}]


@pytest.mark.django_db
async def test_alerts_are_told_apart_by_their_user(settings: Any) -> None:
    settings.REALTIME_ALERT_STORE = ""
    with RealtimeMessages() as messages:
        await asend_alert(ALERT)
        await asend_alert({"message": "yours"}, user_id=7)
    assert messages("alerts") == [ALERT]
    assert messages("alerts", user=7) == [{"message": "yours"}]
    assert messages("alerts", user=8) == []


@pytest.mark.django_db(transaction=True)
def test_a_user_may_be_an_instance(django_user_model: Any) -> None:
    user = django_user_model.objects.create_user("somebody")
    with RealtimeMessages() as messages:
        tasks.send_alert.apply((ALERT, user.pk))
        send_alert(ALERT)
    assert messages("alerts", user=user) == [ALERT]


@pytest.mark.django_db
def test_what_waits_for_a_commit_is_not_published_yet(
    django_capture_on_commit_callbacks: Any,
) -> None:
    with RealtimeMessages() as messages:
        with django_capture_on_commit_callbacks(execute=True), transaction.atomic():
            broadcast_market_data("AAPL", {"price": 1})
            found = messages("market-data", "AAPL")
        assert found == []
        assert "1 call(s) wait for the commit" in found.hints[1]
        assert messages("market-data", "AAPL") == [{"price": 1}]


def test_it_is_empty_again_after_clear() -> None:
    with RealtimeMessages() as messages:
        broadcast_market_data("AAPL", {"price": 1})
        assert repr(messages) == "<RealtimeMessages: 1 in market-data.AAPL>"
        messages.clear()
        assert messages("market-data", "AAPL") == []
        assert repr(messages) == "<RealtimeMessages: nothing was published>"


def test_the_next_test_finds_new_streams() -> None:
    with RealtimeMessages():
        broadcast_market_data("AAPL", {"price": 1})
    assert async_to_sync(recent_updates)("market-data", "AAPL") == []
    with RealtimeMessages() as messages:
        assert broadcast_market_data("AAPL", {"price": 2}).offset == 1
    assert messages("market-data", "AAPL") == [{"price": 2}]


def test_what_is_sent_to_the_group_of_a_stream_is_recorded() -> None:
    layer: Any = get_channel_layer()
    with RealtimeMessages() as messages:
        async_to_sync(layer.group_send)(
            Stream("market-data", "AAPL").group, {"type": "stream.update", "data": {"price": 1}}
        )
    assert messages("market-data", "AAPL") == [{"price": 1}]


@pytest.mark.parametrize(
    ("arguments", "user", "reason"),
    [
        (("market_data", "AAPL"), None, "must be one of predictions, market-data, alerts"),
        (("market-data",), None, "have a symbol and no user"),
        (("market-data", "AAPL"), 1, "have a symbol and no user"),
        (("alerts", "AAPL"), None, "alerts have a user instead of a symbol"),
        (("market-data", "A B"), None, "symbol may hold"),
    ],
)
def test_a_slip_in_the_question_is_named(arguments: Any, user: Any, reason: str) -> None:
    with RealtimeMessages() as messages, pytest.raises(ValueError, match=reason):
        messages(*arguments, user=user)


def test_the_mixin_survives_a_setup_that_calls_no_other_one() -> None:
    class Shop(RealtimeMessagesMixin):
        def setUp(self) -> None:
            broadcast_market_data("AAPL", {"price": 1})

        def test_prices(self) -> None:
            self.assertPublished([{"price": 1}], "market-data", "AAPL")

        def test_another_price(self) -> None:
            self.assertPublished([{"price": 2}], "market-data", "AAPL")

    assert Shop("test_prices").run().wasSuccessful()  # type: ignore[union-attr]
    failures: Any = Shop("test_another_price").run()
    assert "published in this test: 1 in market-data.AAPL" in failures.failures[0][1]


def test_the_plugin_is_light() -> None:
    code = (
        "import sys, realtime.pytest_plugin; "
        "print([name for name in sys.modules if name.split('.')[0] in ('django', 'channels')])"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


def test_an_installed_wheel_names_the_plugin() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"realtime": "realtime.pytest_plugin"}


BOTH = """
import pytest
from django.test import TestCase, override_settings

from realtime import tasks
from realtime.broadcast import broadcast_market_data, send_alert
from realtime.testing import RealtimeMessagesMixin


class ShopTest(RealtimeMessagesMixin, TestCase):
    def test_one(self):
        with self.captureOnCommitCallbacks(execute=True):
            broadcast_market_data("AAPL", {"price": 1})
        self.assertPublished([{"price": 1}], "market-data", "AAPL")

    async def test_two(self):
        await broadcast_market_data("AAPL", {"price": 2})
        self.assertPublished([{"price": 2}], "market-data", "AAPL")

    @override_settings(CELERY_TASK_ALWAYS_EAGER=True)
    def test_three(self):
        with self.captureOnCommitCallbacks(execute=True):
            tasks.send_alert.apply_async(({"message": "x"},))
        self.assertPublished([{"message": "x"}], "alerts")
"""
FAILING = """
import pytest
from realtime.broadcast import broadcast_market_data


@pytest.mark.django_db
def test_uncommitted(realtime_messages):
    broadcast_market_data("AAPL", {"price": 1})
    assert realtime_messages("market-data", "AAPL") == [{"price": 1}]


def test_another_symbol(realtime_messages):
    broadcast_market_data("AAPL", {"price": 1})
    assert realtime_messages("market-data", "MSFT") == [{"price": 1}]
"""
NOWHERE = {"REDIS_URL": "redis://127.0.0.1:1"}


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["manage.py test", "pytest"])
def test_both_runners_assert_on_publications(tmp_path: Path, runner: str) -> None:
    write_project(tmp_path, BOTH)
    pass_tests(tmp_path, runner, NOWHERE)


@pytest.mark.slow
def test_a_comparison_that_fails_says_why(tmp_path: Path) -> None:
    write_project(tmp_path, FAILING)
    result = run_tests(tmp_path, "pytest", NOWHERE)
    assert "2 failed" in result.stdout
    assert "1 call(s) wait for the commit of a transaction" in result.stdout
    assert "published in this test: 1 in market-data.AAPL" in result.stdout


@pytest.mark.slow
def test_a_run_without_django_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("pytest_plugins = ['realtime.pytest_plugin']")
    (tmp_path / "test_it.py").write_text("def test_it(realtime_messages): pass")
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:django", "-p", "no:cacheprovider", "-q"],
        cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "realtime_messages needs Django: install pytest-django" in result.stdout
