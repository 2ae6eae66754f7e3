"""Rows in every table of the app, made as the app makes them. Run by `manage.py shell`."""

from datetime import timedelta

from django.contrib.auth.models import User
from django.utils import timezone
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken

from realtime import models
from realtime.access.tokens import SessionRefreshToken
from realtime.alerts.rule_editing import fill, save_rule
from realtime.alerts.rules import parse_rule

now = timezone.now()
ada = User.objects.create_user("ada", password="a long password of hers")
User.objects.create_superuser("olga", password="a long password of hers")

key, raw = models.ApiKey.objects.create_key(
    ada, "desk", scopes=["market-data", "publish"], symbols={"publish": ["BTC*"]}
)
endpoint, secret = models.WebhookEndpoint.objects.create_endpoint(
    ada, "https://hooks.example.com/ara", symbols=["AAPL"]
)
delivery = models.WebhookDelivery.objects.create(
    endpoint=endpoint, event="alert.triggered", symbol="AAPL", body="{}", tries=1
)
delivery.attempts.create(response_code=500, response_body="no", finished_at=now)

definition = parse_rule(
    {
        "name": "high",
        "symbols": ["AAPL"],
        "conditions": [{"type": "above", "value": 150}],
        "severity": "high",
    }
)
rule = save_rule(fill(models.AlertRule(owner=ada), definition, key.pk))
models.AlertRuleState.objects.create(rule=rule, symbol="AAPL", revision=1, data={"armed": True})
models.AlertProgress.objects.create(symbol="AAPL", positions={"market-data": ["e", 7]}, fence=1)
models.AlertProblem.objects.create(symbol="AAPL", rule=rule, reason="a price of 0")
alert = models.Alert.objects.create(
    uid="al_1", owner=ada, rule=rule, symbol="AAPL", severity="high", sent_at=now,
    data={"message": "AAPL is above 150", "price": 151.5}, escalate_to=endpoint,
)  # fmt: skip
models.AlertAcknowledgement.objects.create(alert=alert, user=ada)

models.Bar.objects.create(
    symbol="AAPL", interval=models.Bar.Interval.values[0], source="replay", start=now,
    open=1, high=2, low=0.5, close=1.5, volume=100, first_tick_at=now, last_tick_at=now,
)  # fmt: skip
models.RecordedPosition.objects.create(symbol="AAPL", epoch="e", offset=7)
models.StoredPrediction.objects.create(
    symbol="AAPL", model="random_walk", predicted_price=150.25, lower_bound=140, upper_bound=160,
    confidence=0.9, last_price=150, as_of=now, valid_until=now + timedelta(days=1),
    actual_price=151, error=0.75, within_bounds=True, resolved_at=now, announced_at=now,
)  # fmt: skip
models.PredictionScore.objects.create(
    symbol="AAPL", model="random_walk", outcomes=1, mean_absolute_error=0.75
)
models.Silence.objects.create(channel="market-data", symbol="AAPL", last_update=now)

SessionRefreshToken.for_user(ada)
BlacklistedToken.objects.create(token=OutstandingToken.objects.latest("pk"))

print(raw, secret)  # noqa: T201
