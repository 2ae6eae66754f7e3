"""The database: does it answer, which version is it, and does it have all tables?"""

import time
from collections.abc import Iterator

from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor

from realtime.conf import spelled
from realtime.doctor.findings import Finding, error, ok, warning

# A query this slow is felt in every request.
_SLOW_MS = 50.0


def examine_database() -> Iterator[Finding]:
    connection = connections[DEFAULT_DB_ALIAS]
    try:
        connection.ensure_connection()
        version = ".".join(map(str, connection.get_database_version()))
        milliseconds = _round_trip(connection)
    except DatabaseError as exc:
        setting = spelled("DATABASE_URL", "DATABASES")
        yield error(
            "database", f"{connection.display_name} does not answer: {str(exc).strip()}",
            f"Start it, and compare {setting} with its host, port, name and user.",
        )  # fmt: skip
        return
    text = f"{connection.display_name} {version} answers in {milliseconds:.1f} ms"
    if milliseconds > _SLOW_MS:
        yield warning("database", text, "Look for load and locks on its host, and at the network.")
    else:
        yield ok("database", text)
    yield _migrations(connection)


def _round_trip(connection: BaseDatabaseWrapper) -> float:
    """The best of three, in milliseconds."""
    times = []
    with connection.cursor() as cursor:
        for _ in range(3):
            began = time.perf_counter()
            cursor.execute("SELECT 1")
            cursor.fetchone()
            times.append(time.perf_counter() - began)
    return min(times) * 1000


def _migrations(connection: BaseDatabaseWrapper) -> Finding:
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if not plan:
        return ok("migrations", "all are applied")
    names = [f"{migration.app_label}.{migration.name}" for migration, _ in plan]
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return error(
        "migrations", f"{len(names)} are not applied: {shown}", "Run python manage.py migrate."
    )
