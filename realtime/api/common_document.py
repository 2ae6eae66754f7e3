"""What all operations share in the OpenAPI document: errors, parameters, examples, tags."""

from collections.abc import Iterator
from typing import Any, Final

from realtime.api.examples import PARAMETERS, REQUESTS
from realtime.api.rule_document import rule_schemas

Document = dict[str, Any]

# In the order in which a newcomer needs them.
TAGS: Final = {
    "auth": "Log in, renew tokens, and tickets that open a WebSocket.",
    "market-data": "Newest prices and stored bars.",
    "predictions": "Predictions with their outcomes and scores; record those of your own models.",
    "streams": "Which streams there are, and their updates since a position.",
    "sse": "Updates as they are published, as server-sent events.",
    "publish": "Push updates to the connected clients.",
    "alerts": "The inbox of a user.",
    "alert-rules": "When a user is alerted.",
    "destinations": "E-mail addresses and chats of a user, which alert rules send to.",
    "webhooks": "Events to URLs of a user, and what became of them.",
    "keys": "API keys of a user.",
    "connections": "Who is connected, for operators, and how they end connections.",
}
_SCHEMAS: Final[Document] = {
    **rule_schemas(),
    "Problems": {
        "type": "object",
        "description": "What is wrong, by field; `detail` where it is wrong as a whole.",
        "additionalProperties": {},
        "example": {"symbol": ["This field is required."]},
    },
}

_SESSION: Final = "The session of a login. What changes something also needs its CSRF token."
_TEXTS: Final = {
    "400": "The request is not valid: by field, what is wrong with it.",
    "401": "The credential is missing or not accepted.",
    "403": "The credential does not allow this, or a session came without its CSRF token.",
    "404": "Nothing is there, or not for this credential.",
    "413": "The body is larger than `DATA_UPLOAD_MAX_MEMORY_SIZE`.",
    "415": "The body must be JSON, with `Content-Type: application/json`.",
    "429": "Too many requests.",
    "501": "This server cannot do that; `detail` says what it lacks.",
    "503": "Redis or the database does not answer. Try again.",
}
_HEADERS: Final = {
    "401": ("WWW-Authenticate", "string", "Which credentials are accepted."),
    "429": ("Retry-After", "integer", "Seconds until a request may succeed."),
}


def complete(document: Document) -> None:
    """Add to a document that drf-spectacular has made what its operations share."""
    document["tags"] = [{"name": name, "description": text} for name, text in TAGS.items()]
    document["components"]["schemas"] |= _SCHEMAS
    document["components"]["securitySchemes"]["cookieAuth"]["description"] = _SESSION
    for operation in operations(document):
        for parameter in operation.get("parameters", []):
            _describe(parameter)
        _add_examples(operation)
        _add_refusals(operation)


def operations(document: Document) -> Iterator[Document]:
    return (operation for path in document["paths"].values() for operation in path.values())


def _describe(parameter: Document) -> None:
    known = PARAMETERS.get(parameter["name"])
    if known is None or parameter["in"] != "path":
        return
    parameter["description"] = known.description
    if known.example is not None:
        parameter["example"] = known.example


def _add_examples(operation: Document) -> None:
    named = REQUESTS.get(operation["operationId"], {})
    if named:
        content = operation["requestBody"]["content"]["application/json"]
        content["examples"] = {
            name.title().replace(" ", ""): {"summary": name, "value": value}
            for name, value in named.items()
        }


def _add_refusals(operation: Document) -> None:
    responses = operation["responses"]
    for status in {*_refusals(operation), *(status for status in responses if status >= "400")}:
        described = responses.setdefault(status, {}).get("description", "")
        responses[status] = _refusal(status, described)
    operation["responses"] = dict(sorted(responses.items()))


def _refusals(operation: Document) -> Iterator[str]:
    """The errors that an operation may answer for what it takes."""
    parameters = operation.get("parameters", [])
    names = {parameter["name"] for parameter in parameters}
    places = {each["in"] for each in parameters}
    yield "503"
    if "requestBody" in operation:
        yield from ("400", "413", "415")
    if "query" in places or "symbol" in names:
        yield "400"
    if "security" in operation:
        yield from ("401", "403")
    if "path" in places or "cursor" in names:
        yield "404"


def _refusal(status: str, described: str) -> Document:
    name = "Problems" if status == "400" else "Problem"
    schema = {"$ref": f"#/components/schemas/{name}"}
    refusal: Document = {
        "description": described or _TEXTS[status],
        "content": {"application/json": {"schema": schema}},
    }
    if status in _HEADERS:
        header, kind, text = _HEADERS[status]
        refusal["headers"] = {header: {"schema": {"type": kind}, "description": text}}
    return refusal
