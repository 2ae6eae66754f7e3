"""Which alerts a subscription passes on: each once, and only those that were asked for."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, get_args

Severity = Literal["low", "medium", "high", "critical"]
_SEVERITIES: Final = get_args(Severity)
_REMEMBERED: Final = 10_000


class AlertGate:
    """The filter that `configure_alerts` sets in the server, for what comes before it is set.

    With each connection the inbox comes again, as long as its alerts are not acknowledged.
    """

    def __init__(self, min_severity: Severity | None, symbols: Sequence[str] | None) -> None:
        self.config: dict[str, object] = {}
        if min_severity is not None:
            self.config["min_severity"] = min_severity
        if symbols is not None:
            self.config["symbols"] = list(symbols)
        self._too_low = _SEVERITIES[: _rank(min_severity)]
        self._symbols = None if symbols is None or "*" in symbols else frozenset(symbols)
        self._seen: dict[str, None] = {}

    def passes(self, alert: Mapping[str, Any]) -> bool:
        """An alert without a severity, or without a symbol, is not held back by that condition."""
        data, id = alert["data"], alert["id"]
        symbol = data.get("symbol")
        wanted = self._symbols is None or not isinstance(symbol, str)
        wanted = wanted or symbol.upper() in (self._symbols or ())
        if id in self._seen or data.get("severity") in self._too_low or not wanted:
            return False
        self._seen[id] = None
        if len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]
        return True


def _rank(min_severity: str | None) -> int:
    if min_severity is None:
        return 0
    if min_severity not in _SEVERITIES:
        raise ValueError(f"min_severity is one of {', '.join(_SEVERITIES)}, not {min_severity!r}")
    return _SEVERITIES.index(min_severity)
