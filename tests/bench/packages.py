"""Rivals that this project does not require, installed into var/bench/ on first use."""

import shutil
import subprocess
import sys

from tests.bench.processes import ROOT

BENCH_DIR = ROOT / "var" / "bench"
NODE_MODULES = BENCH_DIR / "node" / "node_modules"
PYTHON_PACKAGES = BENCH_DIR / "python"
INSTALL_SECONDS = 120


def ws_missing() -> str | None:
    """Why Node `ws` cannot run, after trying to install it."""
    if shutil.which("node") is None:
        return "node is not installed"
    if not (NODE_MODULES / "ws").exists():
        if shutil.which("npm") is None:
            return "npm is not installed"
        prefix = NODE_MODULES.parent
        prefix.mkdir(parents=True, exist_ok=True)
        return _install("npm", "install", "--prefix", str(prefix), "--no-audit", "ws@8")
    return None


def fastapi_missing() -> str | None:
    """Why FastAPI cannot run, after trying to install it."""
    if (PYTHON_PACKAGES / "fastapi").exists():
        return None
    if shutil.which("uv") is not None:
        installer = ["uv", "pip", "install", "--python", sys.executable]
    else:
        installer = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check"]
    return _install(*installer, "--target", str(PYTHON_PACKAGES), "fastapi>=0.115")


def _install(*command: str) -> str | None:
    print(f"Installing: {' '.join(command)}", file=sys.stderr, flush=True)
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        return f"{command[0]} failed: {exc}"
    lines = done.stderr.strip().splitlines()
    return (
        f"{command[0]} failed: {lines[-1] if lines else done.returncode}"
        if done.returncode
        else None
    )
