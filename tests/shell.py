"""Python beside a running server, in one process for many calls: Django starts once, not per call.

Run as a program it answers requests: a line of JSON with the code, then a line with its output.
"""

import contextlib
import io
import json
import os
import subprocess
import sys
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class Shell:
    """The process that runs the code, and ends with the process that started it."""

    def __init__(self, environment: dict[str, str]):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.shell"],
            cwd=ROOT, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def run(self, code: str) -> str:
        """Run the code with Django set up, as `manage.py shell` does; returns its output."""
        assert self.process.stdin
        assert self.process.stdout
        print(json.dumps(code), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        printed, failure = json.loads(line) if line else ("", "the process ended")
        if failure:
            raise AssertionError(f"{code}: {printed}{failure}")
        return str(printed)

    def close(self) -> None:
        assert self.process.stdin
        assert self.process.stdout
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def answer_requests() -> None:
    # Output of a library must not be taken for an answer.
    answers, sys.stdout = sys.stdout, sys.stderr
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ara_project.settings")
    import django
    from django.apps import apps
    from django.db import connections

    django.setup()
    for request in sys.stdin:
        printed, failure = io.StringIO(), ""
        names: dict[str, object] = {model.__name__: model for model in apps.get_models()}
        try:
            with contextlib.redirect_stdout(printed):
                exec(json.loads(request), names)
        except Exception:
            failure = traceback.format_exc()
        connections.close_all()
        print(json.dumps([printed.getvalue(), failure]), file=answers, flush=True)


if __name__ == "__main__":
    answer_requests()
