import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.access.credentials import (
    Credential,
    credential_from_token,
    find_credential,
    find_in_headers,
)

KEY = "ara_k3f9a2bc_secret"
JWT = "eyJhbGciOiJIUzI1NiJ9.e30.c2ln"
PLACES = [
    ((b"authorization", f"Bearer {JWT}".encode()), Credential("jwt", JWT, "authorization")),
    ((b"authorization", f"Bearer {KEY}".encode()), Credential("api_key", KEY, "authorization")),
    ((b"authorization", f"bearer  {JWT} ".encode()), Credential("jwt", JWT, "authorization")),
    ((b"authorization", f"Api-Key {KEY}".encode()), Credential("api_key", KEY, "authorization")),
    ((b"x-api-key", KEY.encode()), Credential("api_key", KEY, "x-api-key")),
]


@pytest.mark.parametrize(("header", "credential"), PLACES)
def test_a_header_carries_a_credential(header: tuple[bytes, bytes], credential: Credential) -> None:
    assert find_in_headers([(b"host", b"localhost"), header]) == credential


def test_a_subprotocol_carries_a_credential() -> None:
    found = find_credential([], b"", ["ara.v1", f"ara.token.{JWT}"])
    assert found == Credential("jwt", JWT, "subprotocol")


@pytest.mark.parametrize(
    ("query", "credential"),
    [
        (f"token={JWT}", Credential("jwt", JWT, "query")),
        (f"token={KEY}", Credential("api_key", KEY, "query")),
        ("token=ara%5Fk3f9a2bc%5Fsecret", Credential("api_key", KEY, "query")),
        (f"epoch=1&token={JWT}&offset=7", Credential("jwt", JWT, "query")),
        ("ticket=arat_abc", Credential("ticket", "arat_abc", "ticket")),
        (f"token={JWT}&ticket=arat_abc", Credential("ticket", "arat_abc", "ticket")),
        (f"token={JWT}&token=other", Credential("jwt", JWT, "query")),
        ("token=undefined", Credential("jwt", "undefined", "query")),
    ],
)
def test_a_query_string_carries_a_credential(query: str, credential: Credential) -> None:
    assert find_credential([], query.encode()) == credential


@pytest.mark.parametrize(
    ("headers", "query", "subprotocols"),
    [
        ([], b"", []),
        ([], b"token=", []),
        ([], b"token", []),
        ([], b"symbol=AAPL", []),
        ([(b"authorization", b"Basic YWxpY2U6cHc=")], b"", []),
        ([(b"authorization", b"Bearer")], b"", []),
        ([(b"authorization", b"")], b"", []),
        ([(b"x-api-key", b" ")], b"", []),
        ([], b"", ["ara.v1", "ara.token."]),
        ([], b"", ["graphql-ws"]),
    ],
)
def test_nothing_is_no_credential(
    headers: list[tuple[bytes, bytes]], query: bytes, subprotocols: list[str]
) -> None:
    assert find_credential(headers, query, subprotocols) is None


def test_the_places_have_the_order_of_the_wire_contract() -> None:
    headers = [(b"x-api-key", b"ara_second"), (b"authorization", b"Bearer first")]
    query, subprotocols = b"token=fifth&ticket=fourth", ["ara.token.third"]
    order = []
    for given_headers, given_subprotocols, given_query in (
        (headers, subprotocols, query),
        (headers[:1], subprotocols, query),
        ([], subprotocols, query),
        ([], [], query),
        ([], [], b"token=fifth"),
    ):
        found = find_credential(given_headers, given_query, given_subprotocols)
        assert found is not None
        order.append(found.secret)
    assert order == ["first", "ara_second", "third", "fourth", "fifth"]


def test_an_escaped_parameter_name_is_not_read() -> None:
    # The log filter would not recognise it either.
    assert find_credential([], b"tok%65n=" + JWT.encode()) is None


def test_the_prefix_tells_the_kinds_apart() -> None:
    kinds = [credential_from_token(t, "message").kind for t in (KEY, JWT, "arat_x", "", "ara")]
    assert kinds == ["api_key", "jwt", "ticket", "jwt", "jwt"]


def test_a_repr_does_not_show_the_secret() -> None:
    shown = repr(Credential("api_key", KEY, "query"))
    assert KEY not in shown
    assert "api_key" in shown


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"authorization", b"x-api-key", b"cookie"]) | st.binary(),
            st.binary() | st.builds(lambda value: b"Bearer " + value, st.binary()),
        )
    ),
    st.binary() | st.builds(lambda value: b"token=" + value, st.binary()),
    st.lists(st.text() | st.builds(lambda value: "ara.token." + value, st.text())),
)
def test_no_bytes_raise(
    headers: list[tuple[bytes, bytes]], query: bytes, subprotocols: list[str]
) -> None:
    found = find_credential(headers, query, subprotocols)
    assert found is None or found.secret
