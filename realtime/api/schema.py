"""The documents of both interfaces: our credentials in the OpenAPI one, and the AsyncAPI one."""

import threading
from functools import cache
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.encoding import force_bytes
from django.views.decorators.http import require_safe
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer, OpenApiYamlRenderer
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView
from rest_framework.request import Request

from realtime.asyncapi import document

_rendering = threading.Lock()


class OpenApiView(SpectacularAPIView):
    """The OpenAPI document: YAML, or JSON for clients that ask for it."""

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:
        renderer: Any = request.accepted_renderer
        return HttpResponse(rendered(renderer.format), content_type=renderer.media_type)


def rendered(format: str) -> bytes:
    """Once for each format: anybody may ask, and it takes a quarter of a second.

    One thread at a time: the generator fails in two that begin together.
    """
    with _rendering:
        return _rendered(format)


@cache
def _rendered(format: str) -> bytes:
    generator = SchemaGenerator()  # type: ignore[no-untyped-call]
    document = generator.get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    renderer = OpenApiJsonRenderer() if "json" in format else OpenApiYamlRenderer()
    return force_bytes(renderer.render(document, renderer_context={}))


@require_safe
def asyncapi(request: HttpRequest) -> JsonResponse:
    """The WebSocket interface of this server. For everybody, as the OpenAPI document is."""
    return JsonResponse(document(request.get_host(), secure=request.is_secure()))


class CredentialScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "realtime.api.authentication.CredentialAuthentication"
    name = ["token", "apiKey"]

    def get_security_definition(self, auto_schema: Any) -> list[dict[str, str]]:
        return [
            {
                "type": "http",
                "scheme": "bearer",
                "bearerFormat": "JWT",
                "description": "An access token, or an API key.",
            },
            {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        ]

    def get_security_requirement(self, auto_schema: Any) -> list[dict[str, list[str]]]:
        # One list per way: together in one they would mean that a request needs both.
        return [{name: []} for name in self.name]
