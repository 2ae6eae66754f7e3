"""The limits of a key go before those of the server."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from rest_framework.test import APIClient

from realtime.access.authentication import authenticate
from realtime.access.credentials import credential_from_token
from realtime.access.revocation import key_changed
from realtime.limits import shared_rates
from realtime.limits.policy import message_rate
from realtime.limits.shared_rates import pace
from realtime.models import ApiKey
from tests import personas
from tests.clients import Open
from tests.consumers.conftest import connect, open_socket, people
from tests.processes import free_port

__all__ = ["connect", "open_socket", "people"]
UPDATE = {"type": "market_data_update", "symbol": "AAPL", "data": {"price": 149.5}}


@pytest.fixture(autouse=True)
def _nothing_published(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_rates, "_paid_until", {})


def client_of(raw: str) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_X_API_KEY=raw)
    return client


def publish(client: APIClient, *updates: dict[str, Any]) -> Any:
    body = json.dumps(updates if len(updates) > 1 else updates[0])
    return client.post("/api/v1/publish", body, content_type="application/json")


@pytest.mark.django_db(transaction=True)
def test_publishing_is_limited_by_the_key(each_layer: str) -> None:
    client = client_of(personas.bob_key(scopes=["publish"], publish_per_second=3)[1])
    assert publish(client, UPDATE, UPDATE, UPDATE).status_code == 201
    answer = publish(client, UPDATE)
    assert answer.status_code == 429
    assert answer["Retry-After"] == "1"
    assert answer.json()["detail"] == (
        "More than 3 updates per second; nothing was published. Expected available in 1 second."
    )


@pytest.mark.django_db(transaction=True)
def test_the_limit_of_the_server_counts_by_user(each_layer: str, settings: Any) -> None:
    settings.REALTIME_PUBLISH_PER_SECOND = 1
    clients = [APIClient(), APIClient()]
    for client in clients:
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {personas.token(personas.olga())}")
    assert [publish(client, UPDATE).status_code for client in clients] == [201, 429]


@pytest.mark.django_db(transaction=True)
def test_a_refused_update_costs_nothing_of_the_limit() -> None:
    client = client_of(personas.bob_key(scopes=["publish"], publish_per_second=1)[1])
    assert publish(client, {**UPDATE, "symbol": "A PL"}).status_code == 400
    assert publish(client, UPDATE).status_code == 201


@pytest.mark.django_db(transaction=True)
def test_with_redis_away_no_limit_holds_anybody_back(settings: Any) -> None:
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "realtime.delivery.layers.RedisStreamLayer",
            "CONFIG": {"hosts": [f"redis://127.0.0.1:{free_port()}"]},
        }
    }
    client = client_of(personas.bob_key(scopes=["publish"], publish_per_second=1)[1])
    answers = [publish(client, UPDATE) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [503, 503]
    assert "not published" in answers[1].json()["detail"]


def test_a_batch_that_is_larger_than_the_limit_is_paid_for_afterwards() -> None:
    wait, paid = pace(0.0, 100.0, 5.0)
    assert (wait, paid) == (0.0, 105.0)
    wait, paid = pace(paid, 100.0, 0.5)
    assert (wait, paid) == (4.5, 105.0)
    assert pace(paid, 104.5, 0.5) == (0.0, 105.5)


async def test_subscriptions_are_limited_by_the_key(connect: Open, transactional_db: None) -> None:
    _, raw = await sync_to_async(personas.bob_key)(max_subscriptions=2)
    client = await connect(f"/ws/market-data/AAPL?token={raw}")
    assert (await client.ask("subscribe", symbols=["MSFT"]))["type"] == "subscribed"
    answer = await client.ask("subscribe", symbols=["IBM"])
    assert (answer["code"], answer["details"]["limit"]) == ("subscription_limit", 2)
    status = await client.ask("status")
    assert status["limits"]["subscriptions"] == {"limit": 2, "left": 0}


async def test_messages_are_limited_by_the_key(
    connect: Open, transactional_db: None, settings: Any
) -> None:
    settings.REALTIME_MESSAGES_PER_SECOND, settings.REALTIME_MESSAGES_BURST = 100.0, 200
    _, raw = await sync_to_async(personas.bob_key)(messages_per_second=1)
    client = await connect(f"/ws/market-data/AAPL?token={raw}")
    kinds = [(await client.ask("status"))["type"] for _ in range(3)]
    assert kinds == ["status", "status", "error"]
    assert client.seen[-1]["message"] == "more than 1 messages per second"


async def test_an_edited_limit_holds_on_the_open_socket(
    each_layer: str, connect: Open, people: SimpleNamespace
) -> None:
    client = await connect(f"/ws/market-data/AAPL?token={people.key}")

    def edit() -> None:
        ApiKey.objects.filter(pk=people.key_row.pk).update(
            max_subscriptions=7, messages_per_second=50
        )
        key_changed(people.key_row)

    await sync_to_async(edit)()
    # slower than the message limit of the key: asking without a pause would only earn errors
    for _ in range(50):
        told = (await client.ask("status"))["limits"]
        if told["subscriptions"]["limit"] == 7:
            break
        await asyncio.sleep(0.12)
    assert told["subscriptions"]["limit"] == 7
    assert told["messages"]["limit"] == 100


@pytest.mark.parametrize("before", [0, 3])
@pytest.mark.parametrize(("policy", "stay"), [("refuse", [0, 1]), ("close_oldest", [1, 2])])
async def test_a_lowered_limit_of_connections_closes_those_beyond_it(
    each_layer: str,
    connect: Open,
    transactional_db: None,
    settings: Any,
    before: int,
    policy: str,
    stay: list[int],
) -> None:
    settings.REALTIME_CONNECTION_LIMIT_POLICY = policy
    key, raw = await sync_to_async(personas.bob_key)(max_connections=before)
    clients = [await connect(f"/ws/market-data/AAPL?token={raw}") for _ in range(3)]
    key.max_connections = 2
    await sync_to_async(key.save)()
    (gone,) = [client for number, client in enumerate(clients) if number not in stay]
    assert await gone.closed() == 4429
    assert gone.of_type("error")[0]["code"] == "connection_limit"
    for number in stay:
        await clients[number].assert_alive()


async def test_a_limit_that_was_taken_away_counts_nobody(
    each_layer: str, connect: Open, transactional_db: None
) -> None:
    key, raw = await sync_to_async(personas.bob_key)(max_connections=1)
    first = await connect(f"/ws/market-data/AAPL?token={raw}")
    key.max_connections = 0
    await sync_to_async(key.save)()
    others = [await connect(f"/ws/market-data/AAPL?token={raw}") for _ in range(2)]
    for client in (first, *others):
        await client.assert_alive()


async def test_a_socket_that_changes_its_key_counts_for_the_new_one_alone(
    each_layer: str, connect: Open, open_socket: Open, transactional_db: None
) -> None:
    def two_keys() -> list[str]:
        bob = personas.bob_key(max_connections=1)
        other = ApiKey.objects.create_key(bob[0].owner, "other", max_connections=1)
        return [bob[1], other[1]]

    first, second = await sync_to_async(two_keys)()
    client = await connect(f"/ws/market-data/AAPL?token={first}")
    assert (await client.ask("auth", token=second))["type"] == "authenticated"
    third = await connect(f"/ws/market-data/AAPL?token={first}")
    await third.assert_alive()
    refused = await open_socket(f"/ws/market-data/AAPL?token={second}")
    assert await refused.closed() == 4429


async def test_a_new_credential_fills_no_bucket(connect: Open, people: SimpleNamespace) -> None:
    client = await connect("/ws/market-data/AAPL")
    for _ in range(20):
        await client.ask("status")
    before = (await client.ask("status"))["limits"]["messages"]["left"]
    await client.ask("auth", token=people.key)
    assert (await client.ask("status"))["limits"]["messages"]["left"] <= before + 10


@pytest.mark.django_db
def test_an_identity_has_the_limits_of_its_key() -> None:
    _, raw = personas.bob_key(
        max_connections=1, max_subscriptions=2, messages_per_second=3, publish_per_second=4
    )
    identity = authenticate(credential_from_token(raw, "query"))
    assert identity.max_connections == 1
    assert identity.max_subscriptions == 2
    assert message_rate(identity) == (3, 6)
    assert identity.publish_per_second == 4
