"""The worker process of `realtime.predictions.garch`: run with `python -m`, not imported.

Importing arch takes seconds, so the worker is started once and serves many requests, each a JSON
object on a line: `{"closes": [...], "horizon": 5, "levels": [...]}` in, the prices at these
quantiles out as `{"prices": [...]}`, or `{"failed": "why"}`. The first line out is `{"ready":
true}`. It ends when its standard input does. It does not import Django.
"""

import json
import os
import sys
import warnings
import zlib
from collections.abc import Sequence
from typing import Final

import numpy as np
from arch import arch_model
from numpy.typing import NDArray

PATHS: Final = 5000

# arch and pandas may be installed without type annotations, or with different ones.
Array = NDArray[np.float64]


def quantiles(closes: Sequence[float], horizon: int, levels: Sequence[float]) -> list[float]:
    """Prices `horizon` steps ahead, by filtered historical simulation.

    A GARCH(1,1) with Student's t is fitted to the log returns. Its empirical standardised residuals
    are resampled for each step of each path, so the tails are those of the data. The same closes
    give the same result. Raises ValueError where the model does not fit.
    """
    prices = np.asarray(closes, dtype=float)
    returns = np.diff(np.log(prices))
    scale = float(returns.std())
    if not 0 < scale < np.inf:
        raise ValueError("the prices do not vary")
    model = arch_model(returns / scale, mean="Constant", vol="GARCH", p=1, q=1, dist="t")
    fit = model.fit(disp="off", show_warning=False)
    mean, omega, alpha, beta = (
        float(fit.params[name]) for name in ("mu", "omega", "alpha[1]", "beta[1]")
    )
    volatility = np.asarray(fit.conditional_volatility)
    shocks = (returns / scale - mean) / volatility
    following = omega + alpha * (shocks[-1] * volatility[-1]) ** 2 + beta * volatility[-1] ** 2
    chance = np.random.default_rng(zlib.crc32(prices.tobytes()))
    moved = simulate(chance.choice(shocks, (horizon, PATHS)), following, mean, (omega, alpha, beta))
    found = prices[-1] * np.exp(scale * np.quantile(moved, list(levels)))
    if not np.all(np.isfinite(found)):
        raise ValueError("the model does not fit the prices")
    return [float(price) for price in found]


def simulate(
    drawn: Array, first_variance: float, mean: float, coefficients: tuple[float, float, float]
) -> Array:
    """The sum of the returns of each path; `drawn` has a row of shocks for each step."""
    omega, alpha, beta = coefficients
    variance = np.full(drawn.shape[1], first_variance)
    moved = np.zeros(drawn.shape[1])
    for shocks in drawn:
        surprise = np.sqrt(variance) * shocks
        moved += mean + surprise
        variance = omega + alpha * surprise**2 + beta * variance
    return moved


def answer(line: str) -> dict[str, object]:
    try:
        return {"prices": quantiles(**json.loads(line))}
    except (ValueError, ArithmeticError, np.linalg.LinAlgError) as exc:
        return {"failed": str(exc)}


def main() -> None:
    warnings.simplefilter("ignore")  # of optimisers, about data that comes from outside
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # keeps output of libraries out of the answers
    chance = np.random.default_rng(1)
    # The first fit compiles and loads code that the import does not.
    quantiles(list(np.exp(chance.normal(0, 0.01, 300).cumsum())), 5, [0.5])
    print(json.dumps({"ready": True}), file=out)
    for line in sys.stdin:
        print(json.dumps(answer(line)), file=out)


if __name__ == "__main__":
    main()
