"""What is sent with gzip, and what is not."""

import gzip
from typing import Any

import pytest
from django.contrib.staticfiles import finders
from django.http import HttpResponse
from django.test import AsyncClient, Client, RequestFactory

from realtime.compression import CompressAnswers, _compressed

pytestmark = pytest.mark.django_db

SCRIPT = "admin/js/core.js"
GZIP = {"Accept-Encoding": "br, gzip"}


def content(name: str) -> bytes:
    path = finders.find(name)
    assert isinstance(path, str)
    with open(path, "rb") as file:
        return file.read()


@pytest.mark.parametrize("url", ["/", "/api/v1/schema", "/api/v1/asyncapi.json", "/admin/login/"])
def test_pages_and_documents_are_compressed_for_clients_that_take_it(
    url: str, client: Client
) -> None:
    answer, plain = client.get(url, headers=GZIP), client.get(url)
    assert (answer["Content-Encoding"], "Content-Encoding" in plain) == ("gzip", False)
    assert "Accept-Encoding" in answer["Vary"]
    assert len(answer.content) < len(plain.content) / 2


async def test_a_script_is_compressed_once() -> None:
    _compressed.cache_clear()
    for _ in range(3):
        answer = await AsyncClient().get(f"/static/{SCRIPT}", headers=GZIP)
        assert gzip.decompress(answer.content) == content(SCRIPT)
        assert answer["Content-Type"].startswith("text/javascript")
        assert int(answer["Content-Length"]) == len(answer.content)
    assert _compressed.cache_info().misses == 1


async def test_a_compressed_script_that_has_not_changed_is_not_sent_again() -> None:
    first = await AsyncClient().get(f"/static/{SCRIPT}", headers=GZIP)
    since = {"If-Modified-Since": first["Last-Modified"], **GZIP}
    assert (await AsyncClient().get(f"/static/{SCRIPT}", headers=since)).status_code == 304


@pytest.mark.parametrize("headers", [{}, {**GZIP, "Range": "bytes=0-9"}])
async def test_a_part_of_a_script_stays_as_it_is(headers: dict[str, str]) -> None:
    answer = await AsyncClient().get(f"/static/{SCRIPT}", headers=headers)
    assert "Content-Encoding" not in answer
    body = b"".join([part async for part in answer])
    answer.close()
    assert content(SCRIPT).startswith(body)


def compressed(method: str = "GET", body: str = "x" * 1024, **headers: str) -> bool:
    request = RequestFactory().generic(method, "/", headers=GZIP)
    given: Any = {"Content-Type": "application/json"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    response = HttpResponse(body, headers=given)
    return "Content-Encoding" in CompressAnswers(lambda _: response)(request)


def test_json_of_a_kibibyte_is_compressed() -> None:
    assert compressed()
    assert compressed(cache_control="private, no-store")
    assert not compressed(body="x" * 1023)
    assert not compressed(Content_Type="image/png")


def test_what_may_show_a_secret_is_not_compressed() -> None:
    assert not compressed("POST")
    assert not compressed(cache_control="no-store")
