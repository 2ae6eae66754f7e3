"""`django-admin startproject shop`, with the snippets of the how-to in it word for word."""

import contextlib
import re
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.documents import blocks, section_of
from tests.installed.environment import Environment, clean_environment
from tests.patience import scaled, wait_until
from tests.processes import ROOT, START_SECONDS, STOP_SECONDS, free_port

HOW_TO = (ROOT / "docs" / "how-to" / "existing-project.md").read_text()
# The first line of a snippet: `# shop/urls.py`, or `# shop/urls.py, at the end`.
_PLACE = re.compile(r"# (shop/\w+\.py)(, at the end)?\n")


class Project:
    """A project called shop, in a directory of its own."""

    def __init__(self, environment: Environment, directory: Path, **variables: str) -> None:
        self.environment = environment
        self.directory = directory
        self.variables = variables
        directory.mkdir(parents=True)
        self.run("-m", "django", "startproject", "shop", ".")

    def follow(self, title: str, replaced: Mapping[str, str] | None = None) -> None:
        """Do what a section of the how-to says about files."""
        text = section_of(HOW_TO, title)
        assert text is not None, title
        snippets = [code for code in blocks(text, "python") if _PLACE.match(code)]
        assert snippets, title
        for code in snippets:
            for written, here in (replaced or {}).items():
                code = code.replace(written, here)
            self.write(code)

    def write(self, snippet: str) -> None:
        """Put a snippet where its first line says."""
        place = _PLACE.match(snippet)
        assert place is not None, snippet
        path, code = self.directory / place[1], snippet[place.end() :]
        path.write_text(f"{path.read_text()}\n{code}" if place[2] else code)

    def run(self, *arguments: str) -> str:
        """Run Python in the project; what it printed. It must not fail."""
        result = self.environment.run(*arguments, cwd=self.directory, environment=self.variables)
        assert result.returncode == 0, f"{arguments}: {result.stdout}{result.stderr}"
        return result.stdout

    def manage(self, *arguments: str) -> str:
        return self.run("manage.py", *arguments)

    def shell(self, code: str) -> str:
        return self.manage("shell", "-v0", "-c", code)

    @contextlib.contextmanager
    def running(self, *arguments: str, name: str) -> Iterator[Path]:
        """A process that runs meanwhile; the path of its output."""
        log = self.directory / f"{name}.log"
        with (
            log.open("wb") as output,
            subprocess.Popen(
                [self.environment.python, *arguments], cwd=self.directory,
                env=clean_environment(self.variables), stdin=subprocess.PIPE, stdout=output,
                stderr=subprocess.STDOUT,
            ) as process,
        ):  # fmt: skip
            try:
                yield log
            finally:
                process.terminate()
                try:
                    process.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()

    @contextlib.contextmanager
    def serving(self, *arguments: str, probe: str) -> Iterator[str]:
        """A server of the project at a free port; yields `127.0.0.1:PORT`."""
        place = f"127.0.0.1:{free_port()}"
        command = [argument.replace("PORT", place.partition(":")[2]) for argument in arguments]
        with self.running(*command, name="server") as log:
            assert wait_until(lambda: answers(f"http://{place}{probe}"), seconds=START_SECONDS), (
                log.read_text()
            )
            yield place


def answers(url: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=scaled(5)):
        return True
    return False
