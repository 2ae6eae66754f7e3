from django.urls import include, path

from realtime.views import Dashboard

urlpatterns = [
    path("", Dashboard.as_view(), name="dashboard"),
    path("api/v1/", include("realtime.api.urls")),
]
