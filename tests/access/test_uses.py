"""The last use of a key is noted; if the database fails to, the key works all the same."""

import pytest
from django.db import connection

from realtime.access import authentication
from tests import personas


@pytest.mark.django_db
def test_a_use_that_cannot_be_noted_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    key, _ = personas.bob_key()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE realtime_apikey RENAME COLUMN last_used_at TO gone")
    authentication._note_uses([key])
    (record,) = caplog.records
    assert record.exc_info is None
    assert record.getMessage().startswith(f"Could not note the use of {key.visible}: ")
    assert "\n" not in record.getMessage()
