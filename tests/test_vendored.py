"""Libraries of others that the app ships: unchanged, of one version, with their licence."""

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.processes import ROOT

VENDOR = ROOT / "realtime" / "static" / "realtime" / "vendor"
LIBRARIES = sorted(path for path in VENDOR.iterdir() if path.is_dir())
SCRIPTS = [path for path in VENDOR.parent.rglob("*.js") if VENDOR not in path.parents]

each_library = pytest.mark.parametrize("library", LIBRARIES, ids=lambda path: path.name)


def origin(library: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((library / "origin.json").read_text())
    return found


@each_library
def test_what_is_vendored_is_what_was_published(library: Path) -> None:
    for name, file in origin(library)["files"].items():
        digest = hashlib.sha384((library / name).read_bytes()).digest()
        assert file["integrity"] == f"sha384-{base64.b64encode(digest).decode()}", name


@each_library
def test_a_library_has_its_licence_and_no_file_of_unknown_origin(library: Path) -> None:
    known = {"LICENSE", "NOTICE", "origin.json", *origin(library)["files"]}
    assert {path.name for path in library.iterdir()} == known
    assert "Apache License" in (library / "LICENSE").read_text()
    assert origin(library)["license"] == "Apache-2.0"


@each_library
def test_the_version_is_the_one_that_the_file_names(library: Path) -> None:
    about = origin(library)
    for name in about["files"]:
        assert f"v{about['version']}\n" in (library / name).read_text()[:400]
    assert about["package"]["url"].endswith(f"/{about['name']}-{about['version']}.tgz")


def test_a_page_loads_a_library_only_when_it_needs_it() -> None:
    named = [
        line.strip()
        for path in [*SCRIPTS, *(ROOT / "realtime" / "templates").rglob("*.html")]
        for line in path.read_text().splitlines()
        if "vendor/" in line
    ]
    assert named
    assert [line for line in named if not re.search(r'import\("[./]+/vendor/', line)] == []
