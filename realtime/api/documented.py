"""Describes views in our own OpenAPI document, whatever the project's DEFAULT_SCHEMA_CLASS is."""

from collections.abc import Callable
from typing import Any, TypeVar

from drf_spectacular import utils
from drf_spectacular.openapi import AutoSchema

Method = TypeVar("Method", bound=Callable[..., object])


class DocumentedSchema(AutoSchema):
    """drf-spectacular's own."""


def extend_schema(**options: Any) -> Callable[[Method], Method]:
    """drf-spectacular's decorator, which otherwise would extend the project's schema class."""
    extend = utils.extend_schema(**options)

    def decorate(method: Method) -> Method:
        vars(method)["kwargs"] = {"schema": DocumentedSchema}
        extended: Method = extend(method)
        return extended

    return decorate
