"""`manage.py prune_history`: deletes old predictions and one-minute bars."""

from django.core.management.base import BaseCommand, CommandError
from django.db import Error as DatabaseError

from realtime.retention import prune


class Command(BaseCommand):
    # Checks import every view and serializer of the project, none of which this command uses.
    requires_system_checks: list[str] = []
    help = (
        "Delete stored predictions older than REALTIME_PREDICTION_DAYS, and bars of a minute older "
        "than REALTIME_MINUTE_BAR_DAYS. Run it once a day, from cron or by Celery beat."
    )

    def handle(self, *args: object, **options: object) -> None:
        try:
            pruned = prune()
        except DatabaseError as exc:
            raise CommandError(f"the database: {exc}") from exc
        self.stdout.write(f"{pruned}.")
