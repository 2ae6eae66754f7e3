"""`predictions`: what was predicted, what became of it, and how good the models were."""

from typing import Any, Final

from django.db.models import OuterRef, QuerySet, Subquery
from rest_framework import generics, serializers
from rest_framework.exceptions import NotFound, PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from realtime.access.identity import Identity
from realtime.api.authentication import HasPredictionsScope, HasPublishScope, identity_of
from realtime.api.base import ApiView, Pages, QuerySerializer
from realtime.api.documented import extend_schema
from realtime.api.fields import DateTimeField, ModelSerializer
from realtime.api.recording import record
from realtime.api.recording_document import document_recording
from realtime.api.serializers import PROBLEMS, ProblemSerializer
from realtime.models import PredictionScore, StoredPrediction
from realtime.streams import InvalidSymbol, parse_symbol

MAX_SYMBOLS: Final = 200
MAX_PAGE: Final = 1000


def _parsed(symbol: str) -> str:
    try:
        return parse_symbol(symbol)
    except InvalidSymbol as exc:
        raise serializers.ValidationError(exc.reason) from exc


class SymbolsQuerySerializer(QuerySerializer):
    symbol = serializers.CharField(required=False, help_text="One value, or several: `AAPL,MSFT`.")

    def validate_symbol(self, text: str) -> list[str]:
        symbols = [_parsed(symbol.strip()) for symbol in text.split(",")]
        if len(symbols) > MAX_SYMBOLS:
            raise serializers.ValidationError(f"More than {MAX_SYMBOLS} symbols.")
        return symbols


class ScoresQuerySerializer(SymbolsQuerySerializer):
    model = serializers.CharField(required=False, max_length=64, allow_blank=True)


class PredictionsQuerySerializer(ScoresQuerySerializer):
    """Filters of the history; they are joined by "and"."""

    resolved = serializers.BooleanField(
        required=False,
        allow_null=True,
        default=None,
        help_text="Only predictions with an outcome, or only those without.",
    )
    since = DateTimeField(required=False, help_text="Made at this time or later.")
    until = DateTimeField(required=False, help_text="Made before this time.")

    known_elsewhere = ("cursor", "limit")


class PredictionSerializer(ModelSerializer[StoredPrediction]):
    """`timestamp` and `valid_until` are on the market's clock, all other times on ours.

    What comes after `created_at` is null until the outcome is known.
    """

    prediction_id = serializers.CharField(read_only=True)
    timestamp = DateTimeField(source="as_of", read_only=True)

    class Meta:
        model = StoredPrediction
        fields = (
            "prediction_id", "symbol", "predicted_price", "lower_bound", "upper_bound",
            "confidence", "horizon", "step", "last_price", "model", "model_version", "source",
            "timestamp", "valid_until", "created_at", "requested",
            "actual_price", "error", "within_bounds", "resolved_at",
        )  # fmt: skip
        read_only_fields = fields


class ScoreSerializer(ModelSerializer[PredictionScore]):
    """Over the last outcomes (REALTIME_SCORE_WINDOW of them); null: none of them tells.

    `within_bounds`: the share of prices within the bounds, to compare with `nominal`, the share
    that was claimed. `skill`: 1 is perfect, 0 as good as "the price will not change".
    """

    class Meta:
        model = PredictionScore
        fields = (
            "symbol", "model", "outcomes", "mean_absolute_error", "directional_accuracy",
            "within_bounds", "nominal", "skill", "updated_at",
        )  # fmt: skip
        read_only_fields = fields


class LatestSerializer(serializers.Serializer[Any]):
    predictions = PredictionSerializer(many=True)


class ScoresSerializer(serializers.Serializer[Any]):
    scores = ScoreSerializer(many=True)


class PredictionPagination(Pages):
    page_size_query_param = "limit"
    max_page_size = MAX_PAGE


class PredictionsView(ApiView, generics.GenericAPIView[StoredPrediction]):
    """The predictions that were recorded, and recording others."""

    permission_classes = [HasPredictionsScope]
    pagination_class = PredictionPagination
    serializer_class = PredictionSerializer
    queryset = StoredPrediction.objects.all()

    @extend_schema(
        operation_id="list_predictions",
        summary="History of predictions",
        parameters=[PredictionsQuerySerializer],
        responses={200: PredictionSerializer(many=True), **PROBLEMS},
    )
    def get(self, request: Request) -> Response:
        wanted = PredictionsQuerySerializer.of(request)
        rows: QuerySet[Any] = _named(self.get_queryset(), wanted, identity_of(request))
        if wanted["resolved"] is not None:
            rows = rows.filter(resolved_at__isnull=not wanted["resolved"])
        if "since" in wanted:
            rows = rows.filter(created_at__gte=wanted["since"])
        if "until" in wanted:
            rows = rows.filter(created_at__lt=wanted["until"])
        page = self.paginate_queryset(rows)
        return self.get_paginated_response(PredictionSerializer(page, many=True).data)

    @document_recording
    def post(self, request: Request) -> Response:
        answer = record(identity_of(request), request.data)
        return Response(answer.body, answer.status, headers=answer.headers)

    def get_permissions(self) -> Any:
        posted = self.request.method == "POST"
        return [HasPublishScope()] if posted else super().get_permissions()


class PredictionView(ApiView):
    permission_classes = [HasPredictionsScope]

    @extend_schema(
        operation_id="get_prediction",
        summary="One prediction",
        responses={200: PredictionSerializer, **PROBLEMS, 404: ProblemSerializer},
    )
    def get(self, request: Request, prediction_id: int) -> Response:
        row = StoredPrediction.objects.filter(pk=prediction_id).first()
        if row is None or not identity_of(request).allows("predictions", row.symbol):
            # Also for one that this credential may not read: it need not know that it is there.
            raise NotFound(f"Prediction {prediction_id} does not exist.")
        return Response(PredictionSerializer(row).data)


class LatestPredictionsView(ApiView):
    """The newest prediction of each symbol, or of those that are named.

    Not of those that clients have requested for themselves.
    """

    permission_classes = [HasPredictionsScope]

    @extend_schema(
        operation_id="latest_predictions",
        summary="Newest prediction of each symbol",
        parameters=[SymbolsQuerySerializer],
        responses={200: LatestSerializer, **PROBLEMS},
    )
    def get(self, request: Request) -> Response:
        wanted = SymbolsQuerySerializer.of(request)
        # The scores know every symbol that has a prediction, in few rows.
        scores = _named(PredictionScore.objects.all(), wanted, identity_of(request))
        newest = StoredPrediction.objects.filter(symbol=OuterRef("symbol"), requested=False)
        newest_pk = Subquery(newest.order_by("-created_at", "-id").values("pk")[:1])
        symbols = scores.order_by("symbol").values("symbol").distinct()
        pks = list(symbols.annotate(newest=newest_pk).values_list("newest", flat=True))
        rows = StoredPrediction.objects.filter(pk__in=pks).order_by("symbol")
        return Response({"predictions": PredictionSerializer(rows, many=True).data})


class PredictionScoresView(ApiView):
    """How good each model was for each symbol over its last outcomes."""

    permission_classes = [HasPredictionsScope]

    @extend_schema(
        operation_id="prediction_scores",
        summary="Rolling scores by symbol and model",
        parameters=[ScoresQuerySerializer],
        responses={200: ScoresSerializer, **PROBLEMS},
    )
    def get(self, request: Request) -> Response:
        wanted = ScoresQuerySerializer.of(request)
        scores = _named(PredictionScore.objects.all(), wanted, identity_of(request))
        known = scores.filter(outcomes__gt=0).order_by("symbol", "model")
        return Response({"scores": ScoreSerializer(known, many=True).data})


def _named(rows: QuerySet[Any], wanted: dict[str, Any], identity: Identity) -> QuerySet[Any]:
    """Rows of the symbols and the model that were asked for; raises PermissionDenied."""
    symbols = wanted.get("symbol")
    if symbols is None:
        rows = _allowed(rows, identity)
    else:
        for symbol in symbols:
            if not identity.allows("predictions", symbol):
                raise PermissionDenied(f"This credential may not read predictions of {symbol}.")
        rows = rows.filter(symbol__in=symbols)
    return rows.filter(model=wanted["model"]) if "model" in wanted else rows


def _allowed(rows: QuerySet[Any], identity: Identity) -> QuerySet[Any]:
    """Rows of symbols that the credential may read."""
    if not identity.is_limited("predictions"):
        return rows
    known = PredictionScore.objects.order_by().values_list("symbol", flat=True).distinct()
    return rows.filter(symbol__in=[each for each in known if identity.allows("predictions", each)])
