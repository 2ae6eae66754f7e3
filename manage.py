#!/usr/bin/env python
"""Django's command line for ARA Realtime: `python manage.py help`."""

import os
import signal
import sys
from pathlib import Path


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ara_project.settings")
    # The Python client of this checkout, for `manage.py watch`.
    sys.path.append(str(Path(__file__).resolve().parent / "clients" / "python"))
    try:
        from django.core.management import execute_from_command_line
    except ImportError as exc:
        raise SystemExit(
            "Django is not installed in this Python. Run `make run` once, or\n"
            "  python3 -m venv .venv\n"
            "  .venv/bin/pip install --require-hashes -r requirements.lock\n"
            "and use .venv/bin/python."
        ) from exc
    from django.conf import settings
    from django.core.exceptions import ImproperlyConfigured

    try:
        if sys.argv[1:2] == ["shell"] and not any("--settings" in word for word in sys.argv):
            _ = settings.INSTALLED_APPS  # Django's shell goes on without settings that are bad
        execute_from_command_line(sys.argv)
        sys.stdout.flush()
    except ImproperlyConfigured as exc:
        raise SystemExit(f"Bad configuration: {exc}") from None
    except BrokenPipeError:
        # `manage.py … | head`: who reads has enough. Nothing may be flushed into it at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(128 + signal.SIGPIPE) from None


if __name__ == "__main__":
    main()
