from django.urls import include, path, re_path

from realtime.api.health import alive, ready
from realtime.api.statistics import MetricsView
from realtime.destination_pages import ConfirmDestination, StopDestination
from realtime.pages import guard_page
from realtime.views import Dashboard, events_elsewhere, upgrade_required

app_name = "realtime"
urlpatterns = [
    path("", guard_page(Dashboard.as_view()), name="dashboard"),
    path("healthz", alive, name="healthz"),
    path("readyz", ready, name="readyz"),
    # Where scrapers look for it.
    path("metrics", MetricsView.as_view(), name="metrics"),
    path("api/v1/", include("realtime.api.urls")),
    # Links in mails.
    path(
        "destinations/confirm",
        guard_page(ConfirmDestination.as_view()),
        name="confirm-destination",
    ),
    path("destinations/stop", guard_page(StopDestination.as_view()), name="stop-destination"),
    path("ws", upgrade_required, name="ws"),
    re_path(r"^ws/", upgrade_required),
    # What realtime/sse.py has not answered before.
    path("sse", events_elsewhere, name="sse"),
    re_path(r"^sse/", events_elsewhere),
]
