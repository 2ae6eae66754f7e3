"""The notebook in examples/, run from the first cell to the last one against a live market."""

import subprocess
import sys
from collections.abc import Iterator

import nbformat
import pytest
from nbclient import NotebookClient

from tests.patience import STOP_SECONDS, scaled
from tests.processes import ROOT, LiveServer, process_environment

pytestmark = pytest.mark.slow

NOTEBOOK = ROOT / "examples" / "notebook.ipynb"
# A day of the market in a tenth of a second; what `make run` has, only faster.
MARKET = (("run_feed", "--symbols", "IBM", "--rate", "20"), ("run_background",))


@pytest.fixture
def market(server: LiveServer) -> Iterator[None]:
    environment = process_environment(server.directory, server.environment)
    processes = [
        subprocess.Popen(
            [sys.executable, "manage.py", *arguments], cwd=ROOT, env=environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for arguments in MARKET
    ]  # fmt: skip
    yield
    for process in processes:
        process.kill()
    for process in processes:
        process.wait(STOP_SECONDS)


@pytest.mark.usefixtures("market")
def test_the_notebook_runs(server: LiveServer, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARA_URL", server.http)
    monkeypatch.setenv("ARA_API_KEY", key)
    monkeypatch.setenv("ARA_SYMBOL", "IBM")  # other tests publish prices of AAPL
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "clients" / "python"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=int(scaled(60)), kernel_name="python3").execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pages = [output["data"] for output in shown if "data" in output]
    assert any("image/png" in page for page in pages)
    assert "PredictionOutcome" in pages[-2]["text/plain"]
    assert "notebook" in pages[-1]["text/plain"]
