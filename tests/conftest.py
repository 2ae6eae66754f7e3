"""Fixtures: real servers, a real Valkey, channel layers, and programs that may be missing."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from asgiref.sync import SyncToAsync, async_to_sync

from realtime.isolation import VARIABLE
from tests.postgres import create_database
from tests.processes import LiveServer, Valkey, manage, start_live_server

STRICT = os.environ.get("STRICT") == "1"
MEMORY = "realtime.delivery.layers.MemoryStreamLayer"
REDIS = "realtime.delivery.layers.RedisStreamLayer"

# Tests of this project start a Redis of their own, and check the key names in it.
os.environ[VARIABLE] = ""

# A busy machine must not look like a failure.
hypothesis.settings.register_profile(
    "ara", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("ara")


def pytest_configure() -> None:
    """Hash passwords fast: a real hasher takes a third of a second for each login."""
    from django.conf import settings

    hashers = "django.contrib.auth.hashers"
    settings.PASSWORD_HASHERS = [
        f"{hashers}.MD5PasswordHasher",
        f"{hashers}.PBKDF2PasswordHasher",
    ]


def require(available: object, reason: str) -> None:
    """Skip with the reason; under STRICT=1 (CI) fail, so that no test is skipped unnoticed."""
    if not available:
        if STRICT:
            pytest.fail(f"STRICT=1 and {reason}", pytrace=False)
        pytest.skip(reason)


def require_program(name: str) -> str:
    """The path of a program, or a skip."""
    return first_program(name)


def first_program(*names: str) -> str:
    """The path of the first of these programs that is installed, or a skip."""
    paths = [shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin") for name in names]
    path = next(filter(None, paths), None)
    require(path, f"{' or '.join(names)} is not installed")
    assert path is not None
    return path


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> Iterator[None]:
    """Provide the database, and at the end close the connections of other threads.

    PostgreSQL does not drop a database with open connections.
    """
    from django.db import connections

    from realtime.predictions import records, stored_bars

    yield
    async_to_sync(records.thread.close)()
    async_to_sync(stored_bars.thread.close)()
    # The thread in which awaited queries run.
    SyncToAsync.single_thread_executor.submit(connections.close_all).result()


def pytest_xdist_auto_num_workers() -> int:
    """For `-n auto`: one more than the cores, since many tests wait for their servers.

    More of them run as many browsers side by side, and everything waits for these.
    """
    return min(6, (os.cpu_count() or 1) + 1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the files that take longest, so that none of them runs alone at the end.

    Also mark the tests for `make check-postgres`: those that use the database without a server.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    servers = {item.path for item in items if starts_server(item)}
    items.sort(key=lambda item: (item.path not in slow, item.path not in servers))
    for item in items:
        database = item.get_closest_marker("django_db") is not None
        if database and not starts_server(item) and not in_memory(item):
            item.add_marker("postgres")


def starts_server(item: pytest.Item) -> bool:
    fixtures = getattr(item, "fixturenames", ())
    return not {"migrated_database", "new_database", "server"}.isdisjoint(fixtures)


def in_memory(item: pytest.Item) -> bool:
    """Whether a test uses the in-memory layer, which does not go with PostgreSQL."""
    call = getattr(item, "callspec", None)
    return call is not None and call.params.get("each_layer") == "memory"


def on_postgres() -> bool:
    """Whether this run of tests has a PostgreSQL server: see tests/postgres.py."""
    return os.environ.get("DATABASE_URL", "").startswith("postgres")


@pytest.fixture(autouse=True)
def _memory_layer(settings: Any) -> None:
    """Tests publish in memory only; those that need Redis say so."""
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": MEMORY}}


@pytest.fixture(autouse=True)
def _no_totals() -> Iterator[None]:
    """What one test counts is not written while the next one runs."""
    from realtime.delivery.totals import totals

    yield
    totals.forget()


@pytest.fixture(autouse=True)
def _no_remembered_credentials() -> None:
    from django.core.cache import cache

    from realtime.access import authentication

    authentication.forget()
    cache.clear()  # counts logins


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A Valkey of this test session, on a unix socket."""
    with Valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
def redis_layer(settings: Any, valkey: Valkey) -> None:
    """The Redis channel layer on the session's Valkey, emptied before."""
    with valkey.client() as client:
        client.flushall()
    settings.CHANNEL_LAYERS = {
        "default": {"BACKEND": REDIS, "CONFIG": {"hosts": [valkey.url]}},
    }


@pytest.fixture(params=["memory", "redis"])
def each_layer(request: pytest.FixtureRequest) -> str:
    """Both layers of this project, one after the other."""
    if request.param == "redis":
        request.getfixturevalue("redis_layer")
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with all tables, to copy for each server; one for all processes of a run."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    file = shared / "migrated.sqlite3"
    with (shared / "migrated.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not file.exists():
            directory = tmp_path_factory.mktemp("database")
            manage(directory, "migrate", "-v0", REDIS_URL="redis://127.0.0.1:1")
            (directory / "db.sqlite3").rename(file)
    return file


NewDatabase = Callable[[Path], dict[str, str]]


@pytest.fixture(scope="session")
def new_database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> NewDatabase:
    """A function that gives the servers of a directory a database with all tables.

    It returns their environment: on PostgreSQL (`make check-postgres`) the URL of the database.
    """
    if not on_postgres():
        file = request.getfixturevalue("migrated_database")

        def copy_file(directory: Path) -> dict[str, str]:
            shutil.copy(file, directory / "db.sqlite3")
            return {}

        return copy_file

    template = create_database()
    manage(tmp_path_factory.mktemp("database"), "migrate", "-v0", DATABASE_URL=template)
    return lambda directory: {"DATABASE_URL": create_database(template)}


@pytest.fixture
def start_server(
    tmp_path_factory: pytest.TempPathFactory, valkey: Valkey, new_database: NewDatabase
) -> Iterator[Callable[..., LiveServer]]:
    """A function that starts a server process: `start_server("uvicorn", REALTIME_…="…")`.

    The servers of a test share a database, and a Valkey unless REDIS_URL names another.
    """
    with valkey.client() as client:
        client.flushall()
    yield from _server_starter(tmp_path_factory, valkey, new_database)


@pytest.fixture(scope="module")
def module_servers(
    tmp_path_factory: pytest.TempPathFactory, new_database: NewDatabase
) -> Iterator[Callable[..., LiveServer]]:
    """`start_server` for a whole module, with a Valkey of its own."""
    with Valkey(tmp_path_factory.mktemp("valkey")) as valkey:
        yield from _server_starter(tmp_path_factory, valkey, new_database)


def _server_starter(
    tmp_path_factory: pytest.TempPathFactory, valkey: Valkey, new_database: NewDatabase
) -> Iterator[Callable[..., LiveServer]]:
    directory = tmp_path_factory.mktemp("server")
    database = new_database(directory)
    servers: list[LiveServer] = []

    def start(kind: str = "uvicorn", **environment: str) -> LiveServer:
        environment.setdefault("REDIS_URL", valkey.url)
        server = start_live_server(kind, directory, {**database, **environment})
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def uvicorn(
    tmp_path_factory: pytest.TempPathFactory, new_database: NewDatabase
) -> Iterator[LiveServer]:
    yield from _default_server("uvicorn", tmp_path_factory, new_database)


@pytest.fixture(scope="session")
def daphne(
    tmp_path_factory: pytest.TempPathFactory, new_database: NewDatabase
) -> Iterator[LiveServer]:
    yield from _default_server("daphne", tmp_path_factory, new_database)


def _default_server(
    kind: str, tmp_path_factory: pytest.TempPathFactory, new_database: NewDatabase
) -> Iterator[LiveServer]:
    """A server with default settings, with a Valkey of its own."""
    directory = tmp_path_factory.mktemp(kind)
    database = new_database(directory)
    with Valkey(directory / "valkey") as valkey:
        server = start_live_server(kind, directory, {"REDIS_URL": valkey.url, **database})
        yield server
        server.stop()


@pytest.fixture(scope="session", params=["uvicorn", "daphne"])
def server(request: pytest.FixtureRequest) -> LiveServer:
    """A server of each kind. Both live as long as the test process."""
    server: LiveServer = request.getfixturevalue(request.param)
    return server
