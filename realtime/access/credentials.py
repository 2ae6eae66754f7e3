"""Finds the credential that a client sent, without asking whether it is any good.

Nothing here raises, whatever the bytes: text that does not look like a credential is ignored, and a
malformed one is a Credential that is never accepted.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import unquote_to_bytes

CredentialKind = Literal["jwt", "api_key", "ticket"]
Place = Literal["authorization", "x-api-key", "subprotocol", "ticket", "query", "message"]

KEY_PREFIX: Final = "ara_"
TICKET_PREFIX: Final = "arat_"
_SUBPROTOCOL_TOKEN: Final = "ara.token."


@dataclass(frozen=True, slots=True)
class Credential:
    """What a client presents. Its repr does not show the secret."""

    kind: CredentialKind
    secret: str = field(repr=False)
    place: Place


def credential_from_token(token: str, place: Place) -> Credential:
    """A token from a place that takes any kind; the prefix tells which it is."""
    if token.startswith(KEY_PREFIX):
        return Credential("api_key", token, place)
    if token.startswith(TICKET_PREFIX):
        return Credential("ticket", token, place)
    return Credential("jwt", token, place)


def find_credential(
    headers: Iterable[tuple[bytes, bytes]],
    query_string: bytes,
    subprotocols: Sequence[str] = (),
) -> Credential | None:
    """The first credential of a WebSocket handshake, in the order of the wire contract.

    `Authorization: Bearer`, `Authorization: Api-Key` or `X-API-Key`, the subprotocol
    `ara.token.<token>`, `?ticket=`, `?token=`. Takes the parts of an ASGI scope; an empty value
    counts as none.
    """
    return (
        find_in_headers(headers)
        or _find_in_subprotocols(subprotocols)
        or _find_in_query(query_string)
    )


def find_in_headers(headers: Iterable[tuple[bytes, bytes]]) -> Credential | None:
    """The credential in `Authorization` or `X-API-Key`; names are lower-case, as in ASGI.

    Another scheme (the `Basic` of a proxy) is not ours and is passed over.
    """
    bearer = key = None
    for name, value in headers:
        if name == b"authorization":
            scheme, _, token = _text(value).strip().partition(" ")
            token = token.strip()
            if token and scheme.lower() == "bearer":
                bearer = bearer or credential_from_token(token, "authorization")
            elif token and scheme.lower() == "api-key":
                key = key or Credential("api_key", token, "authorization")
        elif name == b"x-api-key" and (token := _text(value).strip()):
            key = key or Credential("api_key", token, "x-api-key")
    return bearer or key


def _find_in_subprotocols(subprotocols: Sequence[str]) -> Credential | None:
    for subprotocol in subprotocols:
        token = subprotocol.removeprefix(_SUBPROTOCOL_TOKEN)
        if token and token != subprotocol:
            return credential_from_token(token, "subprotocol")
    return None


def _find_in_query(query_string: bytes) -> Credential | None:
    # Only names without percent-encoding: the log filter recognises no others.
    fields: dict[bytes, bytes] = {}
    for pair in query_string.split(b"&"):
        name, _, value = pair.partition(b"=")
        if value:
            fields.setdefault(name, value)
    if b"ticket" in fields:
        return Credential("ticket", _text(unquote_to_bytes(fields[b"ticket"])), "ticket")
    if b"token" in fields:
        return credential_from_token(_text(unquote_to_bytes(fields[b"token"])), "query")
    return None


def _text(value: bytes) -> str:
    return value.decode("latin-1")
