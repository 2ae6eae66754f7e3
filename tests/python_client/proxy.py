"""A TCP proxy whose network can be cut: it then forwards nothing, and closes nothing."""

import asyncio
from contextlib import suppress

from tests.processes import free_port


class Proxy:
    def __init__(self, port: int) -> None:
        self.port = free_port()
        self.answers_to_lose = 0
        self._to = port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def open(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    def cut(self) -> None:
        """Forward nothing more on the connections that are there."""
        for task in self._tasks:
            task.cancel()

    def reset(self) -> None:
        """Break the connections that are there, as a router does that forgets them."""
        for writer in self._writers:
            writer.transport.abort()

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.reset()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, to = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers += [writer, to]
        if self.answers_to_lose:
            self._start(reader, to)
            await there.read(1)  # the server has done what it was asked for
            self.answers_to_lose -= 1
            writer.transport.abort()
            to.transport.abort()
            return
        self._start(reader, to)
        self._start(there, writer)

    def _start(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._forward(source, target))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @staticmethod
    async def _forward(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                target.write(data)
                await target.drain()
        target.transport.abort()
