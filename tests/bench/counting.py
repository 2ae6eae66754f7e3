"""This project's server, counting its database queries and connections into a file.

`python -m tests.bench.counting PORT FILE`.
"""

import os
import sys
import threading
from typing import Any

import django
from django.db.backends.signals import connection_created


class Counter:
    """`queries connections` of all threads, in a file that is always up to date."""

    def __init__(self, path: str) -> None:
        self._queries = 0
        self._connections = 0
        self._lock = threading.Lock()
        self._file = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
        self._write()

    def _write(self) -> None:
        os.pwrite(self._file, b"%d %d" % (self._queries, self._connections), 0)

    def connected(self, connection: Any, **_: Any) -> None:
        with self._lock:
            self._connections += 1
            self._write()
        # The object of a thread connects again and again, and keeps its wrappers.
        if self._execute not in connection.execute_wrappers:
            connection.execute_wrappers.append(self._execute)

    def _execute(self, execute: Any, *arguments: Any) -> Any:
        with self._lock:
            self._queries += 1
            self._write()
        return execute(*arguments)


def main() -> None:
    port, path = sys.argv[1:]
    django.setup()
    connection_created.connect(Counter(path).connected, weak=False)
    from realtime.management.commands import serve

    serve.run("127.0.0.1", int(port), 1, access_log=False)


if __name__ == "__main__":
    main()
