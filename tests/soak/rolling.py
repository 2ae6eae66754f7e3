"""`make rolling`: two servers behind nginx restart while updates go on.

Prints how many updates each client received, and exits with 1 if one is missing or came twice.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
from ara_client import Client, Connected, MarketData

from tests import nginx
from tests.processes import (
    ROOT,
    LiveServer,
    Valkey,
    free_port,
    manage,
    process_environment,
    start_live_server,
)

# Publishes `rate` updates a second until its standard input ends, and prints how many.
_PUBLISHER = """
import json, sys, threading, time
import django
django.setup()
from realtime.broadcast import broadcast_many, market_data_update
symbols, rate = json.loads(sys.argv[1])
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
number, begun = 0, time.monotonic()
while not ended.is_set():
    due = int((time.monotonic() - begun) * rate) + 1
    batch = range(number, due)
    broadcast_many([market_data_update(symbols[n % len(symbols)], {"price": n + 1}) for n in batch])
    number = due
    time.sleep(0.02)
print(number)
"""


def ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").is_success
    except httpx.TransportError:
        return False


@contextlib.contextmanager
def proxy(directory: Path, servers: list[LiveServer]) -> Iterator[str]:
    """The URL of the proxy of deploy/compose.yml, in front of these servers."""
    port = free_port()
    text = (ROOT / "deploy" / "nginx" / "compose.conf").read_text()
    text = text.replace("listen 8080", f"listen 127.0.0.1:{port}")
    for number, server in enumerate(servers, 1):
        text = text.replace(f"web-{number}:8000", f"127.0.0.1:{server.port}")
    url = f"http://127.0.0.1:{port}"
    with nginx.nginx(directory, text, lambda: ready(url)):
        yield url


class Reader:
    """One client of all symbols: which offsets came, and how often it connected."""

    def __init__(self, client: Client, symbols: list[str]) -> None:
        self.offsets: dict[str, list[int]] = {symbol: [] for symbol in symbols}
        self.connections = 0
        self._subscription = client.market_data(*symbols)
        self.task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for event in self._subscription.events():
            if isinstance(event, Connected):
                self.connections += 1
            if isinstance(event, MarketData) and event.offset is not None:
                self.offsets[event.symbol].append(event.offset)

    def faults(self, last: dict[str, int]) -> Counter[str]:
        """Missing and repeated updates, from the first that came to the last that was published."""
        found: Counter[str] = Counter()
        for symbol, offsets in self.offsets.items():
            wanted = range(offsets[0], last[symbol] + 1) if offsets else range(1, last[symbol] + 1)
            found["missing"] += len(set(wanted) - set(offsets))
            found["repeated"] += len(offsets) - len(set(offsets))
        return found


def start_publisher(
    environment: dict[str, str], symbols: list[str], rate: int
) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", _PUBLISHER, json.dumps([symbols, rate])],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        env=environment | {"DJANGO_SETTINGS_MODULE": "ara_project.settings"},
    )  # fmt: skip


async def run(directory: Path, *, rate: int, clients: int, restarts: int) -> bool:
    symbols = [f"ROLL{number}" for number in range(10)]
    with contextlib.ExitStack() as stack:
        valkey = stack.enter_context(Valkey(directory / "valkey"))
        environment = {"REDIS_URL": valkey.url, "REALTIME_DRAIN_SECONDS": "3"}
        manage(directory, "migrate", "-v0", **environment)
        servers = [start_live_server("uvicorn", directory, environment) for _ in range(2)]
        for server in servers:
            stack.callback(server.stop)
        url = stack.enter_context(proxy(directory, servers))
        connected = contextlib.AsyncExitStack()
        async with connected:
            readers = []
            for _ in range(clients):
                client = await connected.enter_async_context(Client(url))
                readers.append(Reader(client, symbols))
            publisher = start_publisher(process_environment(directory, environment), symbols, rate)
            began = time.monotonic()
            for server in itertools.islice(itertools.cycle(servers), restarts):
                await asyncio.sleep(3)
                await asyncio.to_thread(server.restart)
            await asyncio.sleep(3)
            seconds = time.monotonic() - began
            total = int(await asyncio.to_thread(lambda: publisher.communicate("")[0]))
            last = {symbol: len(range(n, total, len(symbols))) for n, symbol in enumerate(symbols)}
            await _all_in(readers, last)
            faults = sum((reader.faults(last) for reader in readers), Counter())
            for reader in readers:
                reader.task.cancel()
    received = sum(len(offsets) for reader in readers for offsets in reader.offsets.values())
    connections = sum(reader.connections for reader in readers)
    print(
        f"{total} updates in {seconds:.0f} s ({total / seconds:.0f} a second), "
        f"{restarts} restarts, {clients} clients that connected {connections} times: "
        f"{received} received, {faults['missing']} missing, {faults['repeated']} repeated"
    )
    return not faults.total()


async def _all_in(readers: list[Reader], last: dict[str, int], seconds: float = 60) -> None:
    """Until every client has the newest update of each symbol."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ends = [
            (offsets[-1] if offsets else 0) >= last[symbol]
            for reader in readers
            for symbol, offsets in reader.offsets.items()
        ]
        if all(ends):
            return
        await asyncio.sleep(0.1)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make rolling", description=__doc__)
    parser.add_argument("--rate", type=int, default=500, help="updates a second")
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--restarts", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rolling") as name:
        return 0 if asyncio.run(run(Path(name), **vars(options))) else 1


if __name__ == "__main__":
    sys.exit(main())
