"""The publisher: a process of its own that sends what it is told to, at an even pace.

`python -m tests.bench.publisher KIND TARGET` reads jobs from standard input and answers each with
one line, both JSON. KIND is how its server is published to; TARGET is a port, or unused.
"""

import asyncio
import functools
import json
import socket
import sys
import time
from collections.abc import Sequence
from typing import Any, Protocol

from tests.bench.load import CLOCK_BASE
from tests.bench.rivals.control import update

# In the place of a symbol: an alert for everybody.
ALERTS = "alerts"
SOCKET_SECONDS = 5.0


class Publisher(Protocol):
    def publish(self, symbols: Sequence[str], pad: str) -> None:
        """One update of each symbol, stamped now, all of them at once."""


def market_data(pad: str) -> dict[str, Any]:
    """The `data` of an update, always of the same size. A predictor wants prices that vary."""
    now = time.monotonic_ns()
    price = 100 + now // 1000 % 900 / 10 + 0.05
    data = {"price": round(price, 2), "volume": 1000000, "mark": f"@{CLOCK_BASE + now}"}
    if pad:
        data["pad"] = pad
    return data


class AraPublisher:
    """This project's functions, in a Django process beside the server."""

    def __init__(self, target: str) -> None:
        import django

        django.setup()
        from realtime import broadcast

        self._broadcast: Any = broadcast

    def publish(self, symbols: Sequence[str], pad: str) -> None:
        if len(symbols) > 1:
            self._broadcast.broadcast_many([self._update(name, pad) for name in symbols])
        elif symbols[0] == ALERTS:
            self._broadcast.send_alert(market_data(pad))
        else:
            self._broadcast.broadcast_market_data(symbols[0], market_data(pad))

    def _update(self, name: str, pad: str) -> Any:
        if name == ALERTS:
            return self._broadcast.alert_update(market_data(pad))
        return self._broadcast.market_data_update(name, market_data(pad))


class ControlPublisher:
    """A line to a server that publishes from inside its own process."""

    def __init__(self, target: str) -> None:
        self._target = int(target)

    @functools.cached_property
    def _socket(self) -> socket.socket:
        # Not before the first update: some servers listen after their first client has come.
        line = socket.create_connection(("127.0.0.1", self._target), SOCKET_SECONDS)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return line

    def publish(self, symbols: Sequence[str], pad: str) -> None:
        items = [[symbol, market_data(pad)] for symbol in symbols]
        self._socket.sendall(json.dumps(items).encode() + b"\n")


class NchanPublisher:
    """HTTP POST to nginx, one connection kept alive, a burst of them pipelined."""

    def __init__(self, target: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", int(target)), SOCKET_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answers = self._socket.makefile("rb")
        self._offset = 0

    def publish(self, symbols: Sequence[str], pad: str) -> None:
        self._socket.sendall(b"".join([self._request(symbol, pad) for symbol in symbols]))
        for _ in symbols:
            self._read_answer()

    def _request(self, symbol: str, pad: str) -> bytes:
        self._offset += 1
        message = update(symbol, market_data(pad), self._offset)
        body = json.dumps(message, separators=(",", ":")).encode()
        head = f"POST /pub/{symbol} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body

    def _read_answer(self) -> None:
        status = self._answers.readline()
        length = 0
        while (line := self._answers.readline().strip()) != b"":
            if line.lower().startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        self._answers.read(length)
        if status[9:10] != b"2":
            raise ConnectionError(status.decode())


class ChannelLayerPublisher:
    """`group_send` on the channel layer of the rival's settings, in one lasting event loop."""

    def __init__(self, target: str) -> None:
        import django

        django.setup()
        from channels.layers import get_channel_layer

        self._runner = asyncio.Runner()
        self._layer: Any = get_channel_layer()
        self._offset = 0

    def publish(self, symbols: Sequence[str], pad: str) -> None:
        self._runner.run(self._send(symbols, pad))

    async def _send(self, symbols: Sequence[str], pad: str) -> None:
        for symbol in symbols:
            self._offset += 1
            message = update(symbol, market_data(pad), self._offset)
            await self._layer.group_send(symbol, {"type": "market.data", "message": message})


PUBLISHERS: dict[str, Any] = {
    "ara": AraPublisher,
    "control": ControlPublisher,
    "nchan": NchanPublisher,
    "channel-layer": ChannelLayerPublisher,
}


def run_job(publisher: Publisher, job: dict[str, Any]) -> dict[str, Any]:
    """`times` rounds of one update per symbol, `rate` rounds a second (0: without a pause).

    A round is cut into calls of `at_once` symbols, evenly spread; 0: one call.
    """
    symbols, pad = job["symbols"], "x" * job.get("pad", 0)
    size = job.get("at_once") or len(symbols)
    calls = [symbols[first : first + size] for first in range(0, len(symbols), size)]
    rate = job["rate"] * len(calls)
    began, cpu = time.perf_counter(), time.process_time()
    try:
        for number in range(job["times"] * len(calls)):
            if rate:
                time.sleep(max(0.0, began + number / rate - time.perf_counter()))
            publisher.publish(calls[number % len(calls)], pad)
    except OSError as exc:
        return {"failed": str(exc)}
    return {"wall": time.perf_counter() - began, "cpu": time.process_time() - cpu}


def main() -> None:
    kind, target = sys.argv[1:]
    publisher: Publisher = PUBLISHERS[kind](target)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        print(json.dumps(run_job(publisher, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
