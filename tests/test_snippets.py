"""Every code block of README and docs/: each is run, or at least read by what it is written for."""

import ast
import importlib
import json
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from django.core.management import get_commands, load_command_class

from tests.conftest import require_program
from tests.documents import PAGES, blocks, relative
from tests.patience import START_SECONDS
from tests.processes import LiveServer


def found(language: str) -> list[tuple[str, str]]:
    """Page and text of all blocks of a language."""
    return [(relative(page), code) for page in PAGES for code in blocks(page.read_text(), language)]


def lines(language: str) -> Iterator[tuple[str, str]]:
    """Page and command, with continued lines put together."""
    for page, code in found(language):
        text = re.sub(r"\\\n\s*", "", code)
        yield from ((page, command) for command in _commands(text))


def _commands(text: str) -> Iterator[str]:
    """Shell commands; a quoted argument may have several lines."""
    command = ""
    for line in text.splitlines():
        command = f"{command}\n{line}" if command else line
        try:
            words = shlex.split(command, comments=True)
        except ValueError:
            continue  # inside a quotation
        if words:
            yield command
        command = ""


SHELL = sorted(set(lines("sh")))
OURS = ("realtime", "ara_client")
MANAGE = [(page, text) for page, text in SHELL if "manage.py" in text]
CURL = [(page, text) for page, text in SHELL if text.startswith("curl")]


def test_every_language_is_looked_at() -> None:
    languages = {
        language for page in PAGES for language in re.findall(r"^```(\w+)$", page.read_text(), re.M)
    }
    # nginx and ini: tests/test_deployment.py runs them.
    assert languages <= {"python", "sh", "javascript", "json", "yaml", "ini", "nginx"}


@pytest.mark.parametrize(("page", "code"), found("python"))
def test_python_imports_what_there_is(page: str, code: str) -> None:
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith(OURS):
            module = importlib.import_module(str(node.module))
            assert [each.name for each in node.names if not hasattr(module, each.name)] == [], page


@pytest.mark.parametrize(("page", "code"), found("javascript"))
def test_javascript_can_be_parsed(page: str, code: str, tmp_path: Path) -> None:
    path = tmp_path / "snippet.mjs"
    path.write_text(code)
    command = [require_program("node"), "--check", str(path)]
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=START_SECONDS, check=False
    )
    assert result.returncode == 0, f"{page}: {result.stderr}"


@pytest.mark.parametrize(("page", "code"), found("json"))
def test_json_can_be_parsed(page: str, code: str) -> None:
    for line in code.splitlines() if code.count("\n{") else [code]:
        assert isinstance(json.loads(line), dict), page


@pytest.mark.parametrize(("page", "code"), found("yaml"))
def test_yaml_can_be_parsed(page: str, code: str) -> None:
    assert yaml.safe_load(code), page


@pytest.mark.parametrize(("page", "text"), MANAGE)
def test_commands_take_these_arguments(page: str, text: str) -> None:
    words = shlex.split(text, comments=True)
    name, *arguments = words[words.index("manage.py") + 1 :] if "manage.py" in words else ["up"]
    if "|" in arguments:
        arguments = arguments[: arguments.index("|")]
    application = get_commands()[name]
    command = load_command_class(application, name) if isinstance(application, str) else application
    parser = command.create_parser("manage.py", name)
    parser.parse_args(arguments)  # raises CommandError with what is wrong


_CREDENTIALS = """
import json
from tests import personas
personas.olga()
personas.alice()
_, key = personas.bob_key(
    name="curl", scopes=["predictions", "market-data", "alerts", "publish"]
)
print(json.dumps({
    '"admin"': '"olga"', "YOUR_KEY": key, "YOUR_PASSWORD": personas.PASSWORD,
}))
"""


@pytest.fixture(scope="module")
def real(module_servers: Callable[..., LiveServer]) -> dict[str, str]:
    """What the pages write for a server and its credentials, and what it is here."""
    server = module_servers("uvicorn", REALTIME_LOGINS_PER_IP_PER_MINUTE="0")
    values: dict[str, str] = json.loads(server.shell(_CREDENTIALS))
    return {**values, "localhost:8000": f"localhost:{server.port}"}


@pytest.mark.parametrize(("page", "text"), CURL)
def test_requests_are_answered(page: str, text: str, real: dict[str, str]) -> None:
    require_program("curl")
    login = {"username": "olga", "password": real["YOUR_PASSWORD"]}
    url = f"http://{real['localhost:8000']}/api/v1/auth/token"
    tokens = httpx.post(url, json=login).json()  # some of these log out
    values = {"YOUR_TOKEN": tokens["access"], "YOUR_REFRESH_TOKEN": tokens["refresh"], **real}
    for written, value in values.items():
        text = text.replace(written, value)
    words = [*shlex.split(text), "--silent", "--write-out", "\n%{http_code}", "--max-time", "30"]
    result = subprocess.run(words, capture_output=True, text=True, check=True)
    status = int(result.stdout.rpartition("\n")[2])
    assert 200 <= status < 300, f"{page}: {result.stdout}"
