"""The AsyncAPI document as a page, made on the server: no script, nothing from elsewhere."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.views.generic import TemplateView

from realtime.api.schema import own_url
from realtime.asyncapi import document

Schema = Mapping[str, Any]

_CODES: Final = ("CloseCode", "ErrorCode")


_BOUNDS: Final = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "maxLength": "at most {} characters",
}


class Field(NamedTuple):
    """A row of a table."""

    name: str
    type: SafeString
    required: bool
    text: SafeString


class AsyncApiPage(TemplateView):
    """Channels, messages, objects and codes, each with a place to link to."""

    template_name = "realtime/asyncapi.html"

    def get_context_data(self, **kwargs: object) -> dict[str, object]:
        request = self.request
        json_url = own_url(request, "asyncapi")
        prefix = json_url.removesuffix("/api/v1/asyncapi.json")
        described: Any = document(request.get_host(), prefix, secure=request.is_secure())
        messages, schemas = (described["components"][name] for name in ("messages", "schemas"))
        payloads = {_referred(message["payload"]) for message in messages.values()}
        objects = schemas.keys() - payloads - set(_CODES)
        server = described["servers"]["this"]
        return super().get_context_data(
            info=described["info"],
            description=_paragraphs(described["info"]["description"]),
            server=f"{server['protocol']}://{server['host']}{server.get('pathname', '')}",
            channels=[_channel(name, described) for name in described["channels"]],
            messages=[
                message
                for side in (True, False)
                for message in (_message(name, described) for name in messages)
                if message["from_client"] is side
            ],
            objects=[_described(name, schemas[name]) for name in schemas if name in objects],
            codes=[_code_table(name, schemas[name]) for name in _CODES],
            json_url=json_url,
            docs_url=own_url(request, "docs"),
            page_url=f"{prefix}/",
            **kwargs,
        )


def _channel(name: str, described: Schema) -> dict[str, object]:
    channel = described["channels"][name]
    sides: dict[str, list[str]] = {"receive": [], "send": []}
    for operation in described["operations"].values():
        if _referred(operation["channel"]) == name:
            sides[operation["action"]] = [_referred(each) for each in operation["messages"]]
    path = {
        each: {"type": "string", **text} for each, text in channel.get("parameters", {}).items()
    }
    return {
        "name": name,
        "address": channel["address"],
        "summary": channel["summary"],
        "text": _inline(channel.get("description", "")),
        "received": sides["receive"],
        "sent": sides["send"],
        "parameters": [
            *_fields({"properties": path, "required": path}),
            *_fields(channel["bindings"]["ws"]["query"]),
        ],
    }


def _message(name: str, described: Schema) -> dict[str, object]:
    message = described["components"]["messages"][name]
    schema = described["components"]["schemas"][_referred(message["payload"])]
    senders = {
        operation["action"]
        for operation in described["operations"].values()
        if name in map(_referred, operation["messages"])
    }
    return {
        "anchor": name,
        "name": message["name"],
        "from_client": "receive" in senders,
        "summary": _inline(message["summary"]),
        "text": _inline(message.get("description", "")),
        "fields": list(_fields(schema)),
        "example": json.dumps(message["examples"][0]["payload"], indent=2, ensure_ascii=False),
    }


def _described(name: str, schema: Schema) -> dict[str, object]:
    return {
        "name": name,
        "text": _paragraphs(schema.get("description", "")),
        "fields": list(_fields(schema)),
    }


def _code_table(name: str, schema: Schema) -> dict[str, object]:
    rows = [
        {"code": each["const"], "name": each["title"], "text": _inline(each["description"])}
        for each in schema["oneOf"]
    ]
    return {"name": name, "text": _inline(schema["description"]), "rows": rows}


def _fields(schema: Schema) -> Iterator[Field]:
    for name, field in schema.get("properties", {}).items():
        text = _inline(field.get("description", ""))
        yield Field(name, _type(field), name in schema.get("required", ()), text)


def _type(schema: Schema) -> SafeString:
    """What a field may be, in words; a link to an object."""
    if "$ref" in schema:
        name = _referred(schema)
        return format_html('<a href="#{}">{}</a>', name, name)
    if "anyOf" in schema:
        return format_html_join(" or ", "{}", ((_type(each),) for each in schema["anyOf"]))
    if "enum" in schema:
        values = ((json.dumps(value),) for value in schema["enum"])
        return format_html_join(", ", "<code>{}</code>", values)
    if schema.get("type") == "array":
        return format_html("list of {}", _type(schema["items"]))
    inner = schema.get("additionalProperties")
    if isinstance(inner, dict):
        return format_html("object of {}", _type(inner))
    kinds = schema.get("type", "any")
    words = kinds if isinstance(kinds, str) else " or ".join(kinds)
    bounds = [text.format(schema[name]) for name, text in _BOUNDS.items() if name in schema]
    return format_html("{}", ", ".join([words, *bounds]))


def _referred(reference: Schema) -> str:
    name: str = reference["$ref"].rpartition("/")[2]
    return name


def _paragraphs(text: str) -> SafeString:
    return format_html_join(
        "", "<p>{}</p>", ((_inline(part),) for part in text.split("\n\n") if part)
    )


def _inline(text: str) -> SafeString:
    """Text with `code` in it."""
    plain_and_code = enumerate(text.split("`"))
    parts = (
        (format_html("<code>{}</code>", part) if number % 2 else part,)
        for number, part in plain_and_code
    )
    return format_html_join("", "{}", parts)
