import pytest

from tests.installed.environment import Environment, make_environment


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The wheel without any extra."""
    environment = make_environment(tmp_path_factory.mktemp("core"))
    environment.install()
    return environment


@pytest.fixture(scope="module")
def full(core: Environment) -> Environment:
    """The same, with the extras that the projects in these tests use."""
    core.install("serve", "standalone", "daphne", "celery", beside=("psycopg[binary]",))
    return core
