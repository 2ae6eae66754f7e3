"""The JavaScript client as others get it: types, bundles, and the package that npm makes."""

import gzip
import json
import re
import tarfile
from pathlib import Path

import pytest

from realtime.version import VERSION
from tests import npm
from tests.conftest import require, require_program
from tests.live import create_people
from tests.npm import PROJECT, run
from tests.processes import ROOT, LiveServer
from tests.test_customer_document import COMPLETE_CLIENT, live

CLIENT = ROOT / "realtime" / "static" / "realtime" / "client"
PACKAGE = json.loads((CLIENT / "package.json").read_text())
README = (CLIENT / "README.md").read_text()
EXAMPLES = PROJECT / "package"
MAX_BYTES = 6 * 1024
NAME = "ara-realtime-client"


@pytest.fixture(scope="module")
def modules() -> Path:
    return npm.node_modules()


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `npm pack` makes of the folder."""
    directory = tmp_path_factory.mktemp("packed")
    run([require_program("npm"), "pack", str(CLIENT), "--pack-destination", directory], directory)
    return next(directory.glob("*.tgz"))


@pytest.fixture(scope="module")
def installed(packed: Path, modules: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but the installed package, and `ws` for Node 20."""
    directory = tmp_path_factory.mktemp("installed")
    (directory / "package.json").write_text('{"private": true, "type": "module"}')
    npm_program = require_program("npm")
    run([npm_program, "install", "--offline", "--no-audit", "--no-fund", packed], directory)
    (directory / "node_modules" / "ws").symlink_to(modules / "ws")
    for example in EXAMPLES.iterdir():
        (directory / example.name).write_bytes(example.read_bytes())
    return directory


@pytest.fixture(scope="module")
def url(uvicorn: LiveServer) -> str:
    """Where a server is that has a price of AAPL."""
    uvicorn.manage("broadcast_market_data", "AAPL", '{"price": 149.5}')
    return f"{uvicorn.ws}/ws"


def bundle(modules: Path, entry: Path, target: Path, *options: str) -> str:
    esbuild = modules / ".bin" / "esbuild"
    run(
        [esbuild, entry, "--bundle", "--minify", "--format=esm", f"--outfile={target}", *options],
        entry.parent,
    )
    return target.read_text()


def snippets(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


# The folder ----------------------------------------------------------------------------------


def test_the_package_has_the_version_and_licence_of_the_project() -> None:
    assert PACKAGE["version"] == VERSION
    assert (CLIENT / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


def test_the_package_has_every_module_and_its_types(packed: Path) -> None:
    with tarfile.open(packed) as archive:
        names = {name.removeprefix("package/") for name in archive.getnames()}
    modules = {path.name for path in CLIENT.glob("*.js")}
    types = {f"types/{Path(name).stem}.d.ts" for name in modules}
    assert names == modules | types | {"package.json", "README.md", "LICENSE"}


def test_the_types_are_those_of_the_modules(modules: Path, tmp_path: Path) -> None:
    """Where it fails: tsc -p tests/js --outDir realtime/static/realtime/client/types."""
    run([modules / ".bin" / "tsc", "-p", PROJECT, "--outDir", tmp_path], PROJECT)
    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert made == {path.name: path.read_text() for path in (CLIENT / "types").iterdir()}


def test_the_whole_client_is_small(modules: Path, tmp_path: Path) -> None:
    content = bundle(modules, CLIENT / "index.js", tmp_path / "bundle.js")
    assert len(gzip.compress(content.encode(), 9)) <= MAX_BYTES


# The package in use ---------------------------------------------------------------------------


def test_strict_programs_have_typed_events_options_and_messages(
    modules: Path, installed: Path
) -> None:
    """The program in tests/js/package/example.ts, and one that is made of the wire examples."""
    examples = json.loads((ROOT / "tests" / "wire_examples.json").read_text())["server_to_client"]
    (installed / "wire.ts").write_text(
        f'import type {{ ServerMessage }} from "{NAME}";\n'
        f"export const messages: ServerMessage[] = {json.dumps(examples)};\n"
    )
    run([modules / ".bin" / "tsc", "-p", "."], installed)


@pytest.mark.parametrize("runtime", ["node", "node22", "node24"])
def test_the_installed_package_runs_in_node(
    runtime: str, modules: Path, installed: Path, url: str
) -> None:
    program = modules / runtime / "bin" / "node"
    if runtime == "node":
        program = Path(require_program("node"))
    require(program.exists(), f"npm has no {runtime} for this machine")
    assert run([program, "use.mjs", url], installed) == "AAPL 149.5\n"


def test_a_bundle_of_esbuild_runs(modules: Path, installed: Path, url: str) -> None:
    target = installed / "bundled.mjs"
    bundle(modules, installed / "use.mjs", target, "--external:ws")
    assert run([require_program("node"), target, url], installed) == "AAPL 149.5\n"


def test_vite_builds_a_page_with_the_client(modules: Path, installed: Path) -> None:
    (installed / "index.html").write_text('<script type="module" src="/page.js"></script>')
    (installed / "page.js").write_text(
        f'import {{ AraClient }} from "{NAME}";\nnew AraClient({{ symbols: "AAPL" }}).connect();\n'
    )
    run([modules / ".bin" / "vite", "build", "--logLevel", "error"], installed)
    [script] = (installed / "dist" / "assets").glob("*.js")
    assert "market-data" in script.read_text()


SYMBOLS = ("AAPL", "MSFT")
# The usage of the customer's document, with an import in the place of the class, then more.
SEED = """
import { ARAWebSocketClient } from "ara-realtime-client";
import WebSocket from "ws";
globalThis.WebSocket ??= WebSocket;
%s
const show = client.onPredictionUpdate;
client.onPredictionUpdate = (data) => {
    show(data);
    if (data.predicted_price === 150.25) client.subscribe("MSFT");
    else client.disconnect();
};
"""


def test_the_usage_of_the_document_runs_with_an_import(
    installed: Path, uvicorn: LiveServer
) -> None:
    for symbol, price in zip(SYMBOLS, (150.25, 410.5), strict=True):
        uvicorn.manage("broadcast_prediction", symbol, json.dumps({"predicted_price": price}))
    usage = COMPLETE_CLIENT.partition("// Usage")[2]
    program = installed / "seed.mjs"
    program.write_text(SEED % live(usage, uvicorn, create_people(uvicorn).key))
    printed = run([require_program("node"), program], installed)
    assert printed.splitlines() == [
        "New prediction: { predicted_price: 150.25 }",
        "New prediction: { predicted_price: 410.5 }",
    ]


def test_a_subclass_sees_every_message(installed: Path, url: str) -> None:
    """As those of the customer's class do: they replace `handleMessage`."""
    program = installed / "subclass.mjs"
    program.write_text("""
import { ARAWebSocketClient } from "ara-realtime-client";
import WebSocket from "ws";
class Prices extends ARAWebSocketClient {
    handleMessage(message) {
        console.log(message.type, message.data?.price ?? "");
        if (message.type === "market_data_update") this.disconnect();
    }
}
new Prices(process.argv[2] + "/market-data", "AAPL", null, { WebSocket }).connect();
""")
    printed = run([require_program("node"), program, url], installed).splitlines()
    assert [line.strip() for line in printed][-1] == "market_data_update 149.5"
    assert printed[0].strip() == "connected"


# Its README -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("language", "loader"), [("js", "js"), ("jsx", "jsx"), ("vue", "js")])
def test_the_examples_of_the_readme_are_valid(
    language: str, loader: str, modules: Path, tmp_path: Path
) -> None:
    found = snippets(language)
    assert found
    for number, snippet in enumerate(found):
        script = re.search(r"<script setup>(.*)</script>", snippet, flags=re.DOTALL)
        path = tmp_path / f"{number}.{loader}"
        path.write_text(script[1] if script else snippet)
        run([modules / ".bin" / "esbuild", path, "--format=esm"], tmp_path)


def test_the_components_of_the_readme_are_short() -> None:
    for snippet in (*snippets("jsx"), *snippets("vue")):
        assert len(snippet.strip().splitlines()) <= 15
