"""Numbers and times in lists: as many digits as a person reads, and seconds."""

import math
from collections.abc import Callable
from datetime import datetime
from functools import cache
from typing import Any, Final

from django.contrib import admin
from django.core.exceptions import FieldDoesNotExist
from django.db import models
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

Column = str | Callable[[Any], Any]

# Beyond these, a power of ten is easier to read than zeros.
_HUGE: Final = 1e15
_TINY: Final = 1e-10


def shown_number(value: float) -> SafeString:
    return format_html('<span class="number">{}</span>', _digits(value))


def _digits(value: float) -> str:
    """A price or a volume: `64,123.46`, `1.0835`, `0.00001235`."""
    size = abs(value)
    if value == 0:
        return "0"
    if not _TINY <= size < _HUGE:
        return f"{value:.4g}"
    if size >= 10:
        whole = size >= 10_000 and value == round(value)
        return f"{value:,.0f}" if whole else f"{value:,.2f}"
    decimals = 3 - math.floor(math.log10(size)) if size < 1 else 4
    return f"{value:.{decimals}f}"


def shown_time(value: datetime) -> SafeString:
    local = timezone.localtime(value)
    return format_html(
        '<time datetime="{}" title="{}"><span class="number">{}</span> '
        '<span class="number">{}</span></time>',
        value.isoformat(), f"{local:%Z}", f"{local:%Y-%m-%d}", f"{local:%H:%M:%S}",
    )  # fmt: skip


@cache
def column_of(model: type[models.Model], name: str) -> Column:
    """What a list shows for a field: the field itself, unless it is a number or a time."""
    try:
        field = model._meta.get_field(name)
    except FieldDoesNotExist:
        return name
    for kind, show in ((models.DateTimeField, shown_time), (models.FloatField, shown_number)):
        if isinstance(field, kind):
            return _column(field, show)
    return name


def _column(field: "models.Field[Any, Any]", show: Callable[[Any], str]) -> Column:
    @admin.display(description=field.verbose_name, ordering=field.name, empty_value="-")
    def column(row: models.Model) -> str | None:
        value = getattr(row, field.name)
        return None if value is None else show(value)

    column.__name__ = field.name  # names the class in the page
    return column
