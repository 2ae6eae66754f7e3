"""A site as its clients reach it: TLS, the headers of the proxy, WebSocket, buffering."""

import json
import ssl
import time
from collections.abc import Iterator
from functools import partial
from typing import Final
from urllib.parse import urlsplit

import httpx
from asgiref.sync import async_to_sync
from django.urls import NoReverseMatch, reverse

from realtime.access.connection_search import select, shown
from realtime.access.roll_call import call_roll
from realtime.access.roster import Order
from realtime.conf import conf, spelled
from realtime.doctor.findings import Finding, Probe, error, ok, warning
from realtime.doctor.site import PRETENDED, NotUpgraded, Site

_SOON_DAYS: Final = 14
_WAY_OUT: Final = "See the nginx configuration in docs/how-to/production.md."


def proxy_probes(url: str) -> list[Probe]:
    site = Site(url.rstrip("/"))
    works = {
        "TLS": _tls,
        "proxy": _answer,
        "proxy headers": _headers,
        "WebSocket": _websocket,
        "server-sent events": _events,
    }
    return [Probe(name, partial(work, site), seconds=20) for name, work in works.items()]


def _tls(site: Site) -> Iterator[Finding]:
    if not site.secure:
        yield warning(
            "TLS", f"{site.url} is not encrypted: keys and tokens can be read on the way",
            "Let clients use https:// and wss://. " + _WAY_OUT,
        )  # fmt: skip
        return
    try:
        end = site.certificate_end()
    except httpx.HTTPError as exc:
        yield error("TLS", f"{site.url}: {exc}", "Renew the certificate, or mend its chain.")
        return
    days = (ssl.cert_time_to_seconds(end) - time.time()) / 86400
    text = f"the certificate is valid for {days:.0f} more days"
    if days < _SOON_DAYS:
        yield warning("TLS", text, "Renew it, and look at why nothing has renewed it.")
    else:
        yield ok("TLS", text)


def _answer(site: Site) -> Iterator[Finding]:
    """Probes are answered for any host, so `healthz` tells of the way alone."""
    try:
        status = site.get("/readyz").status_code
    except httpx.HTTPError as exc:
        yield error(
            "proxy", f"{site.url} does not answer: {exc or type(exc).__name__}",
            "Start the proxy, and look at its name, port and certificate.",
        )  # fmt: skip
        return
    if status == 200:
        yield ok("proxy", "reaches a server that is ready")
    elif status == 503:
        yield error("proxy", "/readyz answers 503", "See the findings about database and Redis.")
    else:
        yield error("proxy", f"/readyz answers {status}", "Start the server, or mend proxy_pass.")


def _headers(site: Site) -> Iterator[Finding]:
    """The OpenAPI document names its server by the headers of the request."""
    try:
        path = reverse("realtime:api:schema")
    except NoReverseMatch:
        return
    answer = site.get(f"{path}?format=json")
    if answer.status_code == 400:
        yield error(
            "Host header", "the server answers 400: it does not know the host that it is told",
            f"Add {urlsplit(site.url).hostname} to ALLOWED_HOSTS, and pass the Host header on.",
        )  # fmt: skip
        return
    try:
        seen = str(json.loads(answer.text)["servers"][0]["url"])
    except (ValueError, KeyError, IndexError, TypeError):
        yield warning(
            "proxy headers", f"{path} answers {answer.status_code}, without an OpenAPI document",
            "Set ARA_API_KEY in the environment, if only clients with a key may read it.",
        )  # fmt: skip
        return
    yield from _compared(site, seen)


def _compared(site: Site, seen: str) -> Iterator[Finding]:
    asked, told = urlsplit(site.url), urlsplit(seen)
    if asked.scheme == told.scheme:
        yield ok("X-Forwarded-Proto", f"the server sees {told.scheme}")
    else:
        setting = spelled("TLS_PROXY", "SECURE_PROXY_SSL_HEADER")
        yield error(
            "X-Forwarded-Proto", f"clients use {asked.scheme}, and the server sees {told.scheme}",
            f"Let the proxy set X-Forwarded-Proto to $scheme, and set {setting}. " + _WAY_OUT,
        )  # fmt: skip
    if asked.hostname == told.hostname:
        yield ok("Host header", f"the server sees {told.hostname}")
    else:
        yield error(
            "Host header", f"clients use {asked.hostname}, and the server sees {told.hostname}",
            "Let the proxy pass the Host header on. " + _WAY_OUT,
        )  # fmt: skip


def _websocket(site: Site) -> Iterator[Finding]:
    try:
        with site.websocket() as message:
            yield ok("WebSocket", "the handshake works")
            yield from _as_seen(message)
    except NotUpgraded as exc:
        yield error(
            "WebSocket", f"the handshake fails: {exc}",
            "Pass the headers Upgrade and Connection on, with proxy_http_version 1.1. " + _WAY_OUT,
        )  # fmt: skip
    except (TimeoutError, OSError) as exc:
        yield error(
            "WebSocket", f"no message arrived: {exc or type(exc).__name__}",
            "Look at the log of the server, and whether the proxy passes data on at once.",
        )  # fmt: skip


def _as_seen(message: dict[str, object]) -> Iterator[Finding]:
    """The address of this client, by what its server says of the connection."""
    if message.get("type") != "connected":
        yield warning(
            "client address", f"unknown: the server refused the client ({message.get('code')})",
            "Set ARA_API_KEY in the environment to a key that may read market data.",
        )  # fmt: skip
        return
    selection = select(id=str(message["connection_id"]))
    rows = shown(async_to_sync(call_roll)(selection, Order("since", False, 1)).rows)
    if not rows:
        yield error(
            "client address", "the connection is not in this Redis: the site uses another one",
            f"Compare {spelled('REDIS_URL', 'CHANNEL_LAYERS')} here and where the server runs.",
        )  # fmt: skip
        return
    yield _address(rows[0]["address"])


def _address(address: str | None) -> Finding:
    if address == PRETENDED:
        return error(
            "client address", f"a client can choose it: the server believes {PRETENDED}, which "
            "this client wrote into X-Forwarded-For",
            "Let the proxy set X-Forwarded-For to $remote_addr. " + _WAY_OUT,
        )  # fmt: skip
    if not conf.REALTIME_TRUSTED_PROXIES:
        return warning(
            "client address", f"the server sees {address}; behind a proxy that is the proxy",
            "Set REALTIME_TRUSTED_PROXIES to the address of the proxy, if there is one.",
        )  # fmt: skip
    return ok("client address", f"the server sees {address}")


def _events(site: Site) -> Iterator[Finding]:
    try:
        status, first = site.first_event()
    except httpx.TimeoutException:
        yield error(
            "server-sent events", "nothing arrives: the proxy keeps them until its buffer is full",
            "Let the proxy obey X-Accel-Buffering, or set proxy_buffering off for /sse/.",
        )  # fmt: skip
        return
    if status in (200, 401, 403) and first:
        yield ok("server-sent events", f"arrive at once (status {status})")
    else:
        yield warning("server-sent events", f"are answered with {status}", _WAY_OUT)
