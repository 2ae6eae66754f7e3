"""Rows that a database refuses, and rows that it should not contain, for tests of loops."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection


@contextmanager
def refusing(table: str, column: str, value: str, *, on: str = "INSERT") -> Iterator[None]:
    """Makes the database refuse rows of a table with this value in a column."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(
                f"CREATE TRIGGER poison BEFORE {on} ON {table} WHEN NEW.{column} = '{value}' "
                "BEGIN SELECT RAISE(ABORT, 'a poisoned row'); END"
            )
        else:
            cursor.execute(
                f"ALTER TABLE {table} ADD CONSTRAINT poison CHECK ({column} <> '{value}') NOT VALID"
            )
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            if connection.vendor == "sqlite":
                cursor.execute("DROP TRIGGER poison")
            else:
                cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT poison")


def write(table: str, pk: int, column: str, value: str) -> None:
    """Put a value into a row without the ORM, as another program may have done.

    SQLite keeps any text in any column, and reads 9e999 as infinity; PostgreSQL has literals for
    it.
    """
    number = "9e999" if value == "Infinity" and connection.vendor == "sqlite" else f"'{value}'"
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {table} SET {column} = {number} WHERE id = {pk}")
