"""Write the dumps of a release: `python -m tests.databases.make 0.2.0`."""

import os
import re
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.conftest import MEMORY
from tests.postgres import Postgres, create_database, find_programs
from tests.processes import manage

HERE = Path(__file__).parent
SECRET_KEY = "the key with which the secrets in these dumps are sealed"


def fill(directory: Path, **environment: str) -> str:
    """Make a database with rows in every table; returns a key and a secret that are in it."""
    environment = {"SECRET_KEY": SECRET_KEY, "CHANNEL_LAYER": MEMORY, **environment}
    manage(directory, "migrate", "-v0", **environment)
    code = (HERE / "rows.py").read_text()
    return manage(directory, "shell", "-v0", "-c", code, **environment).stdout.strip()


def dump_sqlite(directory: Path) -> str:
    credentials = fill(directory)
    with sqlite3.connect(directory / "db.sqlite3") as connection:
        lines = "\n".join(connection.iterdump())
    return f"-- {credentials}\n{lines}\n"


def dump_postgres(directory: Path) -> str:
    programs = find_programs()
    assert programs is not None, "PostgreSQL is not installed"
    with Postgres(programs) as postgres:
        os.environ["DATABASE_URL"] = postgres.url
        url = create_database()
        credentials = fill(directory, DATABASE_URL=url)
        command = [programs / "pg_dump", "--inserts", "--no-owner", "--no-privileges", url]
        dumped = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    # psql's own commands, and what only says which server this was.
    lines = [line for line in dumped.splitlines() if line and not re.match(r"\\|--|SET ", line)]
    return "\n".join([f"-- {credentials}", *lines, ""])


def main(version: str) -> None:
    for name, dump in (("sqlite", dump_sqlite), ("postgres", dump_postgres)):
        with tempfile.TemporaryDirectory() as directory:
            (HERE / f"{version}.{name}.sql").write_text(dump(Path(directory)))


if __name__ == "__main__":
    main(sys.argv[1])
