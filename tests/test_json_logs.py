"""LOG_FORMAT=json: each line is an object, without a secret in any field."""

import io
import json
import logging
import logging.config
from pathlib import Path
from typing import Any

import pytest

from tests.documents import blocks
from tests.processes import ROOT, run_manage

SECRET = "opaque-0123456789-value"


@pytest.fixture
def lines() -> Any:
    """A function that logs by the configuration of the page, and returns what was written."""
    (code,) = blocks((ROOT / "docs" / "how-to" / "logs.md").read_text(), "python")
    scope: dict[str, Any] = {}
    exec(code, scope)
    config = scope["LOGGING"]
    written = io.StringIO()
    config["handlers"]["console"]["stream"] = written
    config["loggers"] = {"example": {"handlers": config["root"]["handlers"], "propagate": False}}
    del config["root"]
    logging.config.dictConfig(config)

    def log(*args: object, **options: Any) -> dict[str, Any]:
        logging.getLogger("example").error(*args, **options)
        parsed: dict[str, Any] = json.loads(written.getvalue())
        assert SECRET not in written.getvalue()
        return parsed

    yield log
    logging.getLogger("example").handlers.clear()


def test_each_line_is_an_object_with_its_fields(lines: Any) -> None:
    found = lines("connected %s", "AAPL", extra={"code": 4401, "user": "alice"})
    assert found["time"].endswith("+00:00")
    del found["time"]
    assert found == {
        "level": "ERROR", "logger": "example", "message": "connected AAPL", "code": 4401,
        "user": "alice",
    }  # fmt: skip


@pytest.mark.parametrize(
    "value",
    [
        f"/ws/alerts?token={SECRET}",
        {"headers": [{"authorization": f"Bearer {SECRET}"}]},
        {"password": SECRET},
        [f"redis://:{SECRET}@host/0"],
        Path(f"?token={SECRET}"),
    ],
)
def test_extra_fields_hide_secrets(lines: Any, value: object) -> None:
    assert "[redacted]" in json.dumps(lines("x", extra={"detail": value}))


def test_a_field_with_the_name_of_a_secret_hides_its_value(lines: Any) -> None:
    assert lines("x", extra={"api_key": SECRET})["api_key"] == "[redacted]"


def test_exceptions_hide_secrets(lines: Any) -> None:
    try:
        raise ValueError(f"?token={SECRET}")
    except ValueError:
        assert "[redacted]" in lines("failed", exc_info=True)["exc_info"]


def test_the_variable_chooses_the_format(tmp_path: Path) -> None:
    code = "import logging; logging.getLogger('realtime').warning('hello')"
    result = run_manage(tmp_path, "shell", "-v0", "-c", code, LOG_FORMAT="json")
    (line,) = [line for line in result.stderr.splitlines() if "hello" in line]
    assert json.loads(line)["message"] == "hello"


def test_a_format_that_is_unknown_is_named(tmp_path: Path) -> None:
    result = run_manage(tmp_path, "check", LOG_FORMAT="xml")
    assert "LOG_FORMAT" in result.stderr
    assert "plain" in result.stderr
