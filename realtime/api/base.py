"""The base of our views: parsing of bodies, and errors that any view may meet."""

import logging
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, ClassVar, Final

from django.core.exceptions import RequestDataTooBig
from django.core.exceptions import ValidationError as ValidationProblem
from django.db import DataError, InterfaceError, OperationalError
from django.http import HttpRequest, QueryDict
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers
from rest_framework import status
from rest_framework.authentication import SessionAuthentication
from rest_framework.exceptions import APIException, NotFound, ParseError, ValidationError
from rest_framework.metadata import SimpleMetadata
from rest_framework.negotiation import BaseContentNegotiation, DefaultContentNegotiation
from rest_framework.pagination import CursorPagination
from rest_framework.parsers import JSONParser
from rest_framework.permissions import IsAuthenticated
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import ChoiceField, Serializer
from rest_framework.settings import api_settings
from rest_framework.views import APIView, exception_handler, set_rollback

from realtime.access.identity import Identity
from realtime.access.tickets import TicketsUnavailable
from realtime.access.user_access import UserAccessFailed
from realtime.api.answers import Answer, Refused
from realtime.api.authentication import CredentialAuthentication
from realtime.api.counting import count_answer, count_request, route_of
from realtime.api.documented import DocumentedSchema
from realtime.broadcast import PublishFailed
from realtime.connections import StatisticsUnavailable
from realtime.delivery.publisher import BackendUnavailable
from realtime.delivery.totals import published_by
from realtime.values import finite

logger = logging.getLogger(__name__)

_WHOLE_BODY: Final = "non_field_errors"
CACHE_CONTROL: Final = "private, no-store"


class ViewAnswers(Exception):
    """Raised before anything was done, to leave the whole answer to the view."""


@dataclass(frozen=True, slots=True)
class Direct:
    """How direct.py answers for a view.

    `act` returns the content for a client and its body, or raises ViewAnswers: then `core`, the
    function that the view calls, runs in a thread. `read` is that of a GET, for a client and its
    query, and runs in a thread, too; where `aread` is given it comes first.
    """

    act: Callable[[Identity, bytes], Awaitable[bytes]] | None = None
    core: Callable[[Identity, object, str | None], Answer] | None = None
    scope: str | None = None
    method: str = "POST"
    status: HTTPStatus = HTTPStatus.CREATED
    takes_json: bool = True
    cache_control: str = CACHE_CONTROL
    read: Callable[[Identity, QueryDict], object] | None = None
    aread: Callable[[Identity, QueryDict], Awaitable[object]] | None = None


class BodyTooLarge(APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_detail = "The body is larger than DATA_UPLOAD_MAX_MEMORY_SIZE. Send less at a time."


class Unavailable(APIException):
    status_code = status.HTTP_503_SERVICE_UNAVAILABLE


class BoundedJSONParser(JSONParser):
    """Refuses JSON that is nested deeper than Python's stack as bad input, not as a failure."""

    strict = True

    def parse(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().parse(*args, **kwargs)
        except RecursionError as exc:
            raise ParseError("JSON parse error - nested too deeply") from exc


def handle_exception(exc: Exception, context: dict[str, object]) -> Response | None:
    if isinstance(exc, Refused):
        set_rollback()
        return Response(exc.answer.body, exc.answer.status, headers=exc.answer.headers)
    if isinstance(exc, RequestDataTooBig):
        exc = BodyTooLarge()
    elif isinstance(
        exc,
        BackendUnavailable
        | PublishFailed
        | StatisticsUnavailable
        | TicketsUnavailable
        | UserAccessFailed,
    ):
        exc = Unavailable(str(exc))
    elif isinstance(exc, InterfaceError | OperationalError):
        # The database is away, locked for too long, or out of disk: neither the client's fault nor
        # a bug.
        logger.error("the database does not answer: %s", exc)
        exc = Unavailable("The database does not answer. Try again.")
    elif isinstance(exc, DataError):
        # PostgreSQL accepts fewer texts, times and numbers than JSON.
        exc = ParseError("A value in this request is out of range, or holds U+0000.")
    elif isinstance(exc, ValidationError) and isinstance(exc.detail, dict):
        # A project may have renamed the key for errors of a body as a whole.
        theirs = api_settings.NON_FIELD_ERRORS_KEY
        names = {name: _WHOLE_BODY if name == theirs else name for name in exc.detail}
        exc.detail = {names[name]: problem for name, problem in exc.detail.items()}
    return exception_handler(exc, context)


class Choice(ChoiceField):
    """A field with a fixed set of values, which its error lists."""

    def to_internal_value(self, data: Any) -> Any:
        try:
            return super().to_internal_value(data)
        except ValidationError as exc:
            raise ValidationError(
                f"Must be one of {', '.join(map(str, self.choices))}.", "invalid_choice"
            ) from exc


class QuerySerializer(Serializer[object]):
    """Parameters of a GET. Unknown ones are refused: a misspelt filter must not return everything.

    `known_elsewhere` are parameters read by other code, such as pagination.
    """

    known_elsewhere: tuple[str, ...] = ()

    def validate(self, attrs: dict[str, object]) -> dict[str, object]:
        unknown = set(self.initial_data) - set(self.fields) - set(self.known_elsewhere)
        if unknown:
            known = ", ".join([*self.fields, *self.known_elsewhere])
            raise ValidationError(
                {str(name): [f"Unknown parameter; known parameters: {known}."] for name in unknown}
            )
        return attrs

    @classmethod
    def of(cls, request: Request) -> dict[str, Any]:
        """The values in a request; raises ValidationError."""
        return cls.read(request.query_params)

    @classmethod
    def read(cls, params: QueryDict) -> dict[str, Any]:
        query = cls(data=params.dict())
        query.is_valid(raise_exception=True)
        values: dict[str, object] = query.validated_data
        return values


class Pages(CursorPagination):
    """Pages that follow a cursor, and refuse a forged one."""

    ordering: Any = ("-created_at", "-id")
    page_size = 100

    def get_paginated_response_schema(self, schema: Any) -> dict[str, Any]:
        described: dict[str, Any] = super().get_paginated_response_schema(schema)
        for name in ("next", "previous"):
            del described["properties"][name]["example"]  # an address of another server
        return described

    def paginate_queryset(self, *args: Any, **kwargs: Any) -> list[Any] | None:
        try:
            return super().paginate_queryset(*args, **kwargs)
        # A position outside the values of the ordering field.
        except (ValidationProblem, ValueError, TypeError, OverflowError, DataError) as exc:
            raise NotFound(self.invalid_cursor_message) from exc


def measure_body(request: HttpRequest) -> None:
    """Set the length of a chunked body, which DRF would otherwise take for empty.

    Django's limit of bodies needs it as well. The whole body has arrived, in a file.
    """
    body = getattr(request, "_stream", None)
    known = request.META.get("CONTENT_LENGTH") and "HTTP_TRANSFER_ENCODING" not in request.META
    if body is not None and not known and body.seekable():
        request.META["CONTENT_LENGTH"] = str(body.seek(0, os.SEEK_END))
        body.seek(0)


class FiniteJSONRenderer(JSONRenderer):
    """Renders stored numbers that are not finite as null, since JSON cannot express them."""

    strict, compact, ensure_ascii = True, True, False

    def render(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().render(data, *args, **kwargs)
        except ValueError:
            return super().render(_finite(data), *args, **kwargs)


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return finite(value) if isinstance(value, float) else value


# Sets every option itself, since REST_FRAMEWORK belongs to the project. It has no docstring, which
# would become the description of every operation in the OpenAPI document.
class ApiView(APIView):
    authentication_classes = [CredentialAuthentication, SessionAuthentication]
    permission_classes = [IsAuthenticated]
    throttle_classes = []
    parser_classes = [BoundedJSONParser]
    renderer_classes = [FiniteJSONRenderer]
    content_negotiation_class: type[BaseContentNegotiation] = DefaultContentNegotiation
    metadata_class = SimpleMetadata
    versioning_class = None
    # For generic views.
    pagination_class: Any = None
    filter_backends: Any = ()
    schema = DocumentedSchema()
    direct: ClassVar[Direct | None] = None

    @classmethod
    def as_view(cls, **initkwargs: Any) -> Any:
        """Exclude the view from the project's own OpenAPI document: ours is in schema.py."""
        return super().as_view(**{"schema": None, **initkwargs})

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        began = time.perf_counter()
        try:
            with published_by("api"):
                answer = super().dispatch(request, *args, **kwargs)
        except Exception:  # the handler of exceptions of the project answers
            count_request(route_of(request), request.method, 500, began)
            raise
        count_answer(request, answer, began)
        return answer

    def initialize_request(self, request: HttpRequest, *args: object, **kwargs: object) -> Request:
        measure_body(request)
        return super().initialize_request(request, *args, **kwargs)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Keep answers, which depend on the credential, out of shared caches."""
        response.setdefault("Cache-Control", CACHE_CONTROL)
        patch_vary_headers(response, ("Authorization", "X-API-Key", "Cookie"))
        return super().finalize_response(request, response, *args, **kwargs)

    def get_exception_handler(self) -> Any:
        return handle_exception
