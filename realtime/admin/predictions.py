"""Predictions and scores in the Django admin, read-only."""

from typing import Any, Final

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from realtime.admin.base import GuardedAdmin
from realtime.admin.columns import shown_number
from realtime.models import PredictionScore, StoredPrediction

_STEPS: Final = {"1d": "days", "1m": "minutes", "update": "updates"}


class OutcomeFilter(admin.SimpleListFilter):
    title = "outcome"
    parameter_name = "outcome"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, Any]]:
        return [
            ("inside", "within bounds"),
            ("outside", "out of bounds"),
            ("pending", "pending"),
            ("aside", "not looked for"),
        ]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[StoredPrediction]
    ) -> QuerySet[StoredPrediction]:
        match self.value():
            case "inside":
                return queryset.filter(within_bounds=True)
            case "outside":
                return queryset.filter(within_bounds=False)
            case "pending":
                return queryset.filter(resolved_at__isnull=True, check_at__isnull=False)
            case "aside":
                return queryset.filter(resolved_at__isnull=True, check_at__isnull=True)
        return queryset


class _KnownFilter(admin.SimpleListFilter):
    """Offers the values in the small table of scores: DISTINCT on the large one is slow."""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, Any]]:
        name = str(self.parameter_name)
        values = PredictionScore.objects.order_by(name).values_list(name, flat=True).distinct()
        return [(value, value) for value in values if value]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset if value is None else queryset.filter(**{str(self.parameter_name): value})


class SymbolFilter(_KnownFilter):
    title = parameter_name = "symbol"


class ModelFilter(_KnownFilter):
    title = parameter_name = "model"


class _ReadOnly:
    """Rows come from predictors and markets, so they cannot be edited."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


@admin.register(StoredPrediction)
class StoredPredictionAdmin(_ReadOnly, GuardedAdmin[StoredPrediction]):
    list_display = (
        "symbol", "predicted_price", "bounds", "ahead", "model", "as_of", "created_at",
        "actual_price", "error", "within_bounds",
    )  # fmt: skip
    export_fields = (
        "prediction_id", "symbol", "model", "model_version", "source", "predicted_price",
        "lower_bound", "upper_bound", "confidence", "horizon", "step", "last_price", "as_of",
        "valid_until", "created_at", "requested", "actual_price", "error", "within_bounds",
        "resolved_at",
    )  # fmt: skip
    list_filter = (OutcomeFilter, SymbolFilter, ModelFilter, "step", "created_at")
    search_fields = ("=symbol",)
    search_help_text = "A symbol: AAPL"
    list_per_page = 50
    # Counting millions of rows for every page would be a waste.
    show_full_result_count = False

    @admin.display(empty_value="-")
    def bounds(self, row: StoredPrediction) -> SafeString | None:
        if row.lower_bound is None or row.upper_bound is None:
            return None
        lower, upper = shown_number(row.lower_bound), shown_number(row.upper_bound)
        return format_html("{} to {}", lower, upper)

    @admin.display(ordering="horizon")
    def ahead(self, row: StoredPrediction) -> str:
        return f"{row.horizon} {_STEPS[row.step]}"


@admin.register(PredictionScore)
class PredictionScoreAdmin(_ReadOnly, GuardedAdmin[PredictionScore]):
    list_display = (
        "symbol", "model", "outcomes", "mean_absolute_error", "directional_accuracy",
        "within_bounds", "nominal", "skill", "updated_at",
    )  # fmt: skip
    export_fields = list_display
    list_filter = (SymbolFilter, ModelFilter)
    search_fields = ("=symbol",)
