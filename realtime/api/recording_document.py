"""`POST predictions` in the OpenAPI document."""

from typing import Any, Final

from drf_spectacular.utils import OpenApiExample, OpenApiResponse
from rest_framework import serializers

from realtime.api.documented import extend_schema
from realtime.api.fields import DateTimeField
from realtime.api.responses import IDEMPOTENCY_KEY, IDEMPOTENT, one_or_many
from realtime.api.serializers import ID_HELP, PROBLEMS, ProblemSerializer
from realtime.payloads import MAX_ID
from realtime.predictions.fields import MAX_HORIZON, MAX_TEXT, STEPS


class PredictionDataSerializer(serializers.Serializer[Any]):
    """The fields that are stored; others reach the subscribers unchanged."""

    predicted_price = serializers.FloatField(help_text="Or `prediction`.")
    lower_bound = serializers.FloatField(required=False)
    upper_bound = serializers.FloatField(required=False)
    confidence = serializers.FloatField(required=False, min_value=0, max_value=1)
    horizon = serializers.IntegerField(
        required=False, min_value=1, max_value=MAX_HORIZON, help_text="Steps ahead. Default: 1."
    )
    step = serializers.ChoiceField(required=False, choices=list(STEPS), help_text="Default: 1d.")
    timestamp = DateTimeField(required=False, help_text="When it was made. Default: now.")
    valid_until = DateTimeField(required=False)
    last_price = serializers.FloatField(required=False)
    model = serializers.CharField(required=False, max_length=MAX_TEXT)
    model_version = serializers.CharField(required=False, max_length=MAX_TEXT)
    source = serializers.CharField(  # type: ignore[assignment]
        required=False, max_length=MAX_TEXT
    )


class RecordSerializer(serializers.Serializer[Any]):
    """A prediction to record; the fields of `data` are those of `record_prediction`."""

    symbol = serializers.CharField()
    data = PredictionDataSerializer()  # type: ignore[assignment]
    id = serializers.CharField(required=False, max_length=MAX_ID, help_text=ID_HELP)


class RecordsSerializer(serializers.Serializer[Any]):
    predictions = RecordSerializer(many=True)


class RecordedSerializer(serializers.Serializer[Any]):
    """A recorded prediction, and its position in the stream of its symbol."""

    prediction_id = serializers.CharField()
    symbol = serializers.CharField()
    valid_until = DateTimeField()
    epoch = serializers.CharField(allow_null=True)
    offset = serializers.IntegerField(
        allow_null=True, help_text="null: a repetition of what was published long ago."
    )
    receivers = serializers.IntegerField(
        allow_null=True, help_text="Server processes that received it."
    )


_PREDICTION: Final = {
    "symbol": "AAPL",
    "data": {
        "predicted_price": 150.25,
        "lower_bound": 147.1,
        "upper_bound": 153.4,
        "confidence": 0.9,
        "horizon": 5,
        "model": "mine",
    },
}
_EXAMPLES: Final = [
    OpenApiExample("One", value=_PREDICTION, request_only=True),
    OpenApiExample(
        "Two at once",
        value=[_PREDICTION, {"symbol": "MSFT", "data": {"predicted_price": 410}}],
        request_only=True,
    ),
]


document_recording: Final = extend_schema(
    operation_id="record_predictions",
    parameters=[IDEMPOTENCY_KEY],
    summary="Record predictions",
    description=(
        "Stores, broadcasts and scores predictions made elsewhere, with a credential that has "
        "the scope `publish`. The body is one prediction, a list of at most 1,000, or "
        '`{"predictions": [...]}`. If one is refused, none is stored; the 400 names the field, '
        'in a list with its index: `{"3.data.horizon": ["..."]}`.'
    ),
    request=one_or_many("RecordBody", RecordSerializer, RecordsSerializer),
    responses={
        201: one_or_many("RecordedBody", RecordedSerializer),
        **PROBLEMS,
        **IDEMPOTENT,
        429: ProblemSerializer,
        503: OpenApiResponse(
            ProblemSerializer, description="The database or Redis did not confirm."
        ),
    },
    examples=_EXAMPLES,
)
