"""The classes that own_rest.py names. None of them may be asked about a view of the app."""

from typing import Any

from rest_framework.exceptions import Throttled
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response
from rest_framework.throttling import BaseThrottle


class ShoutingRenderer(JSONRenderer):
    charset = "utf-8"

    def render(self, data: Any, *args: Any, **kwargs: Any) -> bytes:
        return bytes(super().render(data, *args, **kwargs)).upper()


class NeverThrottle(BaseThrottle):
    def allow_request(self, request: Any, view: Any) -> bool:
        if not type(view).__module__.startswith("tests."):
            raise Throttled
        return True


def handle(exc: Exception, context: Any) -> Response:
    return Response({"shop": str(exc)}, status=418)


def sign(result: Any, **kwargs: Any) -> Any:
    return {**result, "x-shop": True}
