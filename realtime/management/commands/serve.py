"""`manage.py serve`: the production server, uvicorn with this project's WebSocket protocol."""

import contextlib
import errno
import signal
import socket
from argparse import ArgumentParser
from collections.abc import Callable

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from redis.exceptions import RedisError

from realtime.conf import conf, spelled, valkey_directory
from realtime.delivery.layers import shared_layer
from realtime.extras import MissingExtra, extra
from realtime.standalone import valkey


class Command(BaseCommand):
    help = (
        "Serve HTTP and WebSockets in production. Starts the embedded Valkey if REDIS_URL is not "
        "set. On SIGTERM it closes all sockets, spread over REALTIME_DRAIN_SECONDS."
    )
    requires_system_checks = "__all__"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="address (%(default)s)")
        parser.add_argument("--port", type=int, default=8000, help="port (%(default)s)")
        parser.add_argument(
            "--workers", type=int, default=1, help="processes that share the port (%(default)s)"
        )
        parser.add_argument(
            "--access-log", action="store_true", help="log every request, without credentials"
        )

    def handle(
        self, *, host: str, port: int, workers: int, access_log: bool, **options: object
    ) -> None:
        if workers < 1:
            raise CommandError("--workers must be at least 1")
        run = _uvicorn()
        _require_free(host, port)
        self._warn_of_missing_tables()
        self._warn_of_redis()
        with hold_valkey():
            self.stdout.write(f"Serving on http://{host}:{port}/ with {workers} worker(s)")
            self.stdout.flush()  # otherwise a log file would get the line only when the server ends
            # When it has finished, uvicorn raises the signal again that ended it. That is not a
            # failure, and the block around this must end normally.
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            with contextlib.suppress(KeyboardInterrupt):
                run(host, port, workers, access_log=access_log)

    def _warn_of_missing_tables(self) -> None:
        """Only a warning: in a deployment new code may start before its migrations have run."""
        try:
            migrations = MigrationExecutor(connection)
            if migrations.migration_plan(migrations.loader.graph.leaf_nodes()):
                self.stderr.write(
                    "The database lacks tables of this version: run python manage.py migrate"
                )
        except DatabaseError:
            self._warn_of("The database", spelled("DATABASE_URL", "DATABASES"))
        connection.close()

    def _warn_of_redis(self) -> None:
        if conf.REALTIME_EMBEDDED_VALKEY:
            return
        try:
            layer = shared_layer()
            for client in layer.sync_clients if layer is not None else ():
                client.ping()
        except (RedisError, OSError):
            self._warn_of("Redis", spelled("REDIS_URL", "CHANNEL_LAYERS"))

    def _warn_of(self, backend: str, setting: str) -> None:
        """Only a warning: the server works as soon as Redis is back."""
        self.stderr.write(f"{backend} ({setting}) does not answer: /readyz says 503 until it does")


def _uvicorn() -> Callable[..., None]:
    """uvicorn, after a check that the protocol modules can be loaded."""
    try:
        with extra("serve", needed_by="manage.py serve"):
            from realtime.delivery import server, server_http, server_protocol  # noqa: F401
    except MissingExtra as exc:
        raise CommandError(f"{exc}. Any other ASGI server can run the project, too.") from None
    try:
        server.asgi_application()
    except ImproperlyConfigured as exc:
        raise CommandError(str(exc)) from None
    return server.run


def _require_free(host: str, port: int) -> None:
    """Raise a one-line error for a port in use, instead of uvicorn's log and exit code."""
    if not 0 <= port <= 65535:  # getaddrinfo would take it modulo 65536
        raise CommandError(f"--port must be 0 to 65535, not {port}")
    try:
        family, kind, number, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, number) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE:
            raise CommandError(f"Port {port} is taken; choose another one with --port.") from None
        raise CommandError(f"Cannot listen on {host}:{port}: {exc.strerror or exc}") from None


def hold_valkey() -> contextlib.AbstractContextManager[object]:
    if not conf.REALTIME_EMBEDDED_VALKEY:
        return contextlib.nullcontext()
    try:
        return valkey.hold(valkey_directory())
    except valkey.EmbeddedServerError as exc:
        raise CommandError(str(exc)) from None
