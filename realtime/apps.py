from django.apps import AppConfig

from realtime.access.redact import redact_access_log_of_daphne


class RealtimeConfig(AppConfig):
    name = "realtime"
    verbose_name = "Realtime"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        redact_access_log_of_daphne()
        # Registers the system checks; they import models, which exist from now on.
        from realtime import checks  # noqa: F401
