"""daphne's development server, with the embedded Valkey alive as long as it runs."""

from typing import Any

from daphne.management.commands.runserver import Command as DaphneRunserver

from realtime.management.commands.serve import hold_valkey


class Command(DaphneRunserver):  # type: ignore[misc]  # daphne has no types
    def inner_run(self, *args: Any, **options: Any) -> None:
        with hold_valkey():
            super().inner_run(*args, **options)
