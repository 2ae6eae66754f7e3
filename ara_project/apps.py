from typing import Any

from django.apps import AppConfig

from ara_project import files


class ProjectConfig(AppConfig):
    name = "ara_project"
    verbose_name = "ARA Realtime"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        # Not in `ready`: models of other apps are loaded before that, and may need the key.
        files.prepare()
