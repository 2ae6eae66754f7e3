"""Runs probes at once, in threads of their own: none waits for another one, or stops it."""

import threading
import time
from collections.abc import Iterator, Sequence
from queue import Empty, SimpleQueue

from django.db import connections

from realtime.doctor.findings import Finding, Probe, error


class _Run:
    """One probe in its thread. What it finds before it hangs is kept."""

    def __init__(self, probe: Probe, ended: "SimpleQueue[_Run]") -> None:
        self.probe = probe
        self.findings: list[Finding] = []
        self._ended = ended
        self.deadline = time.monotonic() + probe.seconds
        # A daemon: one that hangs in a driver does not keep the process.
        threading.Thread(target=self._run, name=probe.name, daemon=True).start()

    def _run(self) -> None:
        try:
            for finding in self.probe.run():
                self.findings.append(finding)
        except Exception as exc:  # drivers and settings may raise anything
            self.findings.append(_failed(self.probe, exc))
        finally:
            self._ended.put(self)
            connections.close_all()


def run_probes(probes: Sequence[Probe]) -> Iterator[tuple[Probe, list[Finding]]]:
    """Each probe with its findings, as soon as it ends or its time is over."""
    ended: SimpleQueue[_Run] = SimpleQueue()
    running = [_Run(probe, ended) for probe in probes]
    while running:
        first = min(running, key=lambda run: run.deadline)
        try:
            run = ended.get(timeout=max(0.0, first.deadline - time.monotonic()))
        except Empty:
            running.remove(first)
            yield first.probe, [*first.findings, _hangs(first.probe)]
            continue
        if run in running:
            running.remove(run)
            yield run.probe, run.findings


def _failed(probe: Probe, exc: Exception) -> Finding:
    text = f"could not be examined: {str(exc) or type(exc).__name__}"
    return error(probe.name, text, "Mend what the other findings name, and run this once more.")


def _hangs(probe: Probe) -> Finding:
    return error(
        probe.name,
        f"did not answer within {probe.seconds:g} s",
        "Something accepts connections and does not answer: look for a frozen process, a full "
        "disk, a lock or a firewall on the way.",
    )
