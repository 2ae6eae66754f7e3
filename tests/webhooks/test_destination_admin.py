from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from realtime.models import Destination, WebhookDelivery
from realtime.webhooks.queue import claim, finish
from realtime.webhooks.results import AttemptResult
from tests import personas

pytestmark = pytest.mark.django_db
PAGES = "/admin/realtime/destination/"
CHAT = "ntfys://ntfy.sh/alices-secret-topic"


@pytest.fixture
def olga(client: Client) -> Client:
    """A browser in which Olga is logged in."""
    client.force_login(personas.olga())
    return client


@pytest.fixture
def chat(olga: Client) -> Destination:
    add(olga, personas.alice())
    return Destination.objects.get()


def add(olga: Client, owner: User, **fields: Any) -> Any:
    given = {"owner": owner.pk, "address": CHAT, "enabled": "on", "quiet_timezone": "UTC", **fields}
    return olga.post(PAGES + "add/", given)


def page_of(chat: Destination) -> str:
    return f"{PAGES}{chat.pk}/change/"


def test_staff_adds_a_destination_for_a_user(olga: Client) -> None:
    alice = personas.alice()
    answer = add(olga, alice, quiet_start="22:00", quiet_end="07:00", description="Desk")
    assert answer.status_code == 302
    found = Destination.objects.get()
    assert (found.owner, found.address, found.confirmed) == (alice, CHAT, True)
    assert found.quiet_hours == {"start": "22:00", "end": "07:00", "timezone": "UTC"}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"address": "ntfys://10.0.0.1/x"}, "public address"),
        ({"address": ""}, "This field is required"),
        ({"quiet_start": "22:00"}, "Fill in both"),
        ({"quiet_start": "22:00", "quiet_end": "07:00", "quiet_timezone": "Mars"}, "time zone"),
    ],
)
def test_what_is_wrong_is_said_on_the_form(olga: Client, fields: Any, said: str) -> None:
    answer = add(olga, personas.alice(), **fields)
    assert said in answer.content.decode()
    assert not Destination.objects.exists()


def test_no_page_shows_the_secret(olga: Client, chat: Destination) -> None:
    for page in (PAGES, page_of(chat), f"{PAGES}{chat.pk}/history/"):
        assert "secret-topic" not in olga.get(page).content.decode()


def test_a_test_is_sent_from_its_page_which_shows_the_last_result(
    olga: Client, chat: Destination
) -> None:
    fields = {"enabled": "on", "description": "", "quiet_timezone": "UTC", "_test": "x"}
    assert olga.post(page_of(chat), fields)["Location"] == page_of(chat)
    finish(*claim(10), AttemptResult(problem="connect"))
    assert "no connection" in olga.get(page_of(chat)).content.decode()
    assert "no connection" in olga.get(PAGES).content.decode()


@pytest.mark.parametrize(("action", "enabled"), [("pause", False), ("resume", True)])
def test_destinations_are_paused_and_resumed(
    olga: Client, chat: Destination, action: str, enabled: bool
) -> None:
    Destination.objects.update(enabled=not enabled)
    olga.post(PAGES, {"action": f"{action}_selected", "_selected_action": [chat.pk]})
    chat.refresh_from_db()
    assert chat.enabled == enabled


def test_pausing_on_its_page_fails_what_waits(olga: Client, chat: Destination) -> None:
    olga.post(PAGES, {"action": "test_selected", "_selected_action": [chat.pk]})
    olga.post(page_of(chat), {"description": "", "quiet_timezone": "UTC"})
    chat.refresh_from_db()
    assert (chat.enabled, chat.disabled_reason) == (False, "owner")
    assert WebhookDelivery.objects.get().status == "failed"


def test_the_log_of_deliveries_names_destinations(olga: Client, chat: Destination) -> None:
    olga.post(PAGES, {"action": "test_selected", "_selected_action": [chat.pk]})
    olga.get(PAGES)  # shows the messages that link there
    row = WebhookDelivery.objects.get()
    page = f"/admin/realtime/webhookdelivery/{row.pk}/change/"
    assert page_of(chat) in olga.get(page).content.decode()
