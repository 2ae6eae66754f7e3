"""A tab with our page, and the network between it and the server."""

import asyncio
import contextlib

from playwright.async_api import ConsoleMessage, Locator, Page, expect

from tests.patience import PATIENCE

# A machine with two cores runs a browser, a server and a feed for these tests.
expect.set_options(timeout=PATIENCE * 1000)


class Proxy:
    """A TCP proxy on a loopback port that can be cut or silent, and healed on the same port."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        # Cleared: nothing gets through, and nobody is told.
        self.flowing = asyncio.Event()
        self.flowing.set()

    async def heal(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Reset what is open, refuse what comes."""
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        try:
            await asyncio.gather(self._copy(reader, back), self._copy(there, writer))
        finally:
            writer.transport.abort()
            back.transport.abort()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self.flowing.wait()
                writer.write(data)
                await writer.drain()
        writer.close()


class Visit:
    """The page in a tab, with everything that the browser complained about."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    async def open(self, port: int) -> None:
        await self.page.goto(f"http://127.0.0.1:{port}/")

    async def live(self) -> None:
        """Wait until all three sockets are."""
        await expect(self.page.locator(".socket[data-phase=live]")).to_have_count(3)

    @property
    def notice(self) -> Locator:
        """The sentence about the connections."""
        return self.page.locator("[data-notice] p")

    @property
    def said(self) -> Locator:
        """What screen readers were told last."""
        return self.page.locator("[data-announcer]")

    async def add(self, symbol: str) -> Locator:
        """Add a symbol through the form; returns its card."""
        field = self.page.get_by_label("Add a symbol")
        await field.fill(symbol)
        await field.press("Enter")
        return self.page.locator(f"[data-symbol='{symbol.upper()}']")

    def alert(self, message: str) -> Locator:
        return self.page.locator(".alert-message").get_by_text(message, exact=True)
