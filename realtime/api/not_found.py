"""The answer to an unknown path of the API: JSON, like every other error."""

import time

from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from realtime.api.counting import count_answer
from realtime.api.schema import own_url


@csrf_exempt
def not_found(request: HttpRequest) -> JsonResponse:
    began = time.perf_counter()
    hint = "paths do not end with a slash" if request.path_info.endswith("/") else ""
    documents = f"{own_url(request, 'docs')} lists all paths"
    detail = f"Not found: {hint or documents}."
    answer = JsonResponse({"detail": detail}, status=404)
    count_answer(request, answer, began)
    return answer
