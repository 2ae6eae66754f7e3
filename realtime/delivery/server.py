"""uvicorn's server with an orderly end: not ready, then a goodbye to each client, then the exit."""

import asyncio
import contextlib
import gc
import math
import os
import resource
import socket
from typing import Final

import uvicorn
from django.core.exceptions import ImproperlyConfigured
from uvicorn.supervisors import multiprocess

from realtime.conf import conf
from realtime.delivery.layers import current_layer
from realtime.delivery.readiness import begin_draining

# Seconds after the last goodbye in which peers may finish what they began.
LAST_SECONDS: Final = 2.0


class Server(uvicorn.Server):
    """One serving process."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._parent: int | None = None

    async def on_tick(self, counter: int) -> bool:
        if self.config.workers > 1:
            # Otherwise a worker whose supervisor was killed would go on serving, and nothing would
            # stop it.
            if self._parent is None:
                self._parent = os.getppid()
            elif os.getppid() != self._parent:
                self.should_exit = True
        return await super().on_tick(counter)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # Objects loaded by now stay for good: the garbage collector need not visit them again and
        # again while sockets come and go. Most sockets are freed by their reference counts alone.
        gc.collect()
        gc.freeze()
        gc.set_threshold(10_000, 20, 20)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        begin_draining()
        # Still accepting: a load balancer probes, gets a 503, and sends new clients elsewhere.
        await asyncio.sleep(conf.REALTIME_UNREADY_SECONDS)
        # uvicorn waits for every peer, and logs an error when it gives up.
        patience = conf.REALTIME_DRAIN_SECONDS + LAST_SECONDS
        giving_up = asyncio.get_running_loop().call_later(patience, self._abort_connections)
        await super().shutdown(sockets)
        giving_up.cancel()
        # The final count of this process, no sockets, is on its way to Redis.
        layer = current_layer()
        if layer is not None:
            await layer.settle()

    def _abort_connections(self) -> None:
        """Abort the connections of peers that neither answer nor read."""
        for connection in tuple(self.server_state.connections):
            connection.transport.abort()


class Worker(multiprocess.Process):
    """One of several serving processes."""

    @property
    def server(self) -> Server:
        if not isinstance(self._server, Server):
            self._server = Server(self.config)
        return self._server


def allow_many_sockets() -> None:
    """Raise the limit of open files as far as the system allows: each socket is a file.

    The usual limit is 1,024, and beyond it new connections are reset without a line in any log.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS reports "infinity" but allows less
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def asgi_application() -> str:
    """ASGI_APPLICATION in uvicorn's notation; raises ImproperlyConfigured where it is missing."""
    module, _, name = conf.ASGI_APPLICATION.rpartition(".")
    if not module:
        raise ImproperlyConfigured(
            "ASGI_APPLICATION is not set; write ASGI_APPLICATION = 'yourproject.asgi.application'"
        )
    return f"{module}:{name}"


def run(host: str, port: int, workers: int, *, access_log: bool) -> None:
    """Serve until SIGINT or SIGTERM."""
    config = uvicorn.Config(
        asgi_application(),
        host=host,
        port=port,
        workers=workers,
        http="realtime.delivery.server_http:BoundedProtocol",
        ws="realtime.delivery.server_protocol:PreparedProtocol",
        ws_max_size=conf.REALTIME_MAX_MESSAGE_BYTES,
        # All sockets share prepared frames, so frames are not compressed per socket; and a
        # compressor would take more memory than the rest of a socket.
        ws_per_message_deflate=False,
        # The project's own `ping` and `pong` messages find dead peers; a second timer per socket
        # would not find more.
        ws_ping_interval=None,
        lifespan="off",
        # Keep Django's LOGGING: its handler redacts credentials in query strings.
        log_config=None,
        log_level="info" if access_log else "warning",
        access_log=access_log,
        proxy_headers=False,
        server_header=False,
        # For views that are still running then.
        timeout_graceful_shutdown=math.ceil(conf.REALTIME_DRAIN_SECONDS) + 5,
    )
    allow_many_sockets()
    if workers > 1:
        # The supervisor takes its worker class from this name alone.
        multiprocess.Process = Worker  # type: ignore[misc]
        multiprocess.Multiprocess(config, sockets=[config.bind_socket()]).run()
    else:
        Server(config).run()
