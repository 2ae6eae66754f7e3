"""Run in a project with tests.hosts.office, by tests/test_hosts.py."""

import pytest
from django.core.checks import run_checks
from django.test import Client
from pytest_django.asserts import assertRedirects

from realtime.models import ApiKey
from tests.uuid_users.models import Member

pytestmark = pytest.mark.django_db
SITES = ["admin", "office"]


@pytest.fixture
def olga() -> Member:
    return Member.objects.create_superuser("olga@example.com", "correct horse battery staple")


@pytest.fixture
def client(client: Client, olga: Member) -> Client:
    client.force_login(olga)
    return client


def test_the_sites_keep_their_names_and_no_check_complains(client: Client) -> None:
    assert "The office" in client.get("/office/").content.decode()
    assert "ARA" not in client.get("/admin/").content.decode()
    assert [str(found) for found in run_checks()] == []


@pytest.mark.parametrize("site", SITES)
def test_pages_of_keys_stay_in_their_site(client: Client, olga: Member, site: str) -> None:
    key, _ = ApiKey.objects.create_key(owner=olga, name="one")
    pages = "".join(
        client.get(f"/{site}/realtime/apikey/{page}").content.decode()
        for page in ("", f"{key.pk}/change/", f"{key.pk}/rotate/", "add/")
    )
    (other,) = set(SITES) - {site}
    assert f'href="/{site}/' in pages
    assert f'href="/{other}/' not in pages
    revoked = client.post(f"/{site}/realtime/apikey/{key.pk}/revoke/")
    assertRedirects(revoked, f"/{site}/realtime/apikey/")


def test_a_key_is_made_for_a_user_without_an_admin(client: Client, olga: Member) -> None:
    form = {"owner": str(olga.pk), "name": "two", "scopes": ["alerts"]}
    limits = dict.fromkeys(
        ("max_connections", "max_subscriptions", "messages_per_second", "publish_per_second"), "0"
    )
    answer = client.post("/office/realtime/apikey/add/", {**form, **limits})
    assert answer.status_code == 200
    assert ApiKey.objects.get().owner == olga, answer.content.decode()
