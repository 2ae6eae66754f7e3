"""How often the price came out inside the band that promised to hold it in 90 % of cases.

Walk-forward over the committed prices: at each origin the predictor sees the closes up to it, and
the close `horizon` bars later decides. Nothing is random, so the counts are the same every time.
"""

import pytest

from realtime.feeds.csv_bars import STOCKS, read_bars
from realtime.predictions.predictors import CONFIDENCE, WINDOW, random_walk

EVERY = 5  # bars between two origins


@pytest.fixture(scope="module")
def closes() -> dict[str, list[float]]:
    bars = read_bars(STOCKS).bars
    return {symbol: [bar.close for bar in bars[symbol]] for symbol in bars}


@pytest.mark.parametrize("held", [60, WINDOW + 1])
@pytest.mark.parametrize("horizon", [1, 5, 30])
def test_the_nominal_90_percent_band_holds_85_to_95_percent(
    closes: dict[str, list[float]], horizon: int, held: int
) -> None:
    """`held`: closes at hand, as few as a stream's history has, or all that the predictor uses."""
    origins = inside = 0
    for symbol, prices in closes.items():
        for origin in range(held, len(prices) - horizon, EVERY):
            made = random_walk(symbol, prices[origin - held + 1 : origin + 1], horizon)
            inside += made.lower <= prices[origin + horizon] <= made.upper
            origins += 1
    assert CONFIDENCE == 0.90
    assert origins >= 1000
    assert 0.85 <= inside / origins <= 0.95, f"{inside} of {origins}"
