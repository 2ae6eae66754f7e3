"""The conditions of alert rules as schemas of the OpenAPI document, made from their classes."""

import inspect
import math
from collections.abc import Mapping
from typing import Any, Final, get_args

import msgspec
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from realtime.alerts.conditions import MAX_CONDITIONS, Leaf, Leveled, Node
from realtime.hours import ActiveHours

Schema = dict[str, Any]

_REFERENCE: Final = "#/components/schemas/{name}Condition"
_CONDITION: Final = {"$ref": "#/components/schemas/Condition"}
_REARM: Final = "Once beyond `value`, true until the number is back here. Default: `value`."


@extend_schema_field(
    {"type": "array", "items": _CONDITION, "minItems": 1, "maxItems": MAX_CONDITIONS}
)
class ConditionsField(serializers.ListField):
    """For the document only: `parse_rule` checks."""


@extend_schema_field({"$ref": "#/components/schemas/ActiveHours"})
class ActiveHoursField(serializers.DictField):
    """For the document only: `parse_rule` checks."""


def rule_schemas() -> dict[str, Schema]:
    """`Condition`, one of those of each `type`, and `ActiveHours`."""
    (union, _), components = msgspec.json.schema_components(
        [Node, ActiveHours], ref_template=_REFERENCE
    )
    schemas = {f"{name}Condition": _older(schema) for name, schema in components.items()}
    schemas["ActiveHours"] = schemas.pop("ActiveHoursCondition")
    for kind in get_args(Leaf):
        _bound(schemas[f"{kind.__name__}Condition"]["properties"], kind)
    for name in ("AllOfCondition", "AnyOfCondition"):
        schemas[name]["properties"]["conditions"]["items"] = _CONDITION
    return {"Condition": _one_of(union), **schemas}


def _one_of(union: Mapping[str, Any]) -> Schema:
    return {"oneOf": union["anyOf"], "discriminator": union["discriminator"]}


def _bound(properties: Schema, kind: type[object]) -> None:
    """The bounds of `value`, which its class checks and not its type."""
    if not issubclass(kind, Leveled):
        return
    properties["rearm"]["description"] = _REARM
    for name, bound in (("minimum", kind.least), ("maximum", kind.most)):
        if math.isfinite(bound):
            properties["value"][name] = bound


def _older(schema: Schema) -> Schema:
    """JSON Schema as OpenAPI 3.0 knows it: without the type null, and bounds are numbers."""
    schema["description"] = inspect.cleandoc(schema["description"])
    for field in schema["properties"].values():
        if "exclusiveMinimum" in field:
            field |= {"minimum": field["exclusiveMinimum"], "exclusiveMinimum": True}
        if {"type": "null"} in field.get("anyOf", []):
            [kind] = [each for each in field.pop("anyOf") if each != {"type": "null"}]
            field |= {**kind, "nullable": True}
    return schema
