"""Random rules, and random lives of a symbol, for comparing with the oracle."""

from typing import Any

from hypothesis import strategies as st

BEGIN = 1_709_251_200_000  # 2024-03-01T00:00:00Z, a Friday

prices = st.integers(min_value=90, max_value=110).map(float)
volumes = st.sampled_from([0.0, 500.0, 1000.0, 2000.0])
seconds = st.sampled_from([1, 5, 30, 120])


@st.composite
def leveled(draw: st.DrawFn, kind: str) -> dict[str, Any]:
    value = draw(prices)
    condition: dict[str, Any] = {"type": kind, "value": value}
    if draw(st.booleans()):
        distance = draw(st.integers(min_value=0, max_value=5))
        condition["rearm"] = value - distance if kind.endswith("above") else value + distance
    return condition


def of_type(kind: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"type": st.just(kind), **fields})


shares = st.sampled_from([0.5, 0.8])
returns = st.sampled_from([-2.0, 0.0, 2.0])
# Every type of condition: `test_conditions` compares.
BY_TYPE = {
    **{
        kind: leveled(kind) for kind in ("above", "below", "crosses_above", "crosses_below")
    },
    "percent_move": of_type(
        "percent_move", value=st.sampled_from([1.0, 3.0, 5.0]),
        window=st.sampled_from([2, 30, 600]), direction=st.sampled_from(["up", "down", "any"]),
    ),
    "volume_above": of_type("volume_above", value=volumes),
    "confidence_above": of_type("confidence_above", value=shares),
    "confidence_below": of_type("confidence_below", value=shares),
    "predicted_return_above": of_type("predicted_return_above", value=returns),
    "predicted_return_below": of_type("predicted_return_below", value=returns),
    "direction_flip": of_type("direction_flip"),
    "stale": of_type(
        "stale", seconds=seconds, channel=st.sampled_from(["market-data", "predictions"])
    ),
}  # fmt: skip
conditions = st.one_of(*BY_TYPE.values())
groups = st.builds(
    lambda kind, inner: {"type": kind, "conditions": inner},
    st.sampled_from(["all", "any"]),
    st.lists(conditions, min_size=1, max_size=2),
)


@st.composite
def rules(draw: st.DrawFn) -> dict[str, Any]:
    rule: dict[str, Any] = {
        "symbols": ["AAPL"],
        "conditions": draw(
            st.lists(st.one_of(conditions, conditions, groups), min_size=1, max_size=3)
        ),
        "match": draw(st.sampled_from(["all", "any"])),
    }
    if draw(st.booleans()):
        rule["cooldown"] = draw(st.sampled_from([0, 10, 200]))
    if "direction_flip" not in str(rule) and draw(st.booleans()):
        rule["for"] = draw(seconds)
    if draw(st.integers(0, 3)) == 0:
        rule["once"] = True
    if draw(st.integers(0, 3)) == 0:
        start, end = draw(
            st.sampled_from([("00:05", "00:10"), ("23:58", "00:07"), ("19:03", "19:30")])
        )
        rule["active_hours"] = {
            "start": start, "end": end,
            "timezone": draw(st.sampled_from(["UTC", "America/New_York"])),
            "days": draw(st.sampled_from([["thu", "fri"], ["fri"], ["thu"]])),
        }  # fmt: skip
    if draw(st.integers(0, 5)) == 0:
        rule["expires_at"] = "2024-03-01T00:08:00Z"
    return rule


market_data = st.fixed_dictionaries({}, optional={"price": prices, "volume": volumes})
predictions = st.fixed_dictionaries(
    {},
    optional={
        "confidence": st.sampled_from([0.4, 0.5, 0.7, 0.9]),
        "predicted_price": prices,
        "last_price": prices,
    },
)
# Milliseconds since the update before; some come at once, and clocks go back.
gaps = st.sampled_from([0, 1, 100, 999, 1000, 5000, 30_000, 61_000, 150_000, -500])
updates = st.lists(
    st.tuples(
        gaps,
        st.one_of(
            st.tuples(st.just("market-data"), market_data),
            st.tuples(st.just("predictions"), predictions),
        ),
    ),
    min_size=1,
    max_size=40,
)


def life(
    drawn: list[tuple[int, tuple[str, dict[str, Any]]]],
) -> list[tuple[str, int, dict[str, Any]]]:
    """Channel, time and data of each update."""
    at = BEGIN
    moments = []
    for gap, (channel, data) in drawn:
        at += gap
        moments.append((channel, at, data))
    return moments
