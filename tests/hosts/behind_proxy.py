"""A project that a proxy serves below a path."""

from tests.hosts.settings import *  # noqa: F403

FORCE_SCRIPT_NAME = "/shop"
