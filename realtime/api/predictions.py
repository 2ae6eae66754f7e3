"""`predictions`: predictions, their outcomes, and the scores of the models."""

from http import HTTPStatus
from typing import Any, Final

from django.db.models import OuterRef, QuerySet, Subquery
from django.http import QueryDict
from rest_framework import generics, serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from realtime.access.identity import Identity
from realtime.api.authentication import HasPredictionsScope, HasPublishScope, identity_of
from realtime.api.base import ApiView, Direct, Pages, Unavailable
from realtime.api.documented import extend_schema
from realtime.api.fields import DateTimeField, ModelSerializer
from realtime.api.reading import (
    FindAddress,
    NoHistory,
    SymbolsQuerySerializer,
    address_finder,
    check_symbols,
    newest_pages,
    not_needed,
    position_of,
    take_read,
)
from realtime.api.recording import record
from realtime.api.recording_document import document_recording
from realtime.api.responses import respond
from realtime.api.serializers import PROBLEMS, ProblemSerializer
from realtime.delivery.stream_state import Page
from realtime.models import PredictionScore, StoredPrediction

MAX_PAGE: Final = 1000


class ScoresQuerySerializer(SymbolsQuerySerializer):
    model = serializers.CharField(
        required=False, max_length=64, allow_blank=True, help_text="Only those of this model."
    )


class PredictionsQuerySerializer(ScoresQuerySerializer):
    """Filters of the history; a prediction must match all of them."""

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
    """`timestamp` and `valid_until` are times of the market's clock, all others of the server's.

    Fields after `created_at` are null until the outcome is known.
    """

    prediction_id = serializers.CharField(read_only=True)
    timestamp = DateTimeField(source="as_of", read_only=True)

    class Meta:
        model = StoredPrediction
        fields: tuple[str, ...] = (
            "prediction_id", "symbol", "predicted_price", "lower_bound", "upper_bound",
            "confidence", "horizon", "step", "last_price", "model", "model_version", "source",
            "timestamp", "valid_until", "created_at", "requested",
            "actual_price", "error", "within_bounds", "resolved_at",
        )  # fmt: skip
        read_only_fields = fields


class ScoreSerializer(ModelSerializer[PredictionScore]):
    """Over the last REALTIME_SCORE_WINDOW outcomes; null if none of them gives the value.

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


class LatestPredictionSerializer(PredictionSerializer):
    """A prediction and the stream's position just before: a socket continues from there.

    The socket may then send this same prediction again. The position is null while Redis is away,
    and with a channel layer that has no history.
    """

    epoch = serializers.CharField(allow_null=True, read_only=True)
    offset = serializers.IntegerField(allow_null=True, read_only=True)

    class Meta(PredictionSerializer.Meta):
        fields = (*PredictionSerializer.Meta.fields, "epoch", "offset")
        read_only_fields = fields


class LatestSerializer(serializers.Serializer[object]):
    predictions = LatestPredictionSerializer(many=True)


class ScoresSerializer(serializers.Serializer[object]):
    scores = ScoreSerializer(many=True)


class PredictionPagination(Pages):
    page_size_query_param = "limit"
    max_page_size = MAX_PAGE


class PredictionsView(ApiView, generics.GenericAPIView[StoredPrediction]):
    """Lists recorded predictions, and records others."""

    permission_classes = [HasPredictionsScope]
    direct = Direct(core=record, scope="publish")
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
        return respond(record, request)

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
            # The same error hides a prediction that this credential may not read.
            raise NotFound(f"Prediction {prediction_id} does not exist.")
        return Response(PredictionSerializer(row).data)


def _latest(
    identity: Identity, query: QueryDict, find_address: FindAddress = not_needed
) -> dict[str, object]:
    wanted = SymbolsQuerySerializer.read(query)
    # The table of scores has every symbol with a prediction, in few rows.
    scores = _named(PredictionScore.objects.all(), wanted, identity)
    symbols = list(scores.order_by().values_list("symbol", flat=True).distinct())
    take_read(identity, find_address, len(symbols))
    # Read before the rows: a prediction published in between is in them, and reaches a socket as
    # well.
    positions = _positions(symbols)
    rows = list(_newest(symbols))
    for row in rows:
        vars(row).update(position_of(positions.get(row.symbol)))
    return {"predictions": LatestPredictionSerializer(rows, many=True).data}


class LatestPredictionsView(ApiView):
    """The newest prediction of each symbol, or of the named ones.

    Predictions that clients requested for themselves are not included.
    """

    permission_classes = [HasPredictionsScope]
    direct = Direct(
        read=_latest, scope="predictions", method="GET", status=HTTPStatus.OK, takes_json=False
    )

    @extend_schema(
        operation_id="latest_predictions",
        summary="Newest prediction of each symbol",
        parameters=[SymbolsQuerySerializer],
        responses={200: LatestSerializer, **PROBLEMS, 429: ProblemSerializer},
    )
    def get(self, request: Request) -> Response:
        query, find_address = request.query_params, address_finder(request)
        return Response(_latest(identity_of(request), query, find_address))


def _newest(symbols: list[str]) -> QuerySet[StoredPrediction]:
    newest = StoredPrediction.objects.filter(symbol=OuterRef("symbol"), requested=False)
    newest_pk = Subquery(newest.order_by("-created_at", "-id").values("pk")[:1])
    scores = PredictionScore.objects.filter(symbol__in=symbols).order_by()
    pks = scores.values("symbol").distinct().annotate(newest=newest_pk).values("newest")
    return StoredPrediction.objects.filter(pk__in=pks).order_by("symbol")


def _positions(symbols: list[str]) -> dict[str, Page]:
    """The streams' positions; empty while Redis is away, since predictions are in the database."""
    try:
        return newest_pages("predictions", symbols)
    except (NoHistory, Unavailable):
        return {}


class PredictionScoresView(ApiView):
    """The quality of each model for each symbol over its last outcomes."""

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
    """Rows of the requested symbols and model; raises PermissionDenied."""
    symbols = wanted.get("symbol")
    if symbols is None:
        rows = _allowed(rows, identity)
    else:
        check_symbols(identity, "predictions", symbols)
        rows = rows.filter(symbol__in=symbols)
    return rows.filter(model=wanted["model"]) if "model" in wanted else rows


def _allowed(rows: QuerySet[Any], identity: Identity) -> QuerySet[Any]:
    """Rows of symbols that the credential may read."""
    if not identity.is_limited("predictions"):
        return rows
    known = PredictionScore.objects.order_by().values_list("symbol", flat=True).distinct()
    return rows.filter(symbol__in=[each for each in known if identity.allows("predictions", each)])
