"""A receiver of webhooks: a real server that answers as a test wants, and keeps what it got."""

import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook

from tests.patience import PATIENCE


@dataclass(frozen=True)
class Received:
    path: str
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def id(self) -> str:
        return self.headers.get("webhook-id", "")


Answer = Callable[["_Handler"], None]


class _Handler(BaseHTTPRequestHandler):
    server: "_Server"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.receiver.note(Received(self.path, headers, body, time.monotonic()))
        answer(self)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    receiver: "Receiver"

    def get_request(self) -> Any:
        accepted = super().get_request()
        self.receiver.connections += 1
        return accepted

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that hangs up is what some tests are about


class Receiver:
    """Gives `answers` one after the other, and 200 from then on; or these to each webhook-id."""

    def __init__(self, *answers: Answer, per_id: Sequence[Answer] = ()) -> None:
        self.answers = list(answers)
        self.per_id = per_id
        self.received: list[Received] = []
        self.connections = 0
        self.closing = threading.Event()
        self._changed = threading.Condition()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.receiver = self
        self.port: int = self._server.server_address[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def note(self, received: Received) -> Answer:
        with self._changed:
            self.received.append(received)
            self._changed.notify_all()
            if self.answers:
                return self.answers.pop(0)
            seen = sum(item.id == received.id for item in self.received)
            return self.per_id[seen - 1] if seen <= len(self.per_id) else status(200)

    def wait_for(self, count: int) -> list[Received]:
        """What it got, as soon as that is `count` requests."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.received) >= count, PATIENCE), (
                f"{len(self.received)} of {count} requests came"
            )
            return list(self.received)

    def verify(self, secret: str) -> list[Any]:
        """The payloads, each with a signature that this secret made; raises otherwise."""
        return [Webhook(secret).verify(item.body, item.headers) for item in self.received]

    @contextmanager
    def running(self, context: ssl.SSLContext | None = None) -> Iterator["Receiver"]:
        if context is not None:
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield self
        finally:
            self.closing.set()
            self._server.shutdown()
            self._server.server_close()
            thread.join()


def status(code: int, body: bytes = b"", **headers: str) -> Answer:
    def answer(handler: _Handler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def hang(handler: _Handler) -> None:
    """No answer, as long as the receiver runs."""
    handler.server.receiver.closing.wait(PATIENCE)


def raw(*parts: bytes, then: Answer = lambda handler: None) -> Answer:
    """These bytes, whatever they are, and then what `then` does."""

    def answer(handler: _Handler) -> None:
        for part in parts:
            handler.wfile.write(part)
            handler.wfile.flush()
        then(handler)

    return answer


def drip(text: bytes) -> Answer:
    """These bytes without end, one piece every 20 ms."""

    def answer(handler: _Handler) -> None:
        while not handler.server.receiver.closing.wait(0.02):
            handler.wfile.write(text)
            handler.wfile.flush()

    return answer
