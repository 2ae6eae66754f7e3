"""Calls from an event loop in a thread that keeps its connection."""

import threading

import pytest
from django.db import DatabaseError, connection

from realtime import db
from realtime.db import DatabaseThread
from realtime.models import StoredPrediction

pytestmark = pytest.mark.django_db(transaction=True)


def count() -> tuple[str, int]:
    """The name of the thread, and which connection it has."""
    StoredPrediction.objects.count()
    return threading.current_thread().name, id(connection.connection)


def broken() -> None:
    with connection.cursor() as cursor:
        cursor.execute("nonsense")


async def test_calls_have_one_thread_and_one_connection() -> None:
    thread = DatabaseThread("mine")
    first, second = await thread.run(count)(), await thread.run(count)()
    assert first == second
    assert first[0].startswith("mine")
    await thread.close()


async def test_after_a_failure_there_is_a_new_connection() -> None:
    thread = DatabaseThread("mine")
    await thread.run(count)()
    with pytest.raises(DatabaseError):
        await thread.run(broken)()
    assert await thread.run(lambda: connection.connection)() is None
    assert (await thread.run(count)())[0].startswith("mine")
    await thread.close()


async def test_a_connection_that_was_idle_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    thread = DatabaseThread("mine")
    await thread.run(count)()
    monkeypatch.setattr(db, "IDLE_SECONDS", -1.0)
    assert await thread.run(lambda: connection.connection)() is None
    await thread.close()
