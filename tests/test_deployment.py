"""README's "In production", as it is written: its environment and its nginx, with TLS."""

import asyncio
import contextlib
import datetime
import json
import random
import re
import secrets
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from tests import documents
from tests.browsers import chromium
from tests.clients import wait_for
from tests.live import create_people
from tests.nginx import nginx
from tests.patience import PATIENCE
from tests.processes import LiveServer, free_port, run_manage
from tests.test_admin_browser import LOGIN

HOST = "realtime.example.com"


def block(language: str, number: int = 0) -> str:
    return documents.block("In production", language, number)


def environment() -> dict[str, str]:
    """All of README's but where database, Redis and files are."""
    lines = dict(line.split("=", 1) for line in block("ini").splitlines())
    for name in ("DATABASE_URL", "REDIS_URL", "VAR_DIR"):
        del lines[name]
    return lines


def write_certificate(directory: Path) -> None:
    """`{HOST}.pem` and `{HOST}.key`, as README calls them."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (directory / f"{HOST}.pem").write_bytes(certificate.public_bytes(pem))
    (directory / f"{HOST}.key").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


@pytest.fixture(scope="module")
def server(module_servers: Callable[..., LiveServer]) -> LiveServer:
    return module_servers(**environment())


class Site:
    """An nginx in front of a server, called by its name at its address on this machine."""

    def __init__(self, port: int, certificate: Path) -> None:
        self.port = port
        self.trust = ssl.create_default_context(cafile=certificate)
        self.browser = httpx.Client(
            base_url=f"https://127.0.0.1:{port}",
            headers={"Host": HOST, "Origin": f"https://{HOST}"},
            verify=self.trust,
        )

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self.browser.request(method, path, extensions={"sni_hostname": HOST}, **options)

    def answers(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return self.request("GET", "/healthz").is_success
        return False


@contextlib.contextmanager
def documented_nginx(directory: Path, ports: tuple[int, int]) -> Iterator[Site]:
    """README's configuration in front of two servers."""
    port = free_port()
    write_certificate(directory)
    snippet = (
        block("nginx")
        .replace("listen 443", f"listen 127.0.0.1:{port}")
        .replace("listen 80", f"listen 127.0.0.1:{free_port()}")
        .replace("127.0.0.1:8000", f"127.0.0.1:{ports[0]}")
        .replace("127.0.0.1:8001", f"127.0.0.1:{ports[1]}")
        .replace("/etc/ssl/", f"{directory}/")
    )
    site = Site(port, directory / f"{HOST}.pem")
    try:
        with nginx(directory, snippet, site.answers):
            yield site
    finally:
        site.browser.close()


@pytest.fixture(scope="module")
def site(server: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with documented_nginx(tmp_path_factory.mktemp("nginx"), (server.port, server.port)) as site:
        yield site


def test_somebody_logs_into_the_admin(site: Site, server: LiveServer) -> None:
    server.shell(
        "from django.contrib.auth.models import User; "
        "User.objects.create_superuser('operator', password='river-and-hill')"
    )
    page = site.request("GET", "/admin/login/")
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
    assert token is not None
    answer = site.request(
        "POST", "/admin/login/?next=/admin/",
        data={
            "username": "operator",
            "password": "river-and-hill",
            "csrfmiddlewaretoken": token[1],
        },
        headers={"Cookie": page.headers["set-cookie"].partition(";")[0]},
    )  # fmt: skip
    assert (answer.status_code, answer.headers["location"]) == (302, "/admin/")
    assert all("Secure" in line for line in answer.headers.get_list("set-cookie"))


def test_a_client_connects(site: Site, server: LiveServer) -> None:
    people = create_people(server)
    with (
        socket.create_connection(("127.0.0.1", site.port)) as connection,
        connect(
            f"wss://{HOST}/ws/market-data/AAPL?token={people.token}",
            sock=connection,
            ssl=site.trust,
            origin=f"https://{HOST}",  # type: ignore[arg-type]
        ) as ws,
    ):
        assert json.loads(ws.recv(10))["authenticated"] is True


def test_addresses_in_answers_are_https(site: Site, server: LiveServer) -> None:
    people = create_people(server)
    rows = "/api/v1/predictions?limit=1"
    server.shell(
        "from realtime.predictions.records import record_prediction; "
        "[record_prediction('AAPL', {'predicted_price': n}) for n in (1, 2)]"
    )
    answer = site.request("GET", rows, headers={"Authorization": f"Bearer {people.token}"})
    assert answer.json()["next"].startswith(f"https://{HOST}/")


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_a_probe_by_address_is_answered(server: LiveServer, path: str) -> None:
    assert httpx.get(f"{server.http}{path}", headers={"Host": "10.0.0.7:8000"}).status_code == 200


def test_check_deploy_has_little_to_say(tmp_path: Path) -> None:
    values = environment() | {"SECRET_KEY": secrets.token_urlsafe(50), "HSTS_SECONDS": "60"}
    result = run_manage(tmp_path, "check", "--deploy", "--fail-level", "ERROR", **values)
    assert result.returncode == 0, result.stderr
    warned = set(re.findall(r"\(([a-z_]+\.\w+)\)", result.stderr))
    # Subdomains, preloading and redirects are the proxy's.
    assert warned <= {"security.W005", "security.W008", "security.W021"}


class Visitor:
    """A client that comes again, a little later each time, as those of a page do."""

    def __init__(self, site: Site, token: str) -> None:
        self.site = site
        self.url = f"wss://{HOST}/ws/market-data/AAPL?token={token}"
        self.inside = False

    async def stay(self) -> None:
        delay = 0.1
        while True:
            try:
                async with connect_async(
                    self.url, host="127.0.0.1", port=self.site.port, ssl=self.site.trust,
                    origin=f"https://{HOST}",  # type: ignore[arg-type]
                    proxy=None, open_timeout=PATIENCE,
                ) as ws:  # fmt: skip
                    self.inside, delay = True, 0.1
                    async for _ in ws:
                        pass
            except (OSError, TimeoutError, WebSocketException):
                delay = min(2 * delay, 2)
            self.inside = False
            await asyncio.sleep(delay * (0.5 + random.random()))


async def all_inside(visitors: list[Visitor]) -> None:
    async def everybody() -> bool:
        return all(visitor.inside for visitor in visitors)

    await wait_for(everybody, every=0.1)


@pytest.mark.slow
async def test_clients_come_back_within_seconds_of_a_rolling_restart(
    module_servers: Callable[..., LiveServer], server: LiveServer, tmp_path: Path
) -> None:
    """Without `max_fails=0` nearly all of them would be outside for minutes."""
    servers = [server, await asyncio.to_thread(module_servers, **environment())]
    token = (await asyncio.to_thread(create_people, server)).token
    with documented_nginx(tmp_path, (servers[0].port, servers[1].port)) as site:
        visitors = [Visitor(site, token) for _ in range(30)]
        stays = [asyncio.create_task(visitor.stay()) for visitor in visitors]
        await all_inside(visitors)
        for each in servers:
            await asyncio.to_thread(each.restart)
        await all_inside(visitors)
        for stay in stays:
            stay.cancel()
        await asyncio.gather(*stays, return_exceptions=True)


async def test_the_page_connects_through_the_proxy_under_its_policy(
    site: Site, server: LiveServer
) -> None:
    complaints: list[str] = []
    received = asyncio.Event()
    async with chromium(f"--host-resolver-rules=MAP {HOST}:443 127.0.0.1:{site.port}") as browser:
        page = await browser.new_page(ignore_https_errors=True)
        session = (await asyncio.to_thread(server.shell, LOGIN)).strip()
        cookie = {"name": "sessionid", "value": session, "url": f"https://{HOST}"}
        await page.context.add_cookies([cookie])  # type: ignore[list-item]
        page.on("console", lambda message: complaints.append(message.text))
        page.on("websocket", lambda ws: ws.on("framereceived", lambda _: received.set()))
        await page.goto(f"https://{HOST}/")
        async with asyncio.timeout(PATIENCE):
            await received.wait()
    assert not [text for text in complaints if "Content Security Policy" in text]


def test_events_pass_through_nginx_at_once(site: Site, server: LiveServer) -> None:
    path = f"/sse/market-data/AAPL?token={create_people(server).key}"
    name = {"sni_hostname": HOST}
    with site.browser.stream("GET", path, extensions=name, timeout=PATIENCE) as answer:
        assert answer.status_code == 200
        data = (line for line in answer.iter_lines() if line.startswith("data: "))
        assert json.loads(next(data)[6:])["type"] == "connected"
