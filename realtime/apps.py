from django.apps import AppConfig

from realtime.access.redact import redact_access_log_of_daphne
from realtime.isolation import isolate


class RealtimeConfig(AppConfig):
    name = "realtime"
    verbose_name = "Realtime"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        isolate()
        redact_access_log_of_daphne()
        # These import models, which exist from now on. The first one registers the system checks.
        from realtime import checks  # noqa: F401
        from realtime.access.revocation import watch_changes

        watch_changes()
