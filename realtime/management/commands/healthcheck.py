"""Probe for platforms that ask with a command: exit code 0 if all is well, else 1 and why."""

import http.client
from argparse import ArgumentParser
from typing import Final

from django.core.management.base import BaseCommand, CommandError

from realtime.delivery.publisher import BackendUnavailable
from realtime.workers import read_workers

_ANSWER_SECONDS: Final = 5.0


class Command(BaseCommand):
    help = (
        "Exit with 0 if the processes of a role are well, or with 1 and one line that says why "
        "not. `web` asks the server on this machine for /readyz. `background` reads the signs of "
        "life of all background workers: a worker that has been silent for 20 seconds is not well, "
        "and neither is a project without any."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("role", choices=["web", "background"])
        parser.add_argument("--port", type=int, default=8000, help="port of the server (8000)")

    def handle(self, *, role: str, port: int, **options: object) -> None:
        self.stdout.write(_server(port) if role == "web" else _background())


def _server(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_ANSWER_SECONDS)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        body = answer.read(1000).decode(errors="replace")
    except (OSError, http.client.HTTPException) as exc:
        raise CommandError(f"no answer at 127.0.0.1:{port}: {exc}") from exc
    finally:
        connection.close()
    if answer.status != 200:
        raise CommandError(f"not ready ({answer.status}): {body}")
    return f"ready: {body}"


def _background() -> str:
    try:
        workers = read_workers()
    except BackendUnavailable as exc:
        raise CommandError(f"Redis is not reachable: {exc}") from exc
    if not workers:
        raise CommandError("no background worker has been seen for a minute: run_background")
    hanging = [
        f"{state.worker} of {state.process}, {state.step_age:.0f} s ago"
        for state in workers
        if state.hangs
    ]
    if hanging:
        raise CommandError(f"silent: {'; '.join(hanging)}")
    return f"{len(workers)} workers, all alive"
