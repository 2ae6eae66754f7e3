"""The page at `/`."""

import shlex
from typing import Any

from django.views.generic import TemplateView

from realtime.demo import project_python


class Dashboard(TemplateView):
    template_name = "realtime/dashboard.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        # Of an environment elsewhere, strangers learn nothing; whoever made it has activated it.
        python = project_python()
        command = "python" if python.is_absolute() else shlex.quote(str(python))
        return super().get_context_data(python=command, **kwargs)
