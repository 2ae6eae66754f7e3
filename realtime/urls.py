from django.urls import include, path
from django.views.generic import TemplateView

urlpatterns = [
    path("", TemplateView.as_view(template_name="realtime/dashboard.html"), name="dashboard"),
    path("api/v1/", include("realtime.api.urls")),
]
