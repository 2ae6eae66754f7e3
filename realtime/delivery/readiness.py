"""Whether this process accepts new connections, for probes. Works with any ASGI server."""

from typing import Final

# Paths answered at once, however many requests are in work.
PROBES: Final = frozenset({"/healthz", "/readyz"})


class _Draining:
    """Whether this process has begun to stop; readiness answers 503 from then on."""

    value = False


def is_draining() -> bool:
    return _Draining.value


def begin_draining() -> None:
    _Draining.value = True
