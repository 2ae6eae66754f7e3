"""How our own OpenAPI document describes a view, whatever the project's DEFAULT_SCHEMA_CLASS."""

from collections.abc import Callable
from typing import Any, TypeVar

from drf_spectacular import utils
from drf_spectacular.openapi import AutoSchema

Method = TypeVar("Method", bound=Callable[..., object])


class DocumentedSchema(AutoSchema):
    """drf-spectacular's own."""


def extend_schema(**options: Any) -> Callable[[Method], Method]:
    """drf-spectacular's decorator, which would extend the schema class of the project."""
    extend = utils.extend_schema(**options)

    def decorate(method: Method) -> Method:
        vars(method)["kwargs"] = {"schema": DocumentedSchema}
        extended: Method = extend(method)
        return extended

    return decorate
