"""A short soak; the long one is `make soak`."""

from pathlib import Path

import pytest

from tests.soak.__main__ import soak

# Those that cost no data: whatever comes after them, every update and alert arrives once.
FAULTS = [
    "an engine comes and goes",
    "web is killed",
    "redis restarts",
    "background is replaced",
    "connections to redis break",
    "publisher is killed",
]


@pytest.mark.slow
async def test_nothing_is_lost_and_nothing_hangs_while_machines_fail(tmp_path: Path) -> None:
    account = await soak(tmp_path, seconds=40, clients=30, seed=1, postgres=False, faults=FAULTS)
    assert account.confirmed
    assert account.violations == []
