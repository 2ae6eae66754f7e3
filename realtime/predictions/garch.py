"""The predictor `realtime.predictions.garch.garch_t`: GARCH-t with filtered historical simulation.

It needs the extra `forecast`. The model runs in a process of its own (garch_worker.py), which is
started with the server: importing arch takes seconds, and the computation would
hold the GIL of this process. A worker that dies is restarted; a worker that does not answer in time
is killed.
"""

import atexit
import contextlib
import json
import math
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Final

from realtime.conf import conf
from realtime.extras import missing
from realtime.predictions.predictors import (
    CONFIDENCE,
    Prediction,
    PredictionFailed,
    checked_closes,
)
from realtime.protocol import JsonObject

if find_spec("arch") is None:
    raise missing("forecast", needed_by=__name__, package="arch")

# Closes that the model uses: for 500 returns, and for at least 250.
WINDOW: Final = 501
MIN_CLOSES: Final = 251
_TAIL: Final = (1 - CONFIDENCE) / 2
LEVELS: Final = (_TAIL, 0.5, 1 - _TAIL)


def garch_t(symbol: str, closes: Sequence[float], horizon: int) -> Prediction:
    """A predictor for REALTIME_PREDICTOR; raises PredictionFailed."""
    closes = checked_closes(symbol, closes, need=MIN_CLOSES)[-WINDOW:]
    lower, price, upper = _worker.quantiles(symbol, closes, horizon, LEVELS)
    if not 0 < lower <= price <= upper < math.inf:
        raise PredictionFailed(
            f"the prices of {symbol} vary too widely for a band", kind="bad_prices"
        )
    return Prediction(
        symbol=symbol,
        predicted_price=price,
        lower=lower,
        upper=upper,
        confidence=CONFIDENCE,
        horizon=horizon,
        last_price=closes[-1],
        model="garch_t",
        model_version="1",
    )


def warm_up() -> None:
    """Start the worker, without waiting until it is ready."""
    _worker.warm_up()


garch_t.warm_up = warm_up  # type: ignore[attr-defined]  # see predictors.warm_up


class _Died(Exception):
    """Raised when the worker's output ended."""


class WorkerProcess:
    """One worker process, which serves one thread at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._ready = False
        self._received = b""

    def warm_up(self) -> None:
        with self._lock:
            self._start()

    def quantiles(
        self, symbol: str, closes: Sequence[float], horizon: int, levels: Sequence[float]
    ) -> list[float]:
        """The worker's answer; raises PredictionFailed after REALTIME_PREDICTION_TIMEOUT."""
        deadline = time.monotonic() + conf.REALTIME_PREDICTION_TIMEOUT
        request = {"closes": list(closes), "horizon": horizon, "levels": list(levels)}
        if not self._lock.acquire(timeout=conf.REALTIME_PREDICTION_TIMEOUT):
            raise PredictionFailed(f"other symbols are computed before {symbol}", kind="timeout")
        try:
            answer = self._ask(request, deadline)
        except TimeoutError:
            raise PredictionFailed(f"the model of {symbol} took too long", kind="timeout") from None
        finally:
            self._lock.release()
        if "failed" in answer:
            raise PredictionFailed(f"{symbol}: {answer['failed']}", kind="bad_prices")
        prices: list[float] = answer["prices"]
        return prices

    def _ask(self, request: JsonObject, deadline: float) -> JsonObject:
        """Raises TimeoutError, and _Died if the worker died twice."""
        line = json.dumps(request).encode() + b"\n"
        for last_try in (False, True):
            process = self._start()
            try:
                if not self._ready:
                    self._read(process, deadline)
                    self._ready = True
                assert process.stdin is not None
                process.stdin.write(line)
                process.stdin.flush()
                return self._read(process, deadline)
            except (_Died, BrokenPipeError) as exc:
                self._end()
                if last_try:
                    raise _Died("the process of the model died twice") from exc
            except TimeoutError:
                # A worker that is still starting can serve the next request; one that is computing
                # is killed.
                if self._ready:
                    self._end()
                raise
        raise AssertionError("unreachable")

    def _start(self) -> "subprocess.Popen[bytes]":
        if self._process is not None and self._owner == os.getpid():
            return self._process
        # Also in a child that was forked from a process that has started one.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "realtime.predictions.garch_worker"],
            cwd=conf.BASE_DIR,
            # A session of its own, which Ctrl-C does not reach: the worker ends with its standard
            # input.
            start_new_session=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        self._owner, self._ready, self._received = os.getpid(), False, b""
        return self._process

    def _read(self, process: "subprocess.Popen[bytes]", deadline: float) -> JsonObject:
        """The next line; raises TimeoutError and _Died."""
        assert process.stdout is not None
        while b"\n" not in self._received:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
                raise TimeoutError
            chunk = os.read(process.stdout.fileno(), 65536)
            if not chunk:
                raise _Died
            self._received += chunk
        line, _, self._received = self._received.partition(b"\n")
        answer: JsonObject = json.loads(line)
        return answer

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def close(self) -> None:
        """End the worker if this process started it; the next request starts another one."""
        if self._owner == os.getpid():
            with self._lock:
                self._end()


_worker: Final = WorkerProcess()
# It would end by itself; closing it avoids Python's ResourceWarning about a running child.
atexit.register(_worker.close)
