"""Cursors that nobody was given."""

import base64

import pytest
from rest_framework.test import APIClient

from tests import personas

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("path", ["alerts", "alert-rules", "keys", "predictions", "webhooks"])
@pytest.mark.parametrize(
    "cursor", ["p=%00", "p=9999-12-31T23%3A59%3A59-23%3A59", "p=x", "o=-1", "r=1&p=[]", "\xff"]
)
def test_a_cursor_that_is_none_is_not_found(path: str, cursor: str) -> None:
    client = APIClient()
    client.force_login(personas.alice())
    text = base64.b64encode(cursor.encode("latin-1")).decode()
    answer = client.get(f"/api/v1/{path}", {"cursor": text})
    assert (answer.status_code, answer.json()) == (404, {"detail": "Invalid cursor"})
