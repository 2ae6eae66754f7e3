"""Run in a project with tests.hosts.own_rest, by tests/test_hosts.py."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import jwt
import pytest
import yaml
from django.conf import settings
from django.contrib.auth.models import User
from django.core.checks import run_checks
from django.test import Client
from drf_spectacular.generators import SchemaGenerator
from rest_framework_simplejwt.tokens import AccessToken

from realtime.models import ApiKey

pytestmark = pytest.mark.django_db
API = "/live/api/v1/"
PASSWORD = "correct horse battery staple"


@pytest.fixture
def alice() -> User:
    return User.objects.create_user("alice", password=PASSWORD)


@pytest.fixture
def client(client: Client, alice: User) -> Iterator[Client]:
    """Logged in with a token."""
    login = {"username": "alice", "password": PASSWORD}
    answer = client.post(f"{API}auth/token", login, content_type="application/json")
    assert answer.status_code == 200, answer.content
    client.defaults["HTTP_AUTHORIZATION"] = f"Bearer {answer.json()['access']}"
    return client


def post(client: Client, path: str, data: object) -> Any:
    return client.post(f"{API}{path}", json.dumps(data), content_type="application/json")


def test_a_view_of_the_project_keeps_its_own_ways(client: Client) -> None:
    assert client.get("/items").json() == {"ITEM_NAME": "CHAIR"}
    assert client.get("/items", HTTP_ACCEPT="application/json; version=8").status_code == 418


def test_an_error_of_ours_is_ours(client: Client) -> None:
    answer = post(client, "publish", [])
    assert answer.status_code == 403
    assert list(answer.json()) == ["detail"]
    bad = post(client, "auth/token", [1])
    assert (bad.status_code, list(bad.json())) == (400, ["non_field_errors"])


def test_a_stranger_is_refused(client: Client) -> None:
    del client.defaults["HTTP_AUTHORIZATION"]
    assert client.get(f"{API}keys").status_code == 401
    assert post(client, "auth/ticket", {}).status_code == 401


def test_lists_have_our_pages_and_times(client: Client, alice: User) -> None:
    for name in ("one", "two", "three"):
        ApiKey.objects.create_key(owner=alice, name=name)
    page = client.get(f"{API}keys").json()
    assert set(page) == {"next", "previous", "results"}
    assert len(page["results"]) == 3
    datetime.fromisoformat(page["results"][0]["created_at"])


def test_times_of_ours_are_read_as_iso(client: Client) -> None:
    assert client.get(f"{API}alerts", {"since": "2026-01-02T03:04:05Z"}).status_code == 200
    assert client.get(f"{API}alerts", {"since": "01.02.2026"}).status_code == 400


def test_text_and_json_of_ours_are_as_everywhere(client: Client) -> None:
    made = post(client, "keys", {"name": "Schlüssel"})
    assert "Schlüssel".encode() in made.content
    nan = client.post(f"{API}keys", '{"name": NaN}', content_type="application/json")
    assert nan.status_code == 400


def test_any_version_may_be_asked_for(client: Client) -> None:
    accept = "application/json; version=99"
    assert client.get(f"{API}keys", HTTP_ACCEPT=accept).status_code == 200
    assert client.options(f"{API}keys").status_code == 200


@pytest.mark.parametrize("prefix", ["/live", "/inner/live"])
def test_our_document_is_ours(client: Client, prefix: str) -> None:
    document = yaml.safe_load(client.get(f"{prefix}/api/v1/schema").content)
    assert document["info"]["title"] == "ARA Realtime"
    assert "x-shop" not in document
    paths = document["paths"]
    assert all(path.startswith((f"{prefix}/api/v1/", f"{prefix}/sse/")) for path in paths)
    keys = paths[f"{prefix}/api/v1/keys/{{prefix}}"]["get"]
    assert keys["tags"] == ["keys"]
    assert "ApiKeyStatusEnum" in document["components"]["schemas"]


def test_the_document_of_the_project_is_its_own(client: Client) -> None:
    client.get(f"{API}schema")
    document = SchemaGenerator().get_schema(public=True)
    assert list(document["paths"]) == ["/items"]
    assert document["paths"]["/items"]["get"]["tags"] == ["shop"]
    assert document["info"]["title"] == "The shop"
    assert document["x-shop"] is True


def test_our_tokens_are_the_tokens_of_the_project(client: Client, alice: User) -> None:
    token = client.defaults["HTTP_AUTHORIZATION"].removeprefix("Bearer ")
    claims = jwt.decode(token, settings.SIMPLE_JWT["SIGNING_KEY"], algorithms=["HS384"])
    assert claims["sub"] == "alice"
    assert claims["exp"] - claims["iat"] == timedelta(minutes=3).total_seconds()


def test_a_token_that_the_project_gave_is_good_here(client: Client, alice: User) -> None:
    client.defaults["HTTP_AUTHORIZATION"] = f"Bearer {AccessToken.for_user(alice)}"
    assert client.get(f"{API}keys").status_code == 200
    assert post(client, "auth/ticket", {}).status_code == 201


def test_a_login_is_refreshed_and_ended(
    client: Client, django_capture_on_commit_callbacks: Any
) -> None:
    login = post(client, "auth/token", {"username": "alice", "password": PASSWORD}).json()
    assert post(client, "auth/token/refresh", {"refresh": login["refresh"]}).status_code == 200
    with django_capture_on_commit_callbacks(execute=True):
        assert post(client, "auth/logout-everywhere", {}).status_code == 204
    assert client.get(f"{API}keys").status_code == 401
    assert post(client, "auth/token/refresh", {"refresh": login["refresh"]}).status_code == 401


def test_checks_find_nothing_wrong() -> None:
    assert [str(found) for found in run_checks()] == []
