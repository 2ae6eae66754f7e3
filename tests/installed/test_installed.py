"""The how-to "Add to an existing project", followed word for word in projects of all kinds.

The tests stand in the order in which packages are added to the one virtual environment: first the
core alone, then the extras.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect

from tests.installed.environment import Environment
from tests.installed.project import HOW_TO, Project
from tests.processes import START_SECONDS
from tests.standalone.test_supervisor import wait_until

pytestmark = pytest.mark.slow

SOCKETS = """
import asyncio
import json
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from django.core.management import call_command
from realtime.broadcast import broadcast_market_data
from shop.asgi import application

async def main():
    path = "/live/ws/market-data/AAPL"
    scope = {"type": "websocket", "path": path, "headers": [], "query_string": b""}
    socket = ApplicationCommunicator(application, scope)
    await socket.send_input({"type": "websocket.connect"})
    assert (await socket.receive_output(10))["type"] == "websocket.accept"

    async def until(kind):
        while True:
            sent = await socket.receive_output(10)
            message = json.loads(sent.get("text") or sent["bytes"])
            if message["type"] == kind:
                return message

    await until("connected")
    await sync_to_async(broadcast_market_data)("AAPL", {"price": 149.5})
    print((await until("market_data_update"))["data"]["price"])

call_command("check")
call_command("migrate", verbosity=0)
call_command("makemigrations", "--check", "--dry-run", verbosity=0)
asyncio.run(main())
"""
IN_MEMORY = """# shop/settings.py, at the end
CHANNEL_LAYERS = {"default": {"BACKEND": "realtime.delivery.layers.MemoryStreamLayer"}}
REALTIME_EMBEDDED_VALKEY = False
"""
# What needs each extra.
NEEDS = {
    "serve": "call_command('serve')",
    "standalone": "valkey.hold(Path.cwd() / 'var').__enter__()",
    "celery": "import realtime.tasks",
    "feeds": "live_feed('alpaca', exchange=None, channel=None, names={})",
    "forecast": "import realtime.predictions.garch",
    "plot": "draw(None, 'nothing', Path('out.png'))",
}
TRY = """
from pathlib import Path
from django.core.management import call_command
from realtime.feeds.sources import live_feed
from realtime.predictions.plots import draw
from realtime.standalone import valkey
for code in {codes!r}:
    try:
        exec(code)
    except Exception as exc:
        print(exc)
    else:
        print("nothing was missing")
"""


# The core alone ---------------------------------------------------------------------------------


def test_the_metadata_names_all_that_the_core_imports(core: Environment) -> None:
    assert core.check() == ""


@pytest.fixture(scope="module")
def small(core: Environment, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project without Redis, and so without any extra."""
    project = Project(core, tmp_path_factory.mktemp("small") / "project")
    project.follow("Three lines")
    project.write(IN_MEMORY)
    return project


def test_the_core_publishes_to_sockets(small: Project) -> None:
    assert small.shell(SOCKETS).endswith("149.5\n")


def test_what_needs_an_extra_says_its_name(small: Project) -> None:
    said = small.shell(TRY.format(codes=list(NEEDS.values()))).splitlines()
    named = {
        extra: next((line for line in said if f"pip install 'ara-realtime[{extra}]'" in line), None)
        for extra in NEEDS
    }
    assert all(named.values()), said
    assert str(named["serve"]).startswith("manage.py serve needs uvicorn: ")


def test_runserver_without_daphne_says_that_it_is_for_http_only(small: Project) -> None:
    server = ("manage.py", "runserver", "--noreload", "127.0.0.1:PORT")
    with small.serving(*server, probe="/live/healthz"):
        log = (small.directory / "server.log").read_text()
    assert "HTTP only: " in log
    assert "pip install 'ara-realtime[daphne]'" in log


# The steps of the how-to ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shop(full: Environment, tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(full, tmp_path_factory.mktemp("shop") / "project")
    project.follow("Three lines")
    project.follow("Publish and receive")
    return project


@pytest.fixture(scope="module")
def address(shop: Project) -> Iterator[str]:
    """Where the project of the how-to is served."""
    shop.manage("migrate", "-v0")
    with shop.serving("manage.py", "serve", "--port", "PORT", probe="/live/readyz") as place:
        yield place


def test_the_metadata_names_all_that_the_extras_import(full: Environment) -> None:
    assert full.check() == ""


def test_a_view_publishes_and_a_client_receives(shop: Project, address: str) -> None:
    [command] = [line for line in HOW_TO.splitlines() if line.startswith("python -m websockets")]
    words = command.replace("localhost:8000", address).split()[1:]
    with shop.running(*words, name="client") as said:
        assert wait_until(lambda: '"connected"' in said.read_text(), seconds=START_SECONDS)
        assert httpx.get(f"http://{address}/prices/AAPL").json() == {"offset": 1}
        assert wait_until(lambda: "149.5" in said.read_text(), seconds=START_SECONDS)


def test_a_command_publishes_to_the_running_server(shop: Project, address: str) -> None:
    with connect(f"ws://{address}/live/ws/market-data/CMD") as socket:
        wait_for(socket, "connected")
        shop.manage("broadcast_market_data", "CMD", '{"price": 151.5}')
        assert wait_for(socket, "market_data_update")["data"]["price"] == 151.5


@pytest.mark.parametrize(
    "path", ["/live/", "/live/api/v1/docs", "/admin/login/", "/live/api/v1/schema"]
)
def test_pages_and_their_files_are_served(address: str, path: str) -> None:
    page = httpx.get(f"http://{address}{path}")
    assert page.status_code == 200
    files = re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text)
    assert bool(files) == path.endswith(("/", "docs"))
    answers = {file: httpx.get(f"http://{address}{file}").status_code for file in files}
    assert set(answers.values()) <= {200}, answers


def wait_for(socket: ClientConnection, kind: str) -> dict[str, Any]:
    while True:
        message: dict[str, Any] = json.loads(socket.recv(timeout=START_SECONDS))
        if message["type"] == kind:
            return message
