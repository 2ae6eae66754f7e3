"""The development server, which keeps the embedded Valkey running.

It is that of daphne, or Django's own where daphne is not installed.
"""

from realtime.extras import MissingExtra, extra
from realtime.management.commands.serve import hold_valkey

_problem: "MissingExtra | None" = None
try:
    with extra("daphne", needed_by="runserver with WebSockets"):
        from daphne.management.commands.runserver import Command as Runserver
except MissingExtra as exc:
    from django.contrib.staticfiles.management.commands.runserver import Command as Runserver

    _problem = exc


class Command(Runserver):  # type: ignore[misc]  # daphne has no types
    def inner_run(self, *args: object, **options: object) -> None:
        if _problem is not None:
            self.stderr.write(f"HTTP only: {_problem}, or use python manage.py serve")
        with hold_valkey():
            super().inner_run(*args, **options)
