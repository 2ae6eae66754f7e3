"""What a load test is asked for."""

import ipaddress
import resource
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

# The streams that load tests publish to, always the same ones: those of an earlier run are used
# again. They expire as others do, and their updates have no price, so nobody records them.
PREFIX: Final = "LOADTEST-"
# Open files that the process needs beside its connections.
_SPARE_FILES: Final = 64


class InvalidAim(ValueError):
    """Says which option asks for what cannot be done, and the way out."""


@dataclass(frozen=True, slots=True)
class Aims:
    """`rate`: updates a second of each symbol; `duration`: seconds; `size`: bytes of an update.

    `each`: how many of the symbols every connection follows.
    """

    site: str
    key: str | None
    over_http: bool
    connections: int
    symbols: int
    each: int
    rate: float
    duration: float
    size: int

    def __post_init__(self) -> None:
        if self.each > self.symbols:
            raise InvalidAim(f"--each: {self.each} of {self.symbols} symbols; add --symbols")

    @property
    def names(self) -> list[str]:
        return [f"{PREFIX}{number}" for number in range(1, self.symbols + 1)]

    def followed_by(self, number: int) -> list[str]:
        """The symbols of one connection; each symbol has as many followers as the others."""
        names = self.names
        first = number * self.each
        return [names[(first + place) % len(names)] for place in range(self.each)]

    @property
    def updates(self) -> int:
        """How many updates there are in all."""
        return max(1, round(self.rate * self.symbols * self.duration))


def checked_site(text: str, *, anywhere: bool) -> tuple[str, bool]:
    """The address of a server without a slash at its end, and whether it is on this machine.

    Raises InvalidAim.
    """
    try:
        parts = urlsplit(text.strip())
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or parts.query or parts.fragment:
        raise InvalidAim(
            f"--url: {text!r} is not the address of a server, like http://127.0.0.1:8000"
        )
    local = _is_loopback(host)
    if not local and not anywhere:
        raise InvalidAim(
            f"--url: {host} is another machine, and a load test can make it unusable for others. "
            "Add --yes if that is what you want."
        )
    return text.strip().rstrip("/"), local


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def allow_files(connections: int) -> None:
    """Raise the limit of open files as far as this takes; raises InvalidAim."""
    needed = connections + _SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise InvalidAim(
            f"--connections: {connections} need {needed} open files, and this process may have "
            f"{hard}. Allow more with `ulimit -Hn {needed}` as root, or ask for fewer."
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
