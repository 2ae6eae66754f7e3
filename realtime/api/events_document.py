"""Server-sent events in the OpenAPI document. They have no views: see realtime/sse.py."""

from typing import Final

Operation = dict[str, object]

_REFUSALS: Final = {
    "400": "A parameter or symbol is wrong; `detail` names it.",
    "401": "The credential is missing or not accepted.",
    "403": "The credential does not allow the channel or a symbol.",
    "429": "Too many connections; see `Retry-After`.",
    "503": "The server stops, or cannot check the credential at the moment.",
}
_SINCE: Final = "Begin after this position: `epoch:offset`, or `AAPL=epoch:offset,MSFT=…`."
_RATE: Final = "Updates per second and symbol, 0.001 to 1000."
_SYMBOL: Final[Operation] = {
    "name": "symbol",
    "in": "path",
    "required": True,
    "schema": {"type": "string"},
}
_LAST: Final[Operation] = {
    "name": "Last-Event-ID",
    "in": "header",
    "description": "As `since`, which it comes before: what `EventSource` sends to resume.",
    "schema": {"type": "string"},
}


def event_paths(root: str) -> dict[str, dict[str, Operation]]:
    """The paths below `root`, where `realtime.urls` is included."""
    paths: dict[str, dict[str, Operation]] = {}
    for channel in ("market-data", "predictions"):
        named = [_query("since", _SINCE), _query("max_rate", _RATE), _LAST]
        symbols = _query("symbols", "`AAPL,MSFT`, at most 50.", required=True)
        name = channel.replace("-", "_")
        paths[f"{root}/sse/{channel}"] = _get(f"events_of_{name}", channel, [symbols, *named])
        one = _get(f"events_of_{name}_symbol", channel, [_SYMBOL, *named])
        paths[f"{root}/sse/{channel}/{{symbol}}"] = one
    filters = [
        _query("min_severity", "`low`, `medium`, `high` or `critical`: this one and above."),
        _query("symbols", "Only alerts about these, or about none: `AAPL,MSFT`."),
        _query("since", _SINCE),
        _LAST,
    ]
    paths[f"{root}/sse/alerts"] = _get("events_of_alerts", "alerts", filters)
    return paths


def _query(name: str, text: str, *, required: bool = False) -> Operation:
    schema = {"type": "number" if name == "max_rate" else "string"}
    return {
        "name": name, "in": "query", "required": required, "description": text, "schema": schema
    }  # fmt: skip


def _get(operation: str, channel: str, parameters: list[Operation]) -> dict[str, Operation]:
    stream = {"text/event-stream": {"schema": {"type": "string"}}}
    ok = {"description": "Messages of a WebSocket as events.", "content": stream}
    refusals = {status: {"description": text} for status, text in _REFUSALS.items()}
    return {
        "get": {
            "operationId": operation,
            "summary": f"Server-sent events: {channel} as it is published",
            "tags": ["sse"],
            "parameters": parameters,
            "security": [{"token": []}, {"apiKey": []}, {}],
            "responses": {"200": ok, **refusals},
        }
    }
