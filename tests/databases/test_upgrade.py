"""A database of an earlier release is migrated to this one, with all that was in it."""

import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.conftest import MEMORY, on_postgres
from tests.databases.make import HERE, SECRET_KEY
from tests.postgres import create_database
from tests.processes import manage

# Every row as this version reads it, and what its secrets still open.
READ = """
import json, sys
from django.apps import apps
from django.contrib.auth.models import User
from django.utils import timezone
from realtime.alerts.rule_editing import definition_of
from realtime.models import AlertRule, ApiKey, WebhookEndpoint
raw, secret = {credentials!r}
print(json.dumps({{
    "rows": {{
        model._meta.db_table: [str(row) for row in model._default_manager.all()]
        for model in apps.get_models() if model._meta.managed and not model._meta.proxy
    }},
    "key": ApiKey.objects.find(raw).name,
    "secret": WebhookEndpoint.objects.get().secrets(timezone.now()) == [secret],
    "rule": definition_of(AlertRule.objects.get()).name,
    "password": User.objects.get(username="ada").check_password("a long password of hers"),
}}))
"""


def load(dump: str, directory: Path) -> dict[str, str]:
    """Write a dump into a new database; returns the environment of those who use it."""
    if on_postgres():
        url = create_database()
        with psycopg.connect(url) as connection:
            connection.execute(dump.encode())
        return {"DATABASE_URL": url}
    with sqlite3.connect(directory / "db.sqlite3") as file:
        file.executescript(dump)
    return {}


def rows_of_the_app(dump: str) -> dict[str, int]:
    """How many rows each of its tables has in a dump."""
    tables = re.findall(r'^CREATE TABLE (?:public\.)?"?(realtime_\w+)', dump, re.M)
    inserts = re.findall(r'^INSERT INTO (?:public\.)?"?(\w+)"? VALUES', dump, re.M)
    return {table: inserts.count(table) for table in tables}


@pytest.fixture(scope="module", params=sorted(path.name for path in HERE.glob("*.sqlite.sql")))
def upgraded(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, int], dict[str, Any]]:
    """The rows that a dump has, and what this version reads after `migrate`."""
    name = request.param.replace("sqlite", "postgres") if on_postgres() else request.param
    dump = (HERE / name).read_text()
    directory = tmp_path_factory.mktemp("upgrade")
    environment = {"SECRET_KEY": SECRET_KEY, "CHANNEL_LAYER": MEMORY, **load(dump, directory)}
    manage(directory, "migrate", "-v0", **environment)
    code = READ.format(credentials=dump.splitlines()[0].removeprefix("-- ").split())
    read = manage(directory, "shell", "-v0", "-c", code, **environment).stdout
    return rows_of_the_app(dump), json.loads(read)


@pytest.mark.postgres
def test_every_row_is_still_there(upgraded: tuple[dict[str, int], dict[str, Any]]) -> None:
    before, after = upgraded
    assert before
    assert all(before.values())
    assert {table: len(after["rows"][table]) for table in before} == before


@pytest.mark.postgres
def test_secrets_and_rules_still_work(upgraded: tuple[dict[str, int], dict[str, Any]]) -> None:
    _, after = upgraded
    assert after["password"]
    assert after["key"] == "desk"
    assert after["secret"]
    assert after["rule"] == "high"
