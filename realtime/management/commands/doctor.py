"""`manage.py doctor`: finds out what is wrong with a deployment, and says the way out."""

import json as jsons
import logging
import shutil
import sys
import textwrap
from argparse import ArgumentTypeError
from collections.abc import Iterable
from dataclasses import asdict
from urllib.parse import urlsplit

from django.core.management.base import BaseCommand, CommandParser

from realtime.doctor.findings import LEVELS, Finding, Level, Probe, worst
from realtime.doctor.probes import all_probes
from realtime.doctor.running import run_probes


class Command(BaseCommand):
    help = (
        "Find out what is wrong: settings, database, migrations, Redis, channel layer, workers, "
        "clocks, open files, disk and, with --url, the proxy. Each finding says the way out. "
        "Changes nothing, and shows no secret. Exits with 1 if a finding is at least --fail-level."
    )
    # A bad setting is a finding, and must not stop the others.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--url",
            type=_site,
            help="also the site as its clients reach it: https://realtime.example.com. ARA_API_KEY "
            "in the environment is its key, SSL_CERT_FILE the authority of its certificate",
        )
        parser.add_argument("--json", action="store_true", help="print JSON")
        parser.add_argument(
            "--fail-level",
            choices=LEVELS[1:],
            default="error",
            help="exit with 1 from this level on (default: error)",
        )

    def handle(self, *, url: str | None, json: bool, fail_level: Level, **options: object) -> None:
        findings = self._findings(all_probes(url))
        if json:
            self._print_json(findings)
        else:
            self._print_table(findings)
        if LEVELS.index(worst(findings)) >= LEVELS.index(fail_level):
            sys.exit(1)

    def _findings(self, probes: list[Probe]) -> list[Finding]:
        """In the order of the probes, whichever ends first; tells a terminal how far it is."""
        found: dict[str, list[Finding]] = {probe.name: [] for probe in probes}
        waiting = list(found)
        logging.disable()  # the findings say it all
        try:
            for probe, findings in run_probes(probes):
                found[probe.name] = findings
                waiting.remove(probe.name)
                self._progress(f"{len(found) - len(waiting)} of {len(found)}: {', '.join(waiting)}")
            self._progress("")
        finally:
            logging.disable(logging.NOTSET)
        return [finding for findings in found.values() for finding in findings]

    def _progress(self, text: str) -> None:
        if self.stderr.isatty():
            width = shutil.get_terminal_size().columns - 1
            self.stderr.write(f"\r\033[K{text[:width]}", ending="")
            self.stderr.flush()

    def _print_json(self, findings: list[Finding]) -> None:
        body = {"worst": worst(findings), "findings": [asdict(each) for each in findings]}
        self.stdout.write(jsons.dumps(body, indent=2))

    def _print_table(self, findings: list[Finding]) -> None:
        width = max(len(finding.subject) for finding in findings)
        style = self.style
        colours = {"ok": style.SUCCESS, "warning": style.WARNING, "error": style.ERROR}
        for finding in findings:
            head = f"{finding.level:<7}  {finding.subject:<{width}}  "
            first, *others = _wrapped(head, finding.text)
            coloured = colours[finding.level](first[: len(finding.level)])
            self.stdout.write(coloured + first[len(finding.level) :])
            for line in others:
                self.stdout.write(line)
            if finding.way_out:
                for line in _wrapped(" " * (len(head) - 3) + "-> ", finding.way_out):
                    self.stdout.write(line)
        self.stdout.write(_summary(findings))


def _wrapped(head: str, text: str) -> list[str]:
    columns = max(shutil.get_terminal_size().columns, len(head) + 30)
    lines = textwrap.wrap(text, columns - len(head), break_on_hyphens=False) or [""]
    return [head + lines[0], *(" " * len(head) + line for line in lines[1:])]


def _summary(findings: Iterable[Finding]) -> str:
    levels = [finding.level for finding in findings]
    return ", ".join(f"{levels.count(level)} {level}" for level in LEVELS)


def _site(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ArgumentTypeError(f"{text!r} is not a URL such as https://realtime.example.com")
    return text
