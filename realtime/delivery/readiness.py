"""What probes ask for: whether this process takes newcomers. For every server, not ours only."""

from typing import Final

# Answered whatever else is in work.
PROBES: Final = frozenset({"/healthz", "/readyz"})


class _Draining:
    """Whether this process has begun to stop; readiness answers 503 from then on."""

    value = False


def is_draining() -> bool:
    return _Draining.value


def begin_draining() -> None:
    _Draining.value = True
