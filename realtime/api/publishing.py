"""The core of `POST publish`: updates of any kind, checked, allowed and published in order."""

import re
from collections.abc import Mapping
from functools import partial
from typing import Final

from realtime.access.identity import Identity
from realtime.api.answers import (
    REQUIRED,
    Answer,
    Errors,
    Invalid,
    forbidden,
    read_batch,
    read_symbol,
    require_fields,
    require_values,
    required,
    take_allowance,
)
from realtime.api.idempotency import REPLAYED, RequestOnce
from realtime.broadcast import (
    Broadcast,
    InvalidUpdate,
    Publication,
    alert_update,
    broadcast_many,
    check_data,
    market_data_update,
    prediction_update,
)
from realtime.streams import WILDCARD, InvalidSymbol, parse_symbol
from realtime.users import InvalidUserId, UserId, parse_user_id, read_user_id

_ARGUMENTS: Final = {
    "prediction_update": "prediction_data",
    "market_data_update": "market_data",
    "alert": "alert_data",
}
_TYPES: Final = tuple(_ARGUMENTS)
_FIELDS: Final = ("type", "symbol", "data", "user_id", "id")
# The broadcast functions have other argument names; in a request they are all `data`.
_ARGUMENT: Final = re.compile(r"^(?:prediction_data|market_data|alert_data)\b")


def publish(identity: Identity, body: object, key: str | None = None) -> Answer:
    """Publish one update or a list: all, or none. Raises Refused and PublishFailed.

    `key` is the header Idempotency-Key.
    """
    once = RequestOnce(identity, key)
    read = partial(_read, identity, once)
    updates = read_batch(body, "updates", read) if isinstance(body, list) else [read(0, body)]
    with once.held("publish", body) as again:
        if not again:
            take_allowance(identity, len(updates))
        publications = broadcast_many(updates)
    answers = [shown(each) for each in publications]
    headers = {REPLAYED: "true"} if all(each.repeated for each in publications) else {}
    return Answer(201, answers if isinstance(body, list) else answers[0], headers)


def _read(identity: Identity, once: RequestOnce, index: int, item: object) -> Broadcast:
    """One update, after checks of its content and of the client's rights; raises Refused."""
    given = require_fields(item, _FIELDS)
    require_values(_problems(given))
    symbol = _symbol_of(given)
    if not identity.allows("publish", symbol):
        target = "alerts for every symbol" if symbol == WILDCARD else f"updates for {symbol}"
        raise forbidden(f"This credential may not publish {target}.")
    try:
        return _built(given, once.id(index, given.get("id")))
    except InvalidUpdate as exc:
        raise Invalid.of(_ARGUMENT.sub("data", exc.field), exc.reason) from exc


def _problems(given: Mapping[str, object]) -> Errors:
    """The errors in the fields of an update, other than its data."""
    alert, problems = given.get("type") == "alert", required(given, ("type", "data"))
    if "type" in given and given["type"] not in _TYPES:
        problems["type"] = [f"Must be one of {', '.join(_TYPES)}."]
    if alert and "symbol" in given:
        problems["symbol"] = ["For an alert, put this into data."]
    if not alert and "symbol" not in given:
        problems["symbol"] = [REQUIRED]
    if not alert and "user_id" in given:
        problems["user_id"] = ["Only an alert has a user."]
    return problems


def _symbol_of(given: Mapping[str, object]) -> str:
    """The symbol that a key must be allowed; `*` for an alert without a symbol."""
    if given["type"] == "alert":
        data = given["data"]
        try:
            return parse_symbol(data.get("symbol") if isinstance(data, Mapping) else None)
        except InvalidSymbol:
            return WILDCARD
    try:
        return read_symbol(given["symbol"])
    except InvalidSymbol as exc:
        raise Invalid.of("symbol", str(exc)) from exc


def _built(given: Mapping[str, object], id: str | None) -> Broadcast:
    kind, name = str(given["type"]), _ARGUMENTS[str(given["type"])]
    data = check_data(given["data"], name)
    if kind == "alert":
        return alert_update(data, _user_id(given.get("user_id")), id=id)
    build = prediction_update if kind == "prediction_update" else market_data_update
    return build(read_symbol(given["symbol"]), data, id=id)


def _user_id(value: object) -> UserId | None:
    try:
        if isinstance(value, str):
            return read_user_id(value)
        return None if value is None else parse_user_id(value)
    except InvalidUserId as exc:
        raise InvalidUpdate("user_id", str(exc)) from exc


def shown(publication: Publication) -> dict[str, object]:
    """The result of publishing an update, for its publisher."""
    stored = {} if publication.stored is None else {"stored": publication.stored}
    return {
        "channel": publication.stream.channel,
        "stream": publication.stream.symbol,
        "epoch": publication.epoch,
        "offset": publication.offset,
        "receivers": publication.receivers,
        **stored,
        **({"warnings": dict(publication.warnings)} if publication.warnings else {}),
    }
