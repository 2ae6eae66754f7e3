"""Static files, as `serve` and other ASGI servers answer with them."""

import warnings

import pytest
from django.contrib.staticfiles import finders
from django.test import AsyncClient, Client

NAME = "realtime/client/session.js"


def content() -> bytes:
    path = finders.find(NAME)
    assert isinstance(path, str)
    with open(path, "rb") as file:
        return file.read()


@pytest.mark.parametrize(("headers", "size"), [({}, None), ({"Range": "bytes=0-9"}, 10)])
async def test_a_file_is_answered_without_a_warning(
    headers: dict[str, str], size: int | None
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answer = await AsyncClient().get(f"/static/{NAME}", headers=headers)
        body = b"".join([part async for part in answer])
    answer.close()
    assert body == content()[:size]


@pytest.mark.django_db  # the end of a request closes what an earlier test has opened
def test_a_file_is_answered_under_wsgi_too() -> None:
    answer = Client().get(f"/static/{NAME}")
    assert b"".join(answer) == content()
    answer.close()
