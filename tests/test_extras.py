import importlib
from importlib.metadata import PackageNotFoundError

import pytest

from realtime import extras
from realtime.extras import MissingExtra, extra


def import_what_is_not_there() -> None:
    with extra("forecast", needed_by="GARCH"):
        importlib.import_module("no_such_package.part")


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "distribution", str)  # as in a project that installed the app
    with pytest.raises(MissingExtra) as caught:
        import_what_is_not_there()
    assert str(caught.value) == (
        "GARCH needs no_such_package: pip install 'ara-realtime[forecast]'"
    )


def test_a_checkout_has_a_file_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_installed(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(extras, "distribution", not_installed)
    with pytest.raises(MissingExtra, match=r"pip install -r requirements-forecast\.txt$"):
        import_what_is_not_there()


def test_what_is_there_is_imported() -> None:
    with extra("forecast", needed_by="GARCH"):
        found = importlib.import_module("json")
    assert found.loads("1") == 1
