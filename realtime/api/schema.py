"""The documents of both interfaces: our credentials in the OpenAPI one, and the AsyncAPI one."""

from typing import Any

from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe
from drf_spectacular.extensions import OpenApiAuthenticationExtension

from realtime.asyncapi import document


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
