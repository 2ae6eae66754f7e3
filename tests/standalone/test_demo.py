import json
import stat
from pathlib import Path

import pytest
from django.contrib.auth.models import User

from realtime.models import ApiKey
from realtime.scopes import SCOPES
from realtime.standalone.demo import KEY_NAME, ensure_demo

pytestmark = pytest.mark.django_db


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "demo.json"


def test_the_demo_account_opens_the_admin(path: Path) -> None:
    demo = ensure_demo(path)
    user = User.objects.get(username=demo.username)
    assert user.is_superuser
    assert demo.password is not None
    assert user.check_password(demo.password)


def test_the_demo_key_reads_everything_and_publishes(path: Path) -> None:
    key = ApiKey.objects.find(ensure_demo(path).api_key)
    assert key is not None
    assert key.status == ApiKey.Status.ACTIVE
    assert set(key.scopes) == set(SCOPES)


def test_only_the_owner_may_read_the_file(path: Path) -> None:
    demo = ensure_demo(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text())["api_key"] == demo.api_key


def test_a_second_start_keeps_the_password_and_the_key(path: Path) -> None:
    assert ensure_demo(path) == ensure_demo(path)
    assert ApiKey.objects.count() == 1


def test_a_password_that_somebody_has_set_is_left_alone(path: Path) -> None:
    ensure_demo(path)
    user = User.objects.get()
    user.set_password("chosen by a person")
    user.save()
    assert ensure_demo(path).password is None
    user.refresh_from_db()
    assert user.check_password("chosen by a person")


def test_an_account_that_was_there_before_is_left_alone(path: Path) -> None:
    before = User.objects.create_user("admin", password="chosen by a person")
    assert ensure_demo(path).password is None
    before.refresh_from_db()
    assert before.check_password("chosen by a person")
    assert not before.is_superuser


def test_a_new_database_gets_the_password_of_before(path: Path) -> None:
    first = ensure_demo(path)
    User.objects.all().delete()
    second = ensure_demo(path)
    assert second.password == first.password
    assert ApiKey.objects.find(second.api_key) is not None


@pytest.mark.parametrize("content", [None, "", "not JSON", "[]"])
def test_a_key_whose_text_is_lost_is_revoked_and_replaced(path: Path, content: str | None) -> None:
    lost = ApiKey.objects.find(ensure_demo(path).api_key)
    path.unlink() if content is None else path.write_text(content)
    found = ApiKey.objects.find(ensure_demo(path).api_key)
    assert lost is not None
    assert found is not None
    lost.refresh_from_db()
    assert lost.status == ApiKey.Status.REVOKED
    assert found.name == KEY_NAME
