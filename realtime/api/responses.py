"""Answers of the cores as DRF responses, and their idempotency keys in the OpenAPI document."""

from collections.abc import Callable
from typing import Any, Final

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, PolymorphicProxySerializer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer

from realtime.access.identity import Identity
from realtime.api.answers import Answer
from realtime.api.authentication import identity_of
from realtime.api.idempotency import HEADER
from realtime.api.serializers import ProblemSerializer

IDEMPOTENCY_KEY: Final = OpenApiParameter(
    HEADER,
    str,
    OpenApiParameter.HEADER,
    description="The same for each repetition of a request: within ten minutes it acts once, and "
    "repetitions get the first answer, marked with `Idempotency-Replayed: true`.",
)
IDEMPOTENT: Final = {
    409: OpenApiResponse(
        ProblemSerializer, description="The first request with this key is still under way."
    ),
    422: OpenApiResponse(ProblemSerializer, description="The key was used with another body."),
}


def one_or_many(
    name: str, kind: type[Serializer[Any]], *others: type[Serializer[Any]]
) -> PolymorphicProxySerializer:
    """A body that is one of these, or a list of the first."""
    return PolymorphicProxySerializer(
        component_name=name,
        serializers=[kind, kind(many=True), *others],
        resource_type_field_name=None,
        many=False,
    )


def respond(core: Callable[[Identity, object, str | None], Answer], request: Request) -> Response:
    answer = core(identity_of(request), request.data, request.headers.get(HEADER))
    return Response(answer.body, answer.status, headers=dict(answer.headers))
