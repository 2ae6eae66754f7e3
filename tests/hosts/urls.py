"""Views of the project, with names that an app may use too, and the app below two prefixes."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import include, path
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView


class ItemSerializer(serializers.Serializer):  # type: ignore[type-arg]
    item_name = serializers.CharField()


class Items(APIView):
    """A view that takes all from REST_FRAMEWORK."""

    serializer_class = ItemSerializer

    def get(self, request: Request) -> Response:
        return Response({"item_name": "chair"})

    def post(self, request: Request) -> Response:
        ItemSerializer(data=request.data).is_valid(raise_exception=True)
        return Response(status=201)


def dashboard(request: HttpRequest) -> HttpResponse:
    return HttpResponse("<script>the shop's own</script>")


urlpatterns = [
    path("admin/", admin.site.urls),
    path("", dashboard, name="dashboard"),
    path("items", Items.as_view(), name="items"),
    path("live/", include("realtime.urls")),
    path("inner/live/", include("realtime.urls", namespace="inner")),
]
