"""Tests reach nobody outside: how a test run is recognised, and the channel layer that it has.

Imports nothing but settings, so that a project's own settings and pytest may use it.
"""

import os
import sys
import uuid
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, Final

from django.conf import settings

from realtime.conf import conf

# The name that keys and channels of a test run have in Redis. Set for the processes that tests
# start, which find each other by it.
VARIABLE: Final = "REALTIME_TEST_NAMESPACE"
_MEMORY: Final = "realtime.delivery.layers.MemoryStreamLayer"
_IN_ONE_PROCESS: Final = (_MEMORY, "channels.layers.InMemoryChannelLayer")

Layer = Mapping[str, Any]


def under_test() -> bool:
    """Is this the process of a test runner? Processes that a test starts are not.

    Each sign is one that no server and no worker has.
    """
    return _in_pytest() or _in_test_command() or _in_test_environment()


def _in_pytest() -> bool:
    return "pytest" in sys.modules and "PYTEST_VERSION" in os.environ


def _in_test_command() -> bool:
    """`manage.py test`, before its runner begins. `testserver` has a test database, too."""
    if sys.argv[1:2] not in (["test"], ["testserver"]):
        return False
    program = PurePath(sys.argv[0])
    return program.stem in ("manage", "django-admin") or program.parts[-2:] == (
        "django",
        "__main__.py",
    )


def _in_test_environment() -> bool:
    """Has a runner of any kind called `setup_test_environment()`?"""
    utils = sys.modules.get("django.test.utils")
    return hasattr(getattr(utils, "_TestState", None), "saved_data")


def namespace() -> str:
    """What the names in Redis end their prefix with: empty unless tests or their processes run."""
    known = os.environ.get(VARIABLE)
    if not under_test():
        return known or ""
    if known is None:
        known = f"test-{uuid.uuid4().hex[:12]}"
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if known and not known.endswith(worker):
        known = f"{known}-{worker}"
    os.environ[VARIABLE] = known
    return known


def isolate() -> None:
    """Give a test run channel layers that no other process hears.

    In memory; or as the layer's TEST_CONFIG says, also in the processes that tests start.
    """
    own = namespace()  # before any process is started
    if own or under_test():
        layers: Mapping[str, Layer] = conf.CHANNEL_LAYERS
        settings.CHANNEL_LAYERS = {alias: _isolated(alias, layers[alias]) for alias in layers}


def _isolated(alias: str, layer: Layer) -> Layer:
    backend = layer.get("BACKEND", "")
    ours = backend.startswith("realtime.")
    if backend in _IN_ONE_PROCESS or not (ours or alias == "default"):
        return layer
    config = layer.get("TEST_CONFIG")
    if config is None and under_test():
        return {"BACKEND": _MEMORY}
    config = dict(layer.get("CONFIG", {}) if config is None else config)
    if backend.startswith("channels_redis."):  # ours does it itself
        config["prefix"] = prefixed(config.get("prefix", "asgi"))
    return {**layer, "CONFIG": config}


def prefixed(prefix: str) -> str:
    """A prefix of names in Redis, of this test run if there is one."""
    own = namespace()
    return f"{prefix}-{own}" if own else prefix
