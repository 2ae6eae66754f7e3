"""Documentation that could drift from the code: settings, commands, links, imports."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Collection, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from django.conf import global_settings
from django.db.migrations.loader import MigrationLoader

from realtime.conf import DECLARED
from realtime.version import VERSION
from tests.documents import README, rows, section, section_of
from tests.patience import scaled
from tests.processes import ROOT

CONTRIBUTING = ROOT / "CONTRIBUTING.md"
DOCS = ROOT / "docs"
TESTS = ROOT / "tests"
SETTINGS = (ROOT / "ara_project" / "settings.py").read_text()
COMMANDS = ROOT / "realtime" / "management" / "commands"


def test_the_readme_stays_short() -> None:
    assert README.read_text().count("\n") <= 250


# Idiom that a native writer would not use, and that hides the subject of a sentence.
UNENGLISH = [
    r"\banew\b",
    r"\b[Ww]hoever\b",
    r"\bfor ever\b",
    r"\b(?:by|to|for|of) who\b",
    r"(?<!there )(?<!There )\bis (?:no|none)\b(?! longer\b| more than\b)",
]


def written_here() -> list[Path]:
    """Text of this project: neither vendored, nor made by Django, nor quoted."""
    names = ["*.py", "*.md", "*.html", "*.js", "*.mjs"]
    foreign = [":!*/migrations/*", ":!tests/customer_document.md", ":!tests/asyncapi"]
    foreign.append(":!*/vendor/*")
    command = ["git", "ls-files", "-z", *names, *foreign]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).exists()]


@pytest.mark.parametrize("pattern", UNENGLISH)
def test_the_english_is_idiomatic(pattern: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in written_here()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(pattern, line)
    ]
    assert found == []


# A second and more, in figures: what waits for less waits for something that must not come.
BARE_WAIT = re.compile(
    r"(?:asyncio\.timeout\(|asyncio\.wait_for\(.*, |\.wait\(|\bjoin\(|communicate\(timeout="
    r"|urlopen\(.*timeout=|get_message\(timeout=|monotonic\(\) \+ |- began < )[1-9][\d_.]*\b"
)


def test_no_wait_is_written_in_figures_alone() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in written_here()
        if path.suffix == ".py" and path.is_relative_to(TESTS)
        if path.relative_to(TESTS).parts[0] not in ("bench", "soak")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if BARE_WAIT.search(line)
    ]
    assert found == [], "these bounds do not scale: take PATIENCE or scaled() of tests.patience"


def test_the_version_is_the_newest_of_the_changelog() -> None:
    versions = re.findall(r"^## (\d\S+) \(", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert versions[0] == VERSION


def test_every_page_is_in_the_navigation() -> None:
    listed = set(re.findall(r"- ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M))
    assert listed == {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}


def test_every_link_leads_somewhere() -> None:
    for page in [*DOCS.rglob("*.md"), *ROOT.glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


NAMED_TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def test_the_tests_that_pages_name_exist() -> None:
    for page in [*DOCS.rglob("*.md"), *ROOT.glob("*.md")]:
        for file, name in NAMED_TEST.findall(page.read_text()):
            assert (ROOT / file).exists(), f"{page.name} names {file}"
            found = re.search(rf"^(?:async )?def {name}\(", (ROOT / file).read_text(), re.M)
            assert found or not name, f"{page.name} names {file}::{name}"


@pytest.mark.parametrize("page", ["SECURITY.md", "docs/explanation/delivery.md"])
def test_every_promise_names_a_test_that_holds_it(page: str) -> None:
    _, _, table = (ROOT / page).read_text().partition("| promise | held by")
    promises = table.partition("\n\n")[0].splitlines()[2:]
    assert promises
    assert [
        each for each in promises if not re.search(r"`tests/[\w/]*test_", each.split(" | ")[-1])
    ] == []


def test_the_table_of_changes_names_what_exists() -> None:
    text = section_of(CONTRIBUTING.read_text(), "Where to change what")
    assert text is not None
    places = re.findall(r"\| `([\w/]+\.py)` \| (`.+`) \|$", text, re.M)
    assert len(places) == text.count("\n|") - 2  # each row below the head
    for file, cell in places:
        code = (ROOT / file).read_text()
        for name in re.findall(r"`(\w+)`", cell):
            assert re.search(rf"^ *(?:class |(?:async )?def )?{name}\b", code, re.M), (file, name)


def test_the_migrations_have_one_end() -> None:
    """Two that follow the same one: let the later one of both depend on the other."""
    assert MigrationLoader(None).detect_conflicts() == {}


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "mkdocs", "build", "--strict", "--site-dir"]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    result = subprocess.run(
        [*command, str(tmp_path)], cwd=ROOT, env=environment, capture_output=True, text=True,
        timeout=scaled(120), check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    pages = list(tmp_path.rglob("*.html"))
    loaded = [
        url
        for page in pages
        for url in re.findall(
            r"<(?:script|link|img)[^>]+(?:src|href)=\"(https?://[^\"]+)", page.read_text()
        )
    ]
    assert pages
    assert loaded == []  # from elsewhere


# Each variable of the environment that sets a setting of the app.
OF_THE_APP = {
    name: kind for setting in DECLARED.values() for name, kind in setting.variables.items()
}
UNITS = {name: setting.unit for setting in DECLARED.values() for name in setting.variables}


def read_by_the_project() -> set[str]:
    return set(re.findall(r'env\.\w+\(\s*"([A-Z_]+)"', SETTINGS))


def names_in(cell: str, known: set[str]) -> list[str]:
    """`A_ONE`, `…_TWO` are A_ONE and A_TWO."""
    first, *others = re.findall(r"`([^`]+)`", cell)
    names = [first]
    for other in others:
        if not other.startswith("…"):
            names.append(other)
            continue
        parts = first.split("_")
        beginnings = ("_".join(parts[:count]) for count in range(len(parts), 0, -1))
        whole = (beginning + other[1:] for beginning in beginnings)
        names.append(next((name for name in whole if name in known), other))
    return names


def table(title: str, known: Collection[str]) -> Iterator[tuple[str, str, list[str]]]:
    """Each name with its own default, and the other cells of its row."""
    for names, defaults, *others in rows(title):
        own, given = names_in(names, set(known)), re.findall(r"`([^`]*)`", defaults)
        values = given if len(given) == len(own) else [defaults.strip("`")] * len(own)
        yield from ((name, value, others) for name, value in zip(own, values, strict=True))


def test_the_reference_lists_every_setting_and_no_other_one() -> None:
    listed = [name for name, *_ in table("Settings of the app", OF_THE_APP)]
    assert sorted(listed) == sorted(OF_THE_APP)
    around = {name for name in DECLARED if name.startswith("REALTIME_")}
    around -= {setting.name for setting in DECLARED.values() if setting.environment}
    assert {name for name, *_ in table("Settings around the app", around)} == around


def test_the_reference_lists_every_variable_and_no_other_one() -> None:
    known = read_by_the_project()
    assert {name for name, *_ in table("Variables of this project", known)} == known


def test_the_defaults_and_units_in_the_reference_are_those_of_the_app() -> None:
    for name, default, (unit, _) in table("Settings of the app", OF_THE_APP):
        assert unit == UNITS[name], name
        if name != "REALTIME_ALLOWED_ORIGINS":  # says where else origins come from
            kind = OF_THE_APP[name]
            found, expected = kind.parse(name, default), kind.default
            assert found == (list(expected) if isinstance(found, list) else expected), name


def test_the_numbers_in_the_reference_are_those_of_the_project() -> None:
    numbers = re.findall(r'env\.count\(\s*"([A-Z_]+)",\s*default=([0-9_* ]+)', SETTINGS)
    documented = {name: default for name, default, _ in table("Variables of this project", ())}
    assert len(numbers) == 3
    for name, default in numbers:
        assert int(documented[name]) == eval(default), name  # digits and * only


def test_the_project_repeats_no_default_of_the_app() -> None:
    assert set(re.findall(r"^([A-Z_]+) *[:=]", SETTINGS, re.M)) & set(DECLARED) == {
        "ASGI_APPLICATION", "BASE_DIR", "CHANNEL_LAYERS", "ROOT_URLCONF",
        "REALTIME_EMBEDDED_VALKEY", "REALTIME_KNOWN_VARIABLES", "REALTIME_VAR_DIR",
    }  # fmt: skip
    assert not read_by_the_project() & set(OF_THE_APP)


def test_the_reference_lists_every_command() -> None:
    commands = {path.stem for path in COMMANDS.glob("[a-z]*.py")}
    listed = set(re.findall(r"`(?:python manage.py )?([a-z_]+)", section("Commands")))
    assert commands <= listed, commands - listed


# Imports point one way: a room may use those before it, and what is named with it.
ROOMS = [
    {"setting_kinds"},
    {"conf"},
    {
        "version",
        "scopes",
        "streams",
        "shapes",
        "db",
        "users",
        "hours",
        "threads",
        "cancelling",
        "extras",
        "standalone.valkey",
        "values",
        "remembered",
        "pages",
        "isolation",
    },
    {"bars.candles", "bars.ticks"},
    {"protocol", "asyncapi", "asyncapi_fields", "update_data"},
    {"payloads"},
    {"delivery"},
    {"broadcast"},
    {"retry", "workers", "aside", "testing", "pytest_plugin"},
    {"models", "connections", "webhook_addresses", "webhook_secrets"},
    {"access", "limits"},
    {"webhooks"},
    {"predictions"},
    {"feeds", "bars", "alerts"},
    {"retention"},
    {"session"},
    {"middleware", "consumers"},
    {"routing"},
    {"compression", "tasks", "api", "admin", "checks", "standalone"},
    {
        "doctor",
        "loadtest",
        "management",
        "apps",
        "urls",
        "views",
        "destination_pages",
        "asgi",
        "sse",
        "templatetags",
    },
]
RANK = {name: rank for rank, names in enumerate(ROOMS) for name in names}


def room_of(module: str) -> str:
    """`delivery` for `delivery.fanout`; a few modules are rooms of their own."""
    return module if module in RANK else module.partition(".")[0]


def imports(path: Path) -> Iterator[str]:
    """The rooms of realtime that a module imports from, at whatever depth."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            package, _, rest = node.module.partition(".")
            if package == "realtime":
                for alias in node.names:
                    whole = f"{rest}.{alias.name}" if rest else alias.name
                    yield whole if whole in RANK else room_of(rest or alias.name)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("realtime."):
                    yield room_of(alias.name.removeprefix("realtime."))


def modules_imported(path: Path) -> set[str]:
    """All modules that a module may import from: `from a import b` may be a.b or b of a."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


MODULES = sorted(
    path for path in (ROOT / "realtime").rglob("*.py") if "migrations" not in path.parts
)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    parts = path.relative_to(ROOT / "realtime").with_suffix("").parts
    if parts == ("__init__",):
        return
    own = RANK[room_of(".".join(parts))]
    for room in imports(path):
        assert RANK[room] <= own, f"{parts[0]} imports {room}"


def test_no_module_imports_itself_by_way_of_others() -> None:
    """Imports that only a type checker follows count as well."""
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in MODULES}
    names = {name.removesuffix(".__init__"): path for name, path in names.items()}
    graph = {name: modules_imported(path) & names.keys() - {name} for name, path in names.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as exc:
        pytest.fail(" -> ".join(exc.args[1]))


def test_broadcast_and_what_it_uses_know_no_models() -> None:
    for room in ("broadcast.py", "streams.py", "protocol.py"):
        assert "models" not in set(imports(ROOT / "realtime" / room))
    for path in (ROOT / "realtime" / "delivery").rglob("*.py"):
        assert "models" not in set(imports(path)), path.name


def test_nobody_imports_the_consumers_but_the_routing() -> None:
    for path in MODULES:
        if path.name != "routing.py" and "consumers" not in path.parts:
            assert "consumers" not in set(imports(path)), path.name


PACKAGES = sorted({path.parent for path in MODULES} - {COMMANDS})


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_docstring_of_a_package_names_its_modules(package: Path) -> None:
    text = ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""
    modules = {path.stem for path in package.glob("*.py")} - {"__init__"}
    assert modules <= set(re.findall(r"`(\w+)`", text))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_setting_that_the_app_reads_has_a_default(path: Path) -> None:
    read = re.findall(r"(?<![\w.])settings\.([A-Z_]+)\b(?! = )", path.read_text())
    read += re.findall(r"getattr\(settings, \"([A-Z_]+)\"", path.read_text())
    assert [name for name in read if not hasattr(global_settings, name)] == []


def test_the_app_knows_nothing_of_the_project_around_it() -> None:
    folder = ROOT / "realtime"
    texts = [path for path in folder.rglob("*") if path.suffix in {".py", ".html", ".js", ".css"}]
    assert [str(path) for path in texts if "ara_project" in path.read_text()] == []
