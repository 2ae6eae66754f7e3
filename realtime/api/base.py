"""What every view of ours does with bodies and errors that no view can foresee."""

from typing import Any

from django.core.exceptions import RequestDataTooBig
from rest_framework import status
from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import JSONParser
from rest_framework.response import Response
from rest_framework.views import APIView, exception_handler

from realtime.access.tickets import TicketsUnavailable
from realtime.broadcast import PublishFailed
from realtime.connections import StatisticsUnavailable


class BodyTooLarge(APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_detail = "The body is larger than DATA_UPLOAD_MAX_MEMORY_SIZE. Send less at a time."


class Unavailable(APIException):
    status_code = status.HTTP_503_SERVICE_UNAVAILABLE


class BoundedJSONParser(JSONParser):
    """JSON that is nested deeper than Python's stack is bad input, not our fault."""

    def parse(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().parse(*args, **kwargs)
        except RecursionError as exc:
            raise ParseError("JSON parse error - nested too deeply") from exc


def handle_exception(exc: Exception, context: dict[str, Any]) -> Response | None:
    if isinstance(exc, RequestDataTooBig):
        exc = BodyTooLarge()
    elif isinstance(exc, PublishFailed | StatisticsUnavailable | TicketsUnavailable):
        exc = Unavailable(str(exc))
    return exception_handler(exc, context)


class ApiView(APIView):
    parser_classes = [BoundedJSONParser]

    def get_exception_handler(self) -> Any:
        return handle_exception
