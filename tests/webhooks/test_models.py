from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.utils import timezone

from realtime.models import WebhookEndpoint
from tests import personas

pytestmark = pytest.mark.django_db
URL = "https://hooks.example.com/ara"


@pytest.fixture
def alice() -> User:
    return personas.alice()


def test_the_secret_is_known_once_and_not_stored(alice: User) -> None:
    endpoint, secret = WebhookEndpoint.objects.create_endpoint(alice, URL)
    row = WebhookEndpoint.objects.filter(pk=endpoint.pk).values().get()
    assert secret.startswith("whsec_")
    assert secret.removeprefix("whsec_") not in str(row)
    assert endpoint.secrets(timezone.now()) == [secret]


def test_after_a_rotation_both_secrets_sign_for_a_while(alice: User) -> None:
    endpoint, old = WebhookEndpoint.objects.create_endpoint(alice, URL)
    new = endpoint.rotate(timedelta(hours=1))
    endpoint.refresh_from_db()
    now = timezone.now()
    assert endpoint.secrets(now) == [new, old]
    assert endpoint.secrets(now + timedelta(hours=2)) == [new]


def test_a_rotation_without_overlap_ends_the_old_secret(alice: User) -> None:
    endpoint, _ = WebhookEndpoint.objects.create_endpoint(alice, URL)
    new = endpoint.rotate(timedelta(0))
    assert endpoint.secrets(timezone.now()) == [new]


def test_events_and_symbols_are_kept_as_they_are_compared(alice: User) -> None:
    endpoint, _ = WebhookEndpoint.objects.create_endpoint(
        alice, URL, events=["test", "alert_triggered", "test"], symbols=["btc*", "BTC*"]
    )
    assert endpoint.events == ["alert_triggered", "test"]
    assert endpoint.symbols == ["BTC*"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("url", "ftp://example.com"),
        ("url", "http://example.com"),
        ("url", "https://user@example.com/"),
        ("url", "https://" + "a" * 500),
        ("events", []),
        ("events", ["prediction"]),
        ("symbols", ["not a symbol"]),
        ("symbols", ["A"] * 101),
        ("description", "x" * 201),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_with_the_field(alice: User, field: str, value: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        WebhookEndpoint.objects.create_endpoint(alice, **{"url": URL, field: value})
    assert list(caught.value.message_dict) == [field]
    assert not WebhookEndpoint.objects.exists()
