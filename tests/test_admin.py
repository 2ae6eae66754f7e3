import re
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from realtime.access.authentication import InvalidCredential, authenticate
from realtime.access.credentials import credential_from_token
from realtime.models import ApiKey
from tests import personas
from tests.conftest import REDIS
from tests.processes import free_port

pytestmark = pytest.mark.django_db(transaction=True)
KEYS = "/admin/realtime/apikey/"
RAW = re.compile(r"ara_[a-z0-9]{8}_[A-Za-z0-9]{32}")


@pytest.fixture
def olga(client: Client) -> Client:
    """A browser in which Olga is logged in."""
    client.force_login(personas.olga())
    return client


def form(**fields: Any) -> dict[str, Any]:
    owner = User.objects.get_or_create(username="bob")[0]
    return {"owner": owner.pk, "name": "desk", "scopes": ["market-data"], **fields}


def text(answer: Any) -> str:
    content: str = answer.content.decode()
    return content


def opens(raw: str) -> bool:
    try:
        authenticate(credential_from_token(raw, "query"))
    except InvalidCredential:
        return False
    return True


# Creating -------------------------------------------------------------------------------------


def test_a_new_key_is_shown_on_the_page_after_saving(olga: Client) -> None:
    answer = olga.post(KEYS + "add/", form())
    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]
    found = RAW.search(text(answer))
    assert found is not None
    key = ApiKey.objects.find(found[0])
    assert key is not None
    assert (key.name, key.owner.username, key.scopes) == ("desk", "bob", ["market-data"])


def test_a_new_key_is_shown_nowhere_else(
    olga: Client, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level("DEBUG"):
        raw = RAW.findall(text(olga.post(KEYS + "add/", form())))[0]
    secret = raw.split("_")[2]
    key = ApiKey.objects.get()
    stored = [
        *LogEntry.objects.values(),
        *Session.objects.values(),
        *ApiKey.objects.values(),
        *[session.get_decoded() for session in Session.objects.all()],
    ]
    pages = [
        text(olga.get(page))
        for page in (KEYS, f"{KEYS}{key.pk}/change/", f"{KEYS}{key.pk}/history/")
    ]
    output = capsys.readouterr()
    for place in (
        *map(str, stored),
        *pages,
        str(olga.cookies),
        caplog.text,
        output.out,
        output.err,
    ):
        assert secret not in place
        assert key.hash not in place.replace(str(key.hash), "", 1) or "hash" in place


def test_a_form_that_is_sent_twice_makes_one_key(olga: Client) -> None:
    for _ in range(2):
        answer = olga.post(KEYS + "add/", form())
    assert "has a key of this name" in text(answer)
    assert not RAW.search(text(answer))
    assert ApiKey.objects.count() == 1


def test_limits_are_typed_as_text(olga: Client) -> None:
    olga.post(
        KEYS + "add/",
        form(
            symbols_market_data="btc*, eth-usd AAPL",
            origins="https://a.example\nhttps://b.example:8443",
            expires_at_0="2030-01-01",
            expires_at_1="00:00",
            max_connections="5",
            max_subscriptions="",
        ),
    )
    key = ApiKey.objects.get()
    assert (key.max_connections, key.max_subscriptions) == (5, 0)
    assert key.symbols == {"market-data": ["BTC*", "ETH-USD", "AAPL"]}
    assert key.allowed_origins == ["https://a.example", "https://b.example:8443"]
    assert key.expires_at is not None
    page = text(olga.get(f"{KEYS}{key.pk}/change/"))
    assert "BTC*, ETH-USD, AAPL" in page
    assert "https://b.example:8443" in page


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"scopes": []}, "This field is required"),
        ({"scopes": ["admin"]}, "is not one of the available choices"),
        ({"symbols_publish": "A?PL"}, "is not a symbol pattern"),
        ({"origins": "a.example"}, "is not an origin"),
        ({"name": ""}, "This field is required"),
        ({"max_connections": "-1"}, "greater than or equal to 0"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_at_its_field(
    olga: Client, fields: dict[str, Any], message: str
) -> None:
    assert message in text(olga.post(KEYS + "add/", form(**fields)))
    assert not ApiKey.objects.exists()


# Editing --------------------------------------------------------------------------------------


def test_an_edit_changes_neither_the_secret_nor_the_owner(olga: Client) -> None:
    key, raw = personas.bob_key()
    assert opens(raw)
    answer = olga.post(
        f"{KEYS}{key.pk}/change/", form(owner=personas.alice().pk, scopes=["alerts", "publish"])
    )
    assert answer.status_code == 302
    key.refresh_from_db()
    assert (key.owner.username, key.scopes) == ("bob", ["alerts", "publish"])
    assert authenticate(credential_from_token(raw, "query")).allows("publish")


def test_a_key_is_rotated_with_an_overlap(olga: Client) -> None:
    key, old = personas.bob_key()
    assert "stops working" in text(olga.get(f"{KEYS}{key.pk}/rotate/"))
    answer = olga.post(f"{KEYS}{key.pk}/rotate/", {"overlap": "3600"})
    new = RAW.findall(text(answer))[0]
    assert new != old
    assert opens(new)
    assert opens(old)
    assert LogEntry.objects.get().change_message == "Rotated."


def test_a_key_is_rotated_at_once(olga: Client) -> None:
    key, old = personas.bob_key()
    assert opens(old)
    olga.post(f"{KEYS}{key.pk}/rotate/", {"overlap": "0"})
    assert not opens(old)


def test_an_overlap_that_is_not_offered_is_refused(olga: Client) -> None:
    key, old = personas.bob_key()
    assert "not one of the available" in text(
        olga.post(f"{KEYS}{key.pk}/rotate/", {"overlap": "9"})
    )
    assert opens(old)


# Revoking -------------------------------------------------------------------------------------


def test_a_key_is_revoked_after_a_question(olga: Client) -> None:
    key, raw = personas.bob_key()
    assert opens(raw)
    assert "cannot be undone" in text(olga.get(f"{KEYS}{key.pk}/revoke/"))
    assert opens(raw)
    answer = olga.post(f"{KEYS}{key.pk}/revoke/", follow=True)
    assert f"Revoked: desk (ara_{key.prefix})" in text(answer)
    assert not opens(raw)


def test_several_keys_are_revoked_after_a_question(olga: Client) -> None:
    keys = [personas.bob_key(name=name)[0] for name in ("one", "two", "three")]
    chosen = {"action": "revoke_selected", "_selected_action": [key.pk for key in keys[:2]]}
    page = text(olga.post(KEYS, chosen))
    assert "one (" in page
    assert "three (" not in page
    olga.post(KEYS, {**chosen, "confirmed": "yes"})
    assert [key.name for key in ApiKey.objects.get_queryset().active()] == ["three"]
    assert LogEntry.objects.count() == 2


def test_revoking_twice_says_so(olga: Client) -> None:
    key, _ = personas.mallory_key()
    chosen = {"action": "revoke_selected", "_selected_action": [key.pk]}
    assert "revoked already" in text(olga.post(KEYS, chosen, follow=True))


def test_a_revoked_key_stays_to_be_looked_at(olga: Client) -> None:
    key, _ = personas.mallory_key(symbols={"publish": ["BTC*"]})
    page = text(olga.get(f"{KEYS}{key.pk}/change/"))
    assert "BTC*" in page
    assert 'name="name"' not in page
    assert olga.post(f"{KEYS}{key.pk}/rotate/", {"overlap": "0"}).status_code == 403


def test_a_deleted_key_opens_nothing(olga: Client) -> None:
    one, first = personas.bob_key(name="one")
    two, second = personas.bob_key(name="two")
    assert opens(first)
    assert opens(second)
    olga.post(f"{KEYS}{one.pk}/delete/", {"post": "yes"})
    chosen = {"action": "delete_selected", "_selected_action": [two.pk], "post": "yes"}
    olga.post(KEYS, chosen)
    assert not ApiKey.objects.exists()
    assert not opens(first)
    assert not opens(second)


# Looking up -----------------------------------------------------------------------------------


@pytest.fixture
def four_keys() -> None:
    now = timezone.now()
    personas.bob_key(name="fresh", scopes=["publish"])
    personas.bob_key(name="limited", expires_at=now + timedelta(days=3))
    personas.bob_key(name="stale", expires_at=now - timedelta(days=3))
    personas.mallory_key()
    ApiKey.objects.filter(name="fresh").update(last_used_at=now - timedelta(minutes=3))


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", {"fresh", "limited", "stale", "stolen"}),
        ("?status=active", {"fresh", "limited"}),
        ("?status=expired", {"stale"}),
        ("?status=revoked", {"stolen"}),
        ("?status=nonsense", {"fresh", "limited", "stale", "stolen"}),
        ("?scope=publish", {"fresh"}),
        ("?scope=alerts", {"limited", "stale", "stolen"}),
        ("?q=stol", {"stolen"}),
        ("?q=mallory", {"stolen"}),
    ],
)
def test_keys_are_found_by_status_scope_and_text(
    olga: Client, four_keys: None, query: str, names: set[str]
) -> None:
    shown = olga.get(KEYS + query).context["cl"].result_list
    assert {key.name for key in shown} == names


def test_a_key_is_found_by_its_visible_part(olga: Client) -> None:
    key, _ = personas.bob_key()
    personas.mallory_key()
    assert [found.pk for found in olga.get(f"{KEYS}?q={key.prefix}").context["cl"].result_list] == [
        key.pk
    ]


def test_the_list_says_when_keys_expire_and_were_used(olga: Client, four_keys: None) -> None:
    page = text(olga.get(KEYS)).replace("\xa0", " ")
    for part in ("in 2 days", "3 days ago", "3 minutes ago", "never"):
        assert part in page
    for state in ApiKey.Status.values:
        assert f"key-{state}" in page


def test_the_list_costs_the_same_queries_for_any_number_of_keys(
    olga: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(20):
        personas.bob_key(name=str(number))
    with django_assert_num_queries(5):
        olga.get(KEYS)


def test_the_list_tells_the_live_connections_of_each_key(
    olga: Client, redis_layer: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy, _ = personas.bob_key(name="busy")
    idle, _ = personas.bob_key(name="idle")
    layer: Any = get_channel_layer()
    lease = {"alerts": 3, "market-data": 2, f"key:{busy.pk}": 5}

    async def write() -> None:
        await layer.loop_layer.write_lease(lease, 10)
        await layer.flush()

    async_to_sync(write)()
    reads = []
    read = type(layer).read_leases

    def counting(self: Any) -> Any:
        reads.append(1)
        return read(self)

    monkeypatch.setattr(type(layer), "read_leases", counting)
    page = text(olga.get(KEYS))
    assert len(reads) == 1
    assert f'<a href="{KEYS}{busy.pk}/change/#live-connections">5</a>' in page
    assert f'<a href="{KEYS}{idle.pk}/change/#live-connections">0</a>' in page
    page = text(olga.get(f"{KEYS}{busy.pk}/change/"))
    assert '<span id="live-connections">5</span>' in page
    assert len(reads) == 2


def test_keys_are_listed_while_redis_is_away(olga: Client, settings: Any) -> None:
    key, _ = personas.bob_key()
    hosts = [f"redis://127.0.0.1:{free_port()}"]
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": REDIS, "CONFIG": {"hosts": hosts}}}
    assert "unknown" in text(olga.get(KEYS))
    assert "unknown" in text(olga.get(f"{KEYS}{key.pk}/change/"))


# Who may --------------------------------------------------------------------------------------


def test_staff_without_the_permission_neither_rotate_nor_revoke(client: Client) -> None:
    clerk = personas.alice(is_staff=True)
    clerk.user_permissions.add(Permission.objects.get(codename="view_apikey"))
    client.force_login(clerk)
    key, _ = personas.bob_key()
    assert client.get(f"{KEYS}{key.pk}/change/").status_code == 200
    for page in ("rotate", "revoke"):
        assert client.post(f"{KEYS}{key.pk}/{page}/", {"overlap": "0"}).status_code == 403
    key.refresh_from_db()
    assert key.status == ApiKey.Status.ACTIVE


@pytest.mark.parametrize("page", ["rotate", "revoke"])
def test_a_key_that_is_not_there_is_not_found(olga: Client, page: str) -> None:
    for number in ("99", "nonsense"):
        assert olga.get(f"{KEYS}{number}/{page}/").status_code == 404


def test_the_admin_is_called_like_the_project_and_shows_no_tokens_of_logins(olga: Client) -> None:
    index = text(olga.get("/admin/"))
    assert "ARA Realtime" in index
    assert "Webhook endpoints" in index
    assert "Outstanding" not in index
    assert olga.get("/admin/token_blacklist/outstandingtoken/").status_code == 404
