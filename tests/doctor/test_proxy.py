"""`manage.py doctor --url`: an nginx in front of a server, right and wrong."""

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import require_program
from tests.doctor.planted import Report, doctor
from tests.patience import STOP_SECONDS, wait_until
from tests.processes import LiveServer, Valkey, free_port

UPGRADE = "proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;"
HOST = "proxy_set_header Host $http_host;"
PROTO = "proxy_set_header X-Forwarded-Proto $scheme;"
ADDRESS = "proxy_set_header X-Forwarded-For $remote_addr;"
BUFFERED = "proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;"
SITES = {
    "good": [HOST, UPGRADE, PROTO, ADDRESS],
    "bare": [HOST, ADDRESS, BUFFERED],
    "trusting": [HOST, UPGRADE, PROTO],
    "unnamed": [UPGRADE, PROTO, ADDRESS, "proxy_set_header Host stranger.example;"],
}


@dataclass
class Sites:
    ports: dict[str, int]
    certificate: Path
    server: LiveServer

    def examine(self, name: str, **environment: str) -> Report:
        url, trust = f"https://localhost:{self.ports[name]}/", str(self.certificate)
        environment = {**self.server.environment, "SSL_CERT_FILE": trust, **environment}
        return doctor(self.server.directory, "--json", "--url", url, **environment)


def make_certificate(directory: Path) -> Path:
    """Of an authority of its own, for ten days."""
    certificate = directory / "localhost.pem"
    subprocess.run(
        [
            require_program("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes",
            "-days", "10", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
            "-keyout", str(directory / "localhost.key"), "-out", str(certificate),
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate


def configuration(directory: Path, ports: dict[str, int], server: LiveServer) -> str:
    places = "".join(
        f"{name}_temp_path {directory}/{name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    servers = "".join(
        f"server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {directory}/localhost.pem; "
        f"ssl_certificate_key {directory}/localhost.key; location / {{ proxy_http_version 1.1; "
        f"proxy_pass http://127.0.0.1:{server.port}; {' '.join(SITES[name])} }} }}\n"
        for name, port in ports.items()
    )
    return (
        f"daemon off; pid {directory}/pid; error_log {directory}/log; events {{}}\n"
        f"http {{ access_log off; {places}\n{servers} }}"
    )


@pytest.fixture(scope="module")
def sites(
    module_servers: Callable[..., LiveServer], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Sites]:
    program, directory = require_program("nginx"), tmp_path_factory.mktemp("nginx")
    server = module_servers(
        TLS_PROXY="true", REALTIME_TRUSTED_PROXIES="127.0.0.1", ALLOWED_HOSTS="localhost"
    )
    found = Sites({name: free_port() for name in SITES}, make_certificate(directory), server)
    (directory / "nginx.conf").write_text(configuration(directory, found.ports, server))
    process = subprocess.Popen([program, "-c", str(directory / "nginx.conf")])
    try:
        assert wait_until((directory / "pid").exists), (directory / "log").read_text()
        yield found
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


def test_a_site_that_is_right_passes(sites: Sites) -> None:
    report = sites.examine("good")
    for subject in ("proxy", "WebSocket", "X-Forwarded-Proto", "Host header",
                    "server-sent events", "client address"):  # fmt: skip
        assert report.level(subject) == "ok", report.findings[subject]


def test_a_certificate_that_ends_soon_is_found(sites: Sites) -> None:
    finding = sites.examine("good").findings["TLS"]
    assert finding.level == "warning"
    assert "more days" in finding.text


def test_a_certificate_of_nobody_is_found(sites: Sites) -> None:
    report = sites.examine("good", SSL_CERT_FILE="/dev/null")
    assert report.level("TLS") == "error"


def test_headers_that_are_not_passed_on_are_found(sites: Sites) -> None:
    report = sites.examine("bare")
    for subject in ("WebSocket", "X-Forwarded-Proto", "server-sent events"):
        assert report.level(subject) == "error", report.findings[subject]
    assert report.code == 1


def test_an_address_that_clients_choose_is_found(sites: Sites) -> None:
    report = sites.examine("trusting")
    assert report.level("client address") == "error"
    assert "X-Forwarded-For" in report.findings["client address"].way_out


def test_a_host_that_is_not_allowed_is_found(sites: Sites) -> None:
    assert sites.examine("unnamed").level("Host header") == "error"


def test_a_site_on_another_redis_is_found(sites: Sites, tmp_path: Path) -> None:
    with Valkey(tmp_path / "other") as other:
        report = sites.examine("good", REDIS_URL=other.url)
    assert "another one" in report.findings["client address"].text


def test_a_site_that_is_down_is_found(sites: Sites) -> None:
    sites.ports["down"] = free_port()
    report = sites.examine("down")
    assert report.level("proxy") == "error"
    assert "Traceback" not in report.errors
