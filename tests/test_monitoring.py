"""The dashboard and the alert rules of `deploy/`, compared with the metrics that there are."""

import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from realtime.api.metrics import exposition
from realtime.management.commands.run_background import WORKS
from tests.conftest import require_program
from tests.documents import names, rows, section
from tests.processes import ROOT

ALERTS = ROOT / "deploy/prometheus/alerts.yml"
ALERT_TESTS = ROOT / "deploy/prometheus/alerts.test.yml"
DASHBOARD = ROOT / "deploy/grafana/ara-realtime.json"
SUFFIXES = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    everything = json.loads(DASHBOARD.read_text())["panels"]
    return [panel for panel in everything if panel["type"] != "row"]


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in rules())
    yield from (target["expr"] for panel in panels() for target in panel["targets"])


def labels_of_metrics() -> dict[str, set[str]]:
    """The labels of each metric, as the reference has them, without the suffix of its samples."""
    found: dict[str, set[str]] = {}
    for metrics, *_ in rows("Metrics"):
        for name, labels in re.findall(r"`(ara_[a-z_]+)(?:{([a-z,]+)})?`", metrics):
            found[name] = set(labels.split(",")) if labels else set()
    return found


@pytest.mark.django_db(transaction=True)
def test_every_sample_of_the_dashboard_and_the_alerts_exists() -> None:
    families = list(text_string_to_metric_families(exposition().decode()))
    samples = {
        family.name + suffix for family in families for suffix in SUFFIXES.get(family.type, [""])
    }
    used = {name for text in expressions() for name in re.findall(r"\bara_[a-z_]+", text)}
    assert used <= samples
    # None is left out of the dashboard, either.
    assert {each.name for each in families} <= {
        re.sub("_(total|bucket)$", "", each) for each in used
    }


def test_every_label_of_the_dashboard_and_the_alerts_exists() -> None:
    known = labels_of_metrics()
    for text in expressions():
        mentioned = re.findall(r"\bara_[a-z_]+", text)
        allowed = {"le"}.union(*(known[name.removesuffix("_bucket")] for name in mentioned))
        used = set(re.findall(r"([a-z_]+)(?:=~|!=|=)\"", text))
        for listed in re.findall(r"by \(([a-z, ]+)\)", text):
            used |= set(listed.split(", "))
        assert used <= allowed, text


def test_the_legends_of_the_dashboard_name_labels_that_exist() -> None:
    known = labels_of_metrics()
    for panel in panels():
        for target in panel["targets"]:
            (name,) = set(re.findall(r"\bara_[a-z_]+", target["expr"]))
            used = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            assert used <= known[name.removesuffix("_bucket")], target


def test_each_worker_of_run_background_is_missed() -> None:
    (missing,) = [rule["expr"] for rule in rules() if rule["alert"] == "AraWorkerMissing"]
    assert set(re.findall(r'worker="(\w+)"', missing)) == set(WORKS)


def test_the_reference_lists_every_alert() -> None:
    listed = [name for alert, *_ in rows("Dashboard and alerts") for name in names(alert)]
    assert listed == [rule["alert"] for rule in rules()]
    assert "alerts.yml" in section("Dashboard and alerts")


def test_each_alert_has_a_test_in_which_it_fires() -> None:
    fired = re.findall(r'alertname="(\w+)", alertstate="firing"', ALERT_TESTS.read_text())
    assert fired == [rule["alert"] for rule in rules()]


def test_the_alerts_fire_when_they_should() -> None:
    """With Prometheus' own tool."""
    result = subprocess.run(
        [require_program("promtool"), "test", "rules", ALERT_TESTS.name],
        cwd=ALERT_TESTS.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
