"""CSV of a list of the admin: all rows that its filters and its search leave, in its order."""

import csv
import io
import json
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import Any, Final

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.db.models import Model
from django.http import HttpRequest, StreamingHttpResponse

ROWS_AT_ONCE: Final = 500
# A spreadsheet takes a text that begins so for a formula, and would run it.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


def csv_response(
    request: HttpRequest, name: str, fields: Sequence[str], rows: Iterable[Model]
) -> StreamingHttpResponse:
    """Raises what the query of the rows raises, before anything is sent."""
    parts = _parts(fields, iter(rows))
    parts = chain([next(parts)], parts)
    content = _in_thread(parts) if isinstance(request, ASGIRequest) else parts
    headers = {
        "Content-Disposition": f'attachment; filename="{name}.csv"',
        "Cache-Control": "private, no-cache",
    }
    return StreamingHttpResponse(content, content_type="text/csv; charset=utf-8", headers=headers)


def cell(value: object) -> object:
    """A value as a cell: numbers as they are, times in UTC, and never a formula."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, list | dict):
        value = json.dumps(value, ensure_ascii=False)
    text = str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _parts(fields: Sequence[str], rows: Iterator[Model]) -> Iterator[str]:
    """The table in pieces of some hundred rows; the first of them has the names."""
    table: list[Iterable[object]] = [fields]
    for row in rows:
        table.append([cell(getattr(row, name)) for name in fields])
        if len(table) >= ROWS_AT_ONCE:
            yield _text(table)
            table = []
    yield _text(table)


def _text(table: Iterable[Iterable[object]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerows(table)
    return buffer.getvalue()


async def _in_thread(parts: Iterator[str]) -> AsyncIterator[str]:
    """The same where the server is asynchronous: rows are read in the thread of the request."""
    read: Any = sync_to_async(next)
    while (part := await read(parts, None)) is not None:
        yield part
