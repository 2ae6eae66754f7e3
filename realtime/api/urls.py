from django.urls import path, re_path

from realtime.api.alerts import (
    AckView,
    AlertRulesView,
    AlertRuleView,
    AlertsView,
    DryRunView,
    PauseAlertRuleView,
    PreviewView,
    ResumeAlertRuleView,
)
from realtime.api.asyncapi_page import AsyncApiPage
from realtime.api.cors import answer_other_origins
from realtime.api.destinations import (
    DestinationsView,
    DestinationView,
    TestDestinationView,
)
from realtime.api.keys import KeysView, KeyView, RotateKeyView
from realtime.api.live_connections import LiveConnectionsView, LiveConnectionView
from realtime.api.market_data import BarsView, LatestMarketDataView
from realtime.api.not_found import not_found
from realtime.api.predictions import (
    LatestPredictionsView,
    PredictionScoresView,
    PredictionsView,
    PredictionView,
)
from realtime.api.publish import PublishView
from realtime.api.schema import Docs, OpenApiView, asyncapi
from realtime.api.statistics import ConnectionsView
from realtime.api.stream_list import StreamListView
from realtime.api.streams import StreamView
from realtime.api.tokens import (
    BlacklistTokenView,
    LogOutEverywhereView,
    ObtainTokenView,
    RefreshTokenView,
    TicketView,
    VerifyTokenView,
)
from realtime.api.webhooks import (
    ResendDeliveryView,
    ResendFailedView,
    RotateWebhookView,
    TestWebhookView,
    WebhookDeliveriesView,
    WebhookDeliveryView,
    WebhooksView,
    WebhookView,
)
from realtime.pages import guard_page

app_name = "api"
urlpatterns = [
    path("auth/token", ObtainTokenView.as_view(), name="token"),
    path("auth/token/refresh", RefreshTokenView.as_view(), name="token-refresh"),
    path("auth/token/verify", VerifyTokenView.as_view(), name="token-verify"),
    path("auth/token/blacklist", BlacklistTokenView.as_view(), name="token-blacklist"),
    path("auth/ticket", TicketView.as_view(), name="ticket"),
    path("auth/logout-everywhere", LogOutEverywhereView.as_view(), name="logout-everywhere"),
    path("keys", KeysView.as_view(), name="keys"),
    path("keys/<str:prefix>", KeyView.as_view(), name="key"),
    path("keys/<str:prefix>/rotate", RotateKeyView.as_view(), name="key-rotate"),
    path("market-data/latest", LatestMarketDataView.as_view(), name="latest-market-data"),
    # A symbol may contain a slash: BTC/USD.
    path("market-data/<path:symbol>/bars", BarsView.as_view(), name="bars"),
    path("predictions", PredictionsView.as_view(), name="predictions"),
    path("predictions/latest", LatestPredictionsView.as_view(), name="latest-predictions"),
    path("predictions/scores", PredictionScoresView.as_view(), name="prediction-scores"),
    path("predictions/<int:prediction_id>", PredictionView.as_view(), name="prediction"),
    path("streams", StreamListView.as_view(), name="streams"),
    path("streams/<str:channel>/<path:symbol>", StreamView.as_view(), name="stream"),
    path("webhooks", WebhooksView.as_view(), name="webhooks"),
    path("webhooks/<int:webhook_id>", WebhookView.as_view(), name="webhook"),
    path("webhooks/<int:webhook_id>/rotate", RotateWebhookView.as_view(), name="webhook-rotate"),
    path("webhooks/<int:webhook_id>/test", TestWebhookView.as_view(), name="webhook-test"),
    path("webhooks/<int:webhook_id>/resend", ResendFailedView.as_view(), name="webhook-resend"),
    path(
        "webhooks/<int:webhook_id>/deliveries",
        WebhookDeliveriesView.as_view(),
        name="webhook-deliveries",
    ),
    path(
        "webhooks/<int:webhook_id>/deliveries/<int:delivery_id>",
        WebhookDeliveryView.as_view(),
        name="webhook-delivery",
    ),
    path(
        "webhooks/<int:webhook_id>/deliveries/<int:delivery_id>/resend",
        ResendDeliveryView.as_view(),
        name="webhook-delivery-resend",
    ),
    path("destinations", DestinationsView.as_view(), name="destinations"),
    path("destinations/<int:destination_id>", DestinationView.as_view(), name="destination"),
    path(
        "destinations/<int:destination_id>/test",
        TestDestinationView.as_view(),
        name="destination-test",
    ),
    path("alert-rules", AlertRulesView.as_view(), name="alert-rules"),
    path("alert-rules/dry-run", DryRunView.as_view(), name="alert-rule-dry-run"),
    path("alert-rules/preview", PreviewView.as_view(), name="alert-rule-preview"),
    path("alert-rules/<int:pk>", AlertRuleView.as_view(), name="alert-rule"),
    path("alert-rules/<int:pk>/pause", PauseAlertRuleView.as_view(), name="alert-rule-pause"),
    path("alert-rules/<int:pk>/resume", ResumeAlertRuleView.as_view(), name="alert-rule-resume"),
    path("alerts", AlertsView.as_view(), name="alerts"),
    path("alerts/ack", AckView.as_view(), name="alerts-ack"),
    path("publish", PublishView.as_view(), name="publish"),
    path("connections", ConnectionsView.as_view(), name="connections"),
    path("connections/", LiveConnectionsView.as_view(), name="live-connections"),
    path("connections/<str:connection_id>", LiveConnectionView.as_view(), name="live-connection"),
    path("schema", OpenApiView.as_view(), name="schema"),
    path("asyncapi.json", asyncapi, name="asyncapi"),
    path("asyncapi", guard_page(AsyncApiPage.as_view()), name="asyncapi-page"),
    path("docs", guard_page(Docs.as_view()), name="docs"),
    re_path("", not_found),
]
answer_other_origins(urlpatterns)
