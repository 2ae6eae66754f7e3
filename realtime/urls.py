from django.urls import include, path, re_path

from realtime.api.statistics import MetricsView
from realtime.pages import guard_page
from realtime.views import Dashboard, upgrade_required

urlpatterns = [
    path("", guard_page(Dashboard.as_view()), name="dashboard"),
    # Where scrapers look for it.
    path("metrics", MetricsView.as_view(), name="metrics"),
    path("api/v1/", include("realtime.api.urls")),
    re_path(r"^ws(?:/|$)", upgrade_required),
]
