"""The JavaScript client in Node against a running server."""

import datetime as dt
import json

from tests.processes import ROOT, LiveServer, free_port
from tests.test_javascript import node

CASE = ROOT / "tests" / "js" / "live_client.mjs"
# The first token has less time left than the second, so `status` tells which one is in use.
_TOKENS = """
import json
from rest_framework_simplejwt.tokens import AccessToken
from tests import personas
tokens = [AccessToken.for_user(personas.alice()) for _ in range(2)]
tokens[0].set_exp(lifetime=%r)
print(json.dumps([str(token) for token in tokens]))
"""

_NARROWED = """
from tests import personas
print(personas.bob_key(name="narrowed", symbols={"market-data": ["MSFT"]})[1])
"""


def run(case: str, url: str, *tokens: str) -> None:
    """Run one case of live_client.mjs; fails with what it says."""
    node("--experimental-websocket", str(CASE), case, url, *tokens)


def test_a_refused_connection_is_noticed_at_once() -> None:
    run("refused", f"ws://127.0.0.1:{free_port()}/ws/market-data")


def test_a_token_of_authenticate_is_used_after_a_reconnect(server: LiveServer) -> None:
    tokens = json.loads(server.shell("import datetime;" + _TOKENS % dt.timedelta(seconds=60)))
    run("refresh", f"{server.ws}/ws/market-data", *tokens)


def test_symbols_are_a_string_or_a_list_of_strings(server: LiveServer) -> None:
    run("symbols", f"{server.ws}/ws/market-data")


def test_a_forbidden_symbol_does_not_take_the_others_with_it(server: LiveServer) -> None:
    key = server.shell(_NARROWED).strip()
    run("narrowed", f"{server.ws}/ws/market-data", key)


def test_a_token_of_authenticate_mends_a_client_that_was_refused(server: LiveServer) -> None:
    tokens = json.loads(server.shell("import datetime;" + _TOKENS % dt.timedelta(seconds=60)))
    run("mended", f"{server.ws}/ws/market-data", *tokens)
