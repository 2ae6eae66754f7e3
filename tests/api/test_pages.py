"""Statistics, health, the OpenAPI document and its page."""

import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.core.management import call_command
from django.db import DatabaseError, InterfaceError, OperationalError, connection
from django.test import Client
from django.utils import timezone
from drf_spectacular.validation import validate_schema
from pytest_django import Settings
from rest_framework.test import APIClient

from realtime import checks
from realtime.api import schema
from realtime.models import WebhookDelivery, WebhookEndpoint
from tests import personas
from tests.conftest import REDIS
from tests.processes import Valkey, free_port

pytestmark = pytest.mark.django_db
client = Client()


def test_connections_are_counted_by_channel(each_layer: str) -> None:
    api = APIClient()
    api.credentials(HTTP_X_API_KEY=personas.scraper_key())
    assert api.get("/api/v1/connections").json() == {
        "total": 0,
        "counts": {"predictions": 0, "market-data": 0, "alerts": 0},
        "channels": [],
        "stale": {},
    }


@pytest.mark.parametrize(
    ("scopes", "symbols", "named"),
    [
        (["market-data"], {}, {"market-data": ["AAPL", "BTC-USD"]}),
        (["market-data", "predictions"], {"market-data": ["BTC*"]},
         {"market-data": ["BTC-USD"], "predictions": ["MSFT"]}),
        (["predictions"], {"predictions": ["GOOG"]}, {}),
        (["alerts"], {}, {}),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("redis_layer")
def test_no_symbol_is_named_that_a_credential_may_not_read(
    scopes: list[str], symbols: dict[str, list[str]], named: dict[str, list[str]]
) -> None:
    stale = ["market-data:AAPL", "market-data:BTC-USD", "predictions:MSFT"]

    async def write() -> None:
        layer: Any = get_channel_layer()
        await layer.loop_layer.write_lease({f"stale:{stream}": 1 for stream in stale}, 10)
        await layer.flush()

    async_to_sync(write)()
    api = APIClient()
    api.credentials(HTTP_X_API_KEY=personas.scraper_key(scopes=scopes, symbols=symbols))
    assert api.get("/api/v1/connections").json()["stale"] == named


def test_metrics_are_prometheus_text_whatever_the_scraper_accepts() -> None:
    answer = client.get("/metrics", headers={"X-API-Key": personas.scraper_key(), "Accept": "*/*"})
    assert answer["Content-Type"].startswith("text/plain; version=0.0.4")
    assert 'ara_connections{channel="alerts"} 0.0' in answer.text


def test_metrics_that_cannot_be_read_are_a_typed_error(settings: Settings) -> None:
    hosts = [f"redis://127.0.0.1:{free_port()}"]
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": REDIS, "CONFIG": {"hosts": hosts}}}
    answer = client.get("/metrics", headers={"X-API-Key": personas.scraper_key()})
    assert answer.status_code == 503
    assert answer.json()["detail"].startswith("no statistics: ")


def test_webhooks_that_no_worker_has_taken_are_overdue() -> None:
    endpoint = WebhookEndpoint.objects.create(
        owner=personas.alice(), url="https://example.com/hook"
    )
    event = {"endpoint": endpoint, "event": "test", "body": "{}"}
    for seconds in (-60, 0, 60):
        due = timezone.now() + timedelta(seconds=seconds)
        WebhookDelivery.objects.create(**event, next_attempt_at=due)
    text = client.get("/metrics", headers={"X-API-Key": personas.scraper_key()}).text
    assert "\nara_webhook_deliveries_pending 3.0" in text
    assert "\nara_webhook_deliveries_overdue 1.0" in text


def test_the_process_is_alive() -> None:
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_the_process_is_ready_with_redis_and_the_database(redis_layer: None) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {"status": "ok", "database": "ok", "redis": "ok"}


@pytest.mark.parametrize("first_shard", [[], ["valkey"]])
def test_the_process_is_not_ready_without_redis(
    settings: Settings, valkey: Valkey, first_shard: list[str]
) -> None:
    living = [valkey.url for _ in first_shard]
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "realtime.delivery.layers.RedisStreamLayer",
            "CONFIG": {"hosts": [*living, f"redis://127.0.0.1:{free_port()}"]},
        }
    }
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"status": "unavailable", "database": "ok", "redis": "unreachable"}


def test_the_process_is_not_ready_without_the_database() -> None:
    def broken(*args: object) -> None:
        raise DatabaseError("password for user ara at 10.0.0.1")

    with connection.execute_wrapper(broken):
        answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["database"] == "unreachable"


@pytest.mark.parametrize("kind", [InterfaceError, OperationalError])
def test_without_the_database_the_client_is_told_to_try_again(kind: type[Exception]) -> None:
    def broken(*args: object) -> None:
        raise kind("password for user ara at 10.0.0.1")

    headers = {"Authorization": f"Bearer {personas.token(personas.alice())}"}
    with connection.execute_wrapper(broken):
        answer = client.get("/api/v1/keys", headers=headers)
    assert answer.status_code == 503
    assert answer.json() == {"detail": "The database does not answer. Try again."}


def test_the_openapi_document_names_every_path_and_credential() -> None:
    document = yaml.safe_load(client.get("/api/v1/schema").content)
    assert {
        "/api/v1/auth/token",
        "/api/v1/auth/token/refresh",
        "/api/v1/auth/token/verify",
        "/api/v1/connections",
        "/api/v1/publish",
        "/sse/market-data/{symbol}",
        "/sse/alerts",
    } <= set(document["paths"])
    validate_schema(document)
    assert {"token", "apiKey"} <= set(document["components"]["securitySchemes"])


def test_the_document_is_made_without_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    call_command(
        "spectacular", "--validate", "--fail-on-warn",
        generator_class="realtime.api.schema.Generator",
        custom_settings="realtime.api.schema.SETTINGS",
    )  # fmt: skip
    assert "/alert-rules/dry-run" in capsys.readouterr().out


def test_the_page_of_the_document_loads_nothing_from_elsewhere() -> None:
    page = client.get("/api/v1/docs").content.decode()
    assert "swagger-ui-bundle.js" in page
    assert "https://" not in page
    assert "http://" not in page


@pytest.mark.parametrize(
    ("path", "way_out"), [("nothing", "/api/v1/docs lists"), ("publish/", "end with a slash")]
)
def test_a_path_that_is_none_is_told_in_json(path: str, way_out: str) -> None:
    answer = Client(enforce_csrf_checks=True).post(f"/api/v1/{path}")
    assert answer.status_code == 404
    assert way_out in answer.json()["detail"]


@pytest.mark.parametrize(
    ("accept", "read"),
    [("application/vnd.oai.openapi+json", json.loads), ("*/*", yaml.safe_load)],
)
def test_the_openapi_document_is_made_once_for_everybody(
    accept: str, read: Callable[[bytes], Any]
) -> None:
    answers = [
        client.get("/api/v1/schema", {"version": version}, HTTP_ACCEPT=accept)
        for version in ("1", "2\r\nSet-Cookie: a=b", "3")
    ]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert read(answers[0].content)["info"]["title"] == "ARA Realtime"


def test_requests_that_come_together_make_the_openapi_document_once() -> None:
    schema._rendered.cache_clear()
    with ThreadPoolExecutor(4) as pool:
        documents = list(pool.map(schema.rendered, ["yaml"] * 4, [""] * 4))
    assert len({id(document) for document in documents}) == 1


def test_the_document_groups_paths_by_what_they_are_about() -> None:
    document = yaml.safe_load(client.get("/api/v1/schema").content)
    tags = {
        tag
        for path in document["paths"].values()
        for operation in path.values()
        for tag in operation["tags"]
    }
    assert {"alert-rules", "auth", "keys", "predictions", "publish", "webhooks"} <= tags


def test_a_redis_cluster_is_not_supported_and_says_so(settings: Settings, tmp_path: Path) -> None:
    arguments = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    with Valkey(tmp_path / "cluster", tcp=True, arguments=arguments) as server:
        settings.REALTIME_EMBEDDED_VALKEY = False
        settings.CHANNEL_LAYERS = {
            "default": {
                "BACKEND": "realtime.delivery.layers.RedisStreamLayer",
                "CONFIG": {"hosts": [server.url]},
            }
        }
        answer = client.get("/readyz")
        found = [message.id for message in checks.check_redis_cluster()]
    assert (answer.status_code, answer.json()["redis"]) == (503, "cluster")
    assert found == ["realtime.E012"]


def test_a_redis_that_is_no_cluster_or_away_is_none_of_that_check(
    settings: Settings, redis_layer: None
) -> None:
    settings.REALTIME_EMBEDDED_VALKEY = False
    assert list(checks.check_redis_cluster()) == []
    settings.CHANNEL_LAYERS["default"]["CONFIG"] = {"hosts": [f"redis://127.0.0.1:{free_port()}"]}
    assert list(checks.check_redis_cluster()) == []


def test_no_operation_is_described_by_what_all_views_share(client: Client) -> None:
    document = client.get("/api/v1/schema?format=json").json()
    operations = [each for path in document["paths"].values() for each in path.values()]
    described = Counter(each.get("description", "") for each in operations)
    del described[""]
    assert all(count < 4 for count in described.values()), described
