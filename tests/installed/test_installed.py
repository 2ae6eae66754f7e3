"""The how-to "Add to an existing project", followed word for word in projects of all kinds.

The tests stand in the order in which packages are added to the one virtual environment: first the
core alone, then the extras.
"""

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect

from tests.conftest import require
from tests.documents import blocks, section_of
from tests.installed.environment import Environment
from tests.installed.nginx import below_path
from tests.installed.project import HOW_TO, Project
from tests.postgres import Postgres, find_programs
from tests.processes import ROOT, START_SECONDS, Valkey
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


# A project of its own ways: user model, REST framework, PostgreSQL, Redis, Celery ----------------

OWN_WAYS = """# shop/settings.py, at the end
INSTALLED_APPS += ["people"]
AUTH_USER_MODEL = "people.Member"
REST_FRAMEWORK = {{
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.AllowAny"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.FormParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.StaticHTMLRenderer"],
    "UNAUTHENTICATED_USER": None,
}}
DATABASES = {{"default": {{"ENGINE": "django.db.backends.postgresql", **{database!r}}}}}
"""
OWN_VIEW = """# shop/urls.py, at the end
from rest_framework.decorators import api_view
from rest_framework.response import Response


@api_view()
def items(request):
    return Response(f"<p>for {request.user}</p>")


urlpatterns += [path("items", items)]
"""
PASSWORD = "correct horse battery staple"
PEOPLE = f"""
from people.models import Member
ada = Member.objects.create_superuser("ada@example.com", "{PASSWORD}")
ada.save()
print(ada.pk)
"""


@dataclass
class Served:
    project: Project
    address: str
    ada: str  # the primary key of a user


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    programs = find_programs()
    require(programs, "PostgreSQL is not installed")
    assert programs is not None
    with Postgres(programs) as server:
        yield server


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """What the how-to writes for a Redis, and the one that is here."""
    with Valkey(tmp_path_factory.mktemp("redis"), tcp=True) as server:
        yield {"localhost:6379": f"127.0.0.1:{server.port}"}


@pytest.fixture(scope="module")
def own(
    full: Environment,
    postgres: Postgres,
    redis: Mapping[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Served]:
    project = Project(full, tmp_path_factory.mktemp("own") / "project")
    project.follow("Three lines", {'"live/"': '""'})
    project.follow("Redis", redis)
    project.follow("Celery", redis)
    shutil.copytree(ROOT / "tests" / "uuid_users", project.directory / "people")
    for file in (project.directory / "people").rglob("*.py"):
        text = file.read_text().replace("tests.uuid_users", "people")
        file.write_text(text.replace("uuid_users", "people"))
    project.write(OWN_WAYS.format(database=postgres.parameters))
    project.write(OWN_VIEW)
    project.manage("migrate", "-v0")
    ada = project.shell(PEOPLE).strip()
    with project.serving("manage.py", "serve", "--port", "PORT", probe="/readyz") as place:
        yield Served(project, place, ada)


def test_a_user_with_an_email_address_and_a_uuid_receives_alerts(own: Served) -> None:
    login = {"username": "ada@example.com", "password": PASSWORD}
    token = httpx.post(f"http://{own.address}/api/v1/auth/token", json=login).json()["access"]
    headers = {"Authorization": f"Bearer {token}"}
    ticket = httpx.post(f"http://{own.address}/api/v1/auth/ticket", headers=headers).json()
    with connect(f"ws://{own.address}/ws/alerts?ticket={ticket['ticket']}") as socket:
        assert wait_for(socket, "connected")["authenticated"]
        own.project.manage("send_alert", '{"message": "hers"}', "--user", "ada@example.com")
        assert wait_for(socket, "alert")["data"]["message"] == "hers"


def test_the_views_of_the_project_keep_their_rest_framework(own: Served) -> None:
    assert httpx.get(f"http://{own.address}/items").text == "<p>for None</p>"


def test_the_admin_serves_that_user(own: Served) -> None:
    with httpx.Client(base_url=f"http://{own.address}/admin/", follow_redirects=True) as browser:
        browser.get("login/")
        login = {"username": "ada@example.com", "password": PASSWORD, "next": "/admin/"}
        token = {"csrfmiddlewaretoken": browser.cookies["csrftoken"]}
        assert "Site administration" in browser.post("login/", data={**login, **token}).text
        lists = ("realtime/apikey/", "realtime/alertrule/", "people/member/?q=ada")
        assert {browser.get(path).status_code for path in lists} == {200}


def test_a_celery_task_publishes(own: Served) -> None:
    text = section_of(HOW_TO, "Celery")
    assert text is not None
    [code] = [each for each in blocks(text, "python") if ".delay(" in each]
    worker = ("-m", "celery", "-A", "shop", "worker", "--pool", "solo")
    with (
        connect(f"ws://{own.address}/ws/market-data/AAPL") as socket,
        own.project.running(*worker, name="worker"),
    ):
        wait_for(socket, "connected")
        own.project.shell(code)
        assert wait_for(socket, "market_data_update")["data"]["price"] == 149.5


# Below a path of a proxy, with daphne -----------------------------------------------------------

BELOW_A_PATH = """# shop/settings.py, at the end
INSTALLED_APPS = ["daphne", *INSTALLED_APPS]
FORCE_SCRIPT_NAME = "/shop"
"""


@pytest.fixture(scope="module")
def proxied(
    full: Environment, redis: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("proxied")
    project = Project(full, directory / "project")
    project.follow("Three lines")
    project.follow("Redis", redis)
    project.write(BELOW_A_PATH)
    project.manage("migrate", "-v0")
    server = ("manage.py", "runserver", "--noreload", "127.0.0.1:PORT")
    with (
        project.serving(*server, probe="/live/readyz") as behind,
        below_path(directory, behind, "/shop", "/live/readyz") as place,
    ):
        yield Served(project, place, "")


def test_a_socket_below_the_path_of_a_proxy_receives(proxied: Served) -> None:
    with connect(f"ws://{proxied.address}/live/ws/market-data/PROXY") as socket:
        wait_for(socket, "connected")
        proxied.project.manage("broadcast_market_data", "PROXY", '{"price": 152.5}')
        assert wait_for(socket, "market_data_update")["data"]["price"] == 152.5


def test_pages_name_the_path_of_the_proxy(proxied: Served) -> None:
    page = httpx.get(f"http://{proxied.address}/live/")
    host = proxied.address.partition("/")[0]
    files = re.findall(r'(?:src|href)="(/[^"]+\.(?:js|css))"', page.text)
    assert files
    assert all(file.startswith("/shop/static/") for file in files)
    assert {httpx.get(f"http://{host}{file}").status_code for file in files} == {200}
    schema = httpx.get(f"http://{proxied.address}/live/api/v1/schema?format=json").json()
    assert all(
        path.startswith(("/shop/live/api/v1/", "/shop/live/sse/")) for path in schema["paths"]
    )


def wait_for(socket: ClientConnection, kind: str) -> dict[str, Any]:
    while True:
        message: dict[str, Any] = json.loads(socket.recv(timeout=START_SECONDS))
        if message["type"] == kind:
            return message
