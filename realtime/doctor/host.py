"""This machine: open files and disk."""

import os
import resource
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from django.db import connection

from realtime.conf import conf
from realtime.connections import StatisticsUnavailable, connection_manager
from realtime.delivery.files import RESERVE
from realtime.doctor.findings import Finding, error, ok, warning
from realtime.workers import process_name

# A server that may open fewer files than this one refuses clients that others would take.
_FEW_FILES: Final = 4096
_TOO_FEW_FILES: Final = 256
_MIB: Final = 1024 * 1024
_TIGHT: Final = 1024 * _MIB
_FULL: Final = 100 * _MIB


def examine_files() -> Iterator[Finding]:
    # `serve` raises its own limit as far as it may.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield file_finding("open files", most)
    for pid in _servers_here():
        limit, used = _files_of(pid)
        if limit and used > limit * 0.9:
            yield error(
                "open files", f"server process {pid} has {used} of {limit} files open",
                "Raise LimitNOFILE= of its unit (ulimit -n), or start more workers.",
            )  # fmt: skip


def file_finding(subject: str, limit: int) -> Finding:
    if limit in (resource.RLIM_INFINITY, -1):
        return ok(subject, "a process may open any number")
    text = f"a process may open {limit}: {max(0, limit - RESERVE)} connections per server process"
    if limit >= _FEW_FILES:
        return ok(subject, text)
    make = error if limit < _TOO_FEW_FILES else warning
    return make(
        subject, text, "Set LimitNOFILE=65536 in the unit of the server (or ulimit -n 65536)."
    )


def _servers_here() -> list[int]:
    """The server processes of this machine that have sockets."""
    host = process_name().rpartition(":")[0]
    try:
        names = connection_manager.get_processes().values()
    except StatisticsUnavailable:
        return []
    split = (name.rpartition(":") for name in names)
    return [int(pid) for where, _, pid in split if where == host and pid.isdigit()]


def _files_of(pid: int) -> tuple[int, int]:
    """The limit of a process and its open files; zeros where that cannot be read."""
    try:
        limit, _ = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        return limit, len(os.listdir(f"/proc/{pid}/fd"))
    except (OSError, AttributeError):  # another user's, or not Linux
        return 0, 0


def examine_disk() -> Iterator[Finding]:
    directory = conf.REALTIME_VAR_DIR
    try:
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as exc:
        yield error(
            "VAR_DIR", f"{directory} cannot be written: {exc.strerror}",
            "Create it, and give it to the user that runs the server; or set VAR_DIR.",
        )  # fmt: skip
    else:
        yield disk_finding("VAR_DIR", directory, shutil.disk_usage(directory).free)
    if connection.vendor == "sqlite" and (file := Path(connection.settings_dict["NAME"])).exists():
        yield disk_finding("database file", file, shutil.disk_usage(file.parent).free)


def disk_finding(subject: str, path: Path, free: int) -> Finding:
    text = f"{free // _MIB} MiB are free for {path}"
    way_out = "Delete or move what is not needed, or shorten REALTIME_PREDICTION_DAYS and others."
    if free < _FULL:
        return error(subject, text, way_out)
    return warning(subject, text, way_out) if free < _TIGHT else ok(subject, text)
