"""`python -m ara_client watch AAPL MSFT`: see `watch`."""

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence

from ara_client import watch
from ara_client.client import Client
from ara_client.errors import AraError
from ara_client.events import Event
from ara_client.version import VERSION

_ENVIRONMENT = "ARA_URL is the default of --url, and ARA_API_KEY the credential (key or token)."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m ara_client", epilog=_ENVIRONMENT)
    parser.add_argument("--version", action="version", version=VERSION)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("watch", help=watch.HELP, epilog=_ENVIRONMENT)
    watch.add_arguments(command)
    command.add_argument(
        "--url",
        default=os.environ.get("ARA_URL") or "http://localhost:8000",
        help="address of the server (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    try:
        asked = watch.Asked.of(vars(options), sys.stdout)
        asyncio.run(watch_server(options.url, asked))
    except (AraError, ValueError, ImportError) as exc:
        parser.exit(1, f"{parser.prog} watch: {exc}\n")
    except KeyboardInterrupt:
        return 0
    except BrokenPipeError:  # `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


async def watch_server(url: str, asked: watch.Asked) -> None:
    """Show streams of any server, with the credential of the environment."""
    async with Client(url, api_key=os.environ.get("ARA_API_KEY") or None) as client:
        await watch.show(asked, sys.stdout, *_sources(client, asked))


def _sources(client: Client, asked: watch.Asked) -> list[AsyncIterator[Event]]:
    since, history = asked.since, asked.history
    if asked.channel == "alerts":
        symbols = list(asked.symbols) or None
        return [client.alerts(symbols=symbols, since=since, history=history).events()]
    if asked.channel == "predictions":
        return [client.predictions(*asked.symbols, since=since, history=history).events()]
    prices = client.market_data(*asked.symbols, since=since, history=history).events()
    return [prices, client.predictions(*asked.symbols).events()] if asked.table else [prices]


if __name__ == "__main__":
    sys.exit(main())
