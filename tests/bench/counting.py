"""This project's server, counting its database queries into a file.

`python -m tests.bench.counting PORT FILE`.
"""

import os
import sys
import threading
from typing import Any

import django
from django.db.backends.signals import connection_created


class Counter:
    """The number of queries of all threads, at the start of a file."""

    def __init__(self, path: str) -> None:
        self._count = 0
        self._lock = threading.Lock()
        self._file = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
        self._write()

    def _write(self) -> None:
        os.pwrite(self._file, b"%d" % self._count, 0)

    def watch(self, connection: Any, **_: Any) -> None:
        connection.execute_wrappers.append(self._execute)

    def _execute(self, execute: Any, *arguments: Any) -> Any:
        with self._lock:
            self._count += 1
            self._write()
        return execute(*arguments)


def main() -> None:
    port, path = sys.argv[1:]
    django.setup()
    connection_created.connect(Counter(path).watch, weak=False)
    from realtime.management.commands import serve

    serve.run("127.0.0.1", int(port), 1, access_log=False)


if __name__ == "__main__":
    main()
