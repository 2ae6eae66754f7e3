"""uvicorn's server with an orderly end: first not ready, then goodbye, then gone."""

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

# Seconds after the last goodbye in which peers may still end what they began.
LAST_SECONDS: Final = 2.0


class Server(uvicorn.Server):
    """One serving process."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._parent: int | None = None

    async def on_tick(self, counter: int) -> bool:
        if self.config.workers > 1:
            # A worker whose supervisor was killed would serve on, with nothing to stop it.
            if self._parent is None:
                self._parent = os.getppid()
            elif os.getppid() != self._parent:
                self.should_exit = True
        return await super().on_tick(counter)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # What is loaded by now stays: the collector need not walk through it again and again while
        # sockets come and go. Sockets free themselves by reference counts, mostly.
        gc.collect()
        gc.freeze()
        gc.set_threshold(10_000, 20, 20)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        begin_draining()
        # Still accepting: a load balancer asks, hears 503, and sends newcomers elsewhere.
        await asyncio.sleep(conf.REALTIME_UNREADY_SECONDS)
        # uvicorn waits for every peer, and when it gives up it says so as an error.
        patience = conf.REALTIME_DRAIN_SECONDS + LAST_SECONDS
        giving_up = asyncio.get_running_loop().call_later(patience, self._abort_connections)
        await super().shutdown(sockets)
        giving_up.cancel()
        # That this process has no sockets any more is on its way to Redis.
        layer = current_layer()
        if layer is not None:
            await layer.settle()

    def _abort_connections(self) -> None:
        """End the connections of peers that neither answer nor read."""
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
    """Open as many files as the system lets this process: each socket is one.

    The ordinary limit is 1,024, and beyond it newcomers are reset without a word in any log.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS says "infinity" and means less
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def asgi_application() -> str:
    """ASGI_APPLICATION as uvicorn writes it; raises ImproperlyConfigured where it is missing."""
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
        # Prepared frames are shared by all sockets, so none is compressed for one of them; and a
        # compressor would cost each socket more memory than all the rest.
        ws_per_message_deflate=False,
        # The protocol's own `ping` and `pong` find dead peers; a second timer per socket would not
        # find more.
        ws_ping_interval=None,
        lifespan="off",
        # Django's LOGGING stands; its handler redacts credentials from query strings.
        log_config=None,
        log_level="info" if access_log else "warning",
        access_log=access_log,
        proxy_headers=False,
        server_header=False,
        # For views that are still at work then.
        timeout_graceful_shutdown=math.ceil(conf.REALTIME_DRAIN_SECONDS) + 5,
    )
    allow_many_sockets()
    if workers > 1:
        # The supervisor makes its workers of this class by name, and takes no other one.
        multiprocess.Process = Worker  # type: ignore[misc]
        multiprocess.Multiprocess(config, sockets=[config.bind_socket()]).run()
    else:
        Server(config).run()
