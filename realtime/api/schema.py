"""The documents of both interfaces, OpenAPI and AsyncAPI, and the page that shows the former."""

import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import reverse
from django.utils import translation
from django.utils.encoding import force_bytes
from django.views.decorators.http import require_safe
from django.views.generic import TemplateView
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.generators import EndpointEnumerator, SchemaGenerator
from drf_spectacular.renderers import (
    OpenApiJsonRenderer,
    OpenApiJsonRenderer2,
    OpenApiYamlRenderer,
    OpenApiYamlRenderer2,
)
from drf_spectacular.settings import SPECTACULAR_DEFAULTS, patched_settings
from rest_framework.request import Request

from realtime.api.base import ApiView
from realtime.api.common_document import complete
from realtime.api.documented import DocumentedSchema, extend_schema
from realtime.api.events_document import event_paths
from realtime.asyncapi import document
from realtime.pages import csrf_header

# In the place of the server that a document is asked of.
_ORIGIN: Final = "https://this-server.invalid"

# Used instead of the project's SPECTACULAR_SETTINGS, which are for its own document.
SETTINGS: Final[dict[str, object]] = {
    # All settings except those that cannot be patched, which concern drf-spectacular's own views.
    **{
        name: value
        for name, value in SPECTACULAR_DEFAULTS.items()
        if not name.startswith("SERVE_") and name != "DEFAULT_GENERATOR_CLASS"
    },
    "TITLE": "ARA Realtime",
    "DESCRIPTION": "Publish to WebSocket clients, obtain credentials, read alerts, predictions and "
    "statistics. The WebSockets themselves: [messages](asyncapi).",
    "VERSION": "1",
    "SERVERS": [{"url": _ORIGIN}],
    # The part of a path after it names the path's group.
    "SCHEMA_PATH_PREFIX": "/",
    # Fields with the same name but different choices.
    "ENUM_NAME_OVERRIDES": {
        "ApiKeyStatusEnum": "realtime.models.keys.ApiKey.Status",
        "StepEnum": "realtime.models.predictions.StoredPrediction.Step",
        "WebhookDeliveryStatusEnum": "realtime.models.webhooks.WebhookDelivery.Status",
        "WebhookEventEnum": "realtime.models.webhooks.WebhookEvent",
    },
}
_rendering = threading.Lock()


class _OurEndpoints(EndpointEnumerator):
    """Lists our endpoints, which other documents omit: see `ApiView.as_view`."""

    def should_include_endpoint(self, path: str, callback: Callable[..., object]) -> bool:
        view: type = getattr(callback, "cls", object)
        return issubclass(view, ApiView)


class Generator(SchemaGenerator):
    """Describes the REST API only, not the rest of the project."""

    endpoint_inspector_cls = _OurEndpoints

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(urlconf="realtime.api.urls")  # type: ignore[no-untyped-call]

    def create_view(self, callback: object, method: str, request: object = None) -> object:
        view = super().create_view(callback, method, request)  # type: ignore[no-untyped-call]
        if view.schema is None:
            self._set_schema_to_view(view, DocumentedSchema())  # type: ignore[no-untyped-call]
        return view


class OpenApiView(ApiView):
    """The OpenAPI document: YAML, or JSON for clients that ask for it."""

    authentication_classes = []
    permission_classes = []
    renderer_classes = [
        OpenApiYamlRenderer, OpenApiYamlRenderer2, OpenApiJsonRenderer, OpenApiJsonRenderer2,
    ]  # fmt: skip

    @extend_schema(exclude=True)
    def get(self, request: Request) -> HttpResponse:
        renderer: Any = request.accepted_renderer
        prefix = own_url(request, "schema").removesuffix("/schema")
        document = rendered(renderer.format, prefix).replace(
            _ORIGIN.encode(), f"{request.scheme}://{request.get_host()}".encode()
        )
        return HttpResponse(document, content_type=renderer.media_type)


def own_url(request: HttpRequest | Request, name: str) -> str:
    """The URL of another view of the API, below the prefix of this request."""
    match = request.resolver_match
    assert match is not None
    return reverse(":".join([*match.namespaces, name]))


def rendered(format: str, prefix: str) -> bytes:
    """Rendered once per format: any client may ask, and rendering takes a quarter of a second.

    One thread at a time: the generator fails when two threads start it together.
    """
    with _rendering:
        return _rendered(format, prefix)


@lru_cache(maxsize=16)
def _rendered(format: str, prefix: str) -> bytes:
    # Without a language: drf-spectacular remembers the names of enumerations for each language.
    with (
        translation.override(None),
        patched_settings({**SETTINGS, "SCHEMA_PATH_PREFIX_INSERT": prefix}),
    ):
        schema = Generator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    schema["paths"].update(event_paths(prefix.removesuffix("/api/v1")))
    complete(schema)
    renderer = OpenApiJsonRenderer() if "json" in format else OpenApiYamlRenderer()
    return force_bytes(renderer.render(schema, renderer_context={}))


class Docs(TemplateView):
    """Swagger UI, from the app drf_spectacular_sidecar: nothing is loaded from elsewhere."""

    template_name = "realtime/docs.html"

    def get_context_data(self, **kwargs: object) -> dict[str, object]:
        return super().get_context_data(
            schema_url=own_url(self.request, "schema"),
            csrf_header=csrf_header(),
            **kwargs,
        )


@require_safe
def asyncapi(request: HttpRequest) -> JsonResponse:
    """The WebSocket interface of this server. Public, like the OpenAPI document."""
    prefix = own_url(request, "asyncapi").removesuffix("/api/v1/asyncapi.json")
    return JsonResponse(document(request.get_host(), prefix, secure=request.is_secure()))


class CredentialScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "realtime.api.authentication.CredentialAuthentication"
    name = ["token", "apiKey"]

    def get_security_definition(self, auto_schema: object) -> list[dict[str, str]]:
        return [
            {
                "type": "http",
                "scheme": "bearer",
                "bearerFormat": "JWT",
                "description": "An access token, or an API key.",
            },
            {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        ]

    def get_security_requirement(self, auto_schema: object) -> list[dict[str, list[str]]]:
        # A list per alternative: in one list they would mean that a request needs both.
        return [{name: []} for name in self.name]
