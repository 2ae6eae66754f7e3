"""Alert rules and alerts in the admin."""

import json
import re
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from realtime.broadcast import broadcast_market_data, send_alert
from realtime.models import AlertProblem, AlertRule
from realtime.webhooks.destinations import new_destination
from tests import personas

pytestmark = pytest.mark.django_db(transaction=True)
RULE = {"symbols": ["AAPL"], "conditions": [{"type": "above", "value": 150}], "cooldown": 60}
ADD = "admin:realtime_alertrule_add"


@pytest.fixture
def olga(client: Client, transactional_db: None) -> Client:
    client.force_login(personas.olga())
    return client


def save(client: Client, definition: Any, url: str = "") -> Any:
    data = {"name": "", "definition": json.dumps(definition), "owner": personas.olga().pk}
    return client.post(url or reverse(ADD), data)


def test_a_rule_is_made_and_changed(olga: Client) -> None:
    assert save(olga, RULE).status_code == 302
    rule = AlertRule.objects.get()
    assert (rule.name, rule.source, rule.revision) == ("AAPL price above 150", "admin", 1)
    change = reverse("admin:realtime_alertrule_change", args=[rule.pk])
    assert "AAPL" in olga.get(change).text
    assert save(olga, {**RULE, "severity": "high"}, change).status_code == 302
    rule.refresh_from_db()
    assert (rule.severity, rule.revision) == ("high", 2)


def test_what_is_wrong_is_shown_with_its_field(olga: Client) -> None:
    page = save(olga, {**RULE, "conditions": [{"type": "above", "value": "x"}]})
    assert "conditions[0].value: Expected float" in page.text
    assert not AlertRule.objects.exists()


@pytest.mark.parametrize(
    ("owner", "everybody", "error"),
    [
        ("", "", "Choose the user who receives the alerts, or tick “Everybody”."),
        ("olga", "on", "Tick this without an owner, or leave it."),
    ],
)
def test_a_rule_has_an_owner_or_is_for_everybody(
    olga: Client, owner: str, everybody: str, error: str
) -> None:
    pk = personas.olga().pk if owner else ""
    page = olga.post(
        reverse(ADD), {"owner": pk, "everybody": everybody, "definition": json.dumps(RULE)}
    )
    assert error in page.text
    assert not AlertRule.objects.exists()


def test_a_rule_for_everybody_stays_one_when_it_is_changed(olga: Client) -> None:
    data = {"everybody": "on", "definition": json.dumps(RULE)}
    assert olga.post(reverse(ADD), data).status_code == 302
    change = reverse("admin:realtime_alertrule_change", args=[AlertRule.objects.get().pk])
    assert re.search('name="everybody"[^>]* checked', olga.get(change).text)
    assert olga.post(change, data).status_code == 302
    assert AlertRule.objects.get().owner is None


def test_a_rule_is_tried_on_the_past_with_a_button(olga: Client) -> None:
    save(olga, RULE)
    for price in (149, 151, 149, 152):
        broadcast_market_data("AAPL", {"price": price})
    rule = AlertRule.objects.get()
    dry_run = reverse("admin:realtime_alertrule_dry_run", args=[rule.pk])
    assert dry_run in olga.get(reverse("admin:realtime_alertrule_change", args=[rule.pk])).text
    assert "how often" in olga.get(dry_run).text.lower()
    page = " ".join(olga.post(dry_run, {"past": "history"}).text.split())
    assert "Fired <strong>1</strong> times" in page
    assert "<strong>2</strong> times, in 4 updates" in page


def ask(client: Client, view: str, body: Any) -> Any:
    path = reverse("admin:realtime_alertrule_changelist") + view
    return client.post(path, json.dumps(body), "application/json")


def test_a_rule_is_tried_before_it_is_saved(olga: Client) -> None:
    for price in (149, 151, 149, 152):
        broadcast_market_data("AAPL", {"price": price})
    report = ask(olga, "dry-run/", {**RULE, "past": "history"}).json()
    assert (report["fired"], report["fired_without_cooldown"]) == (1, 2)
    preview = ask(olga, "preview/", {**RULE, "message": "{price}"}).json()
    assert preview["message"] == "152"
    assert not AlertRule.objects.exists()


def destinations(client: Client, owner: object) -> Any:
    path = reverse("admin:realtime_alertrule_changelist") + "destinations/"
    return client.get(path, {"owner": owner})


def test_the_destinations_of_one_owner_are_listed(olga: Client) -> None:
    own = new_destination(personas.olga(), "ntfys://ntfy.sh/a-topic")
    new_destination(personas.alice(), "ntfys://ntfy.sh/another")
    assert [each["id"] for each in destinations(olga, personas.olga().pk).json()] == [own.pk]
    for nobody in ("", "nonsense", "9" * 30, "-1"):
        answer = destinations(olga, nobody)
        assert (answer.status_code, answer.json()) == (200, [])


@pytest.mark.parametrize("view", ["dry-run/", "preview/"])
def test_what_is_wrong_with_the_form_is_told_by_field(olga: Client, view: str) -> None:
    answer = ask(olga, view, {**RULE, "cooldown": "soon"})
    assert (answer.status_code, list(answer.json())) == (400, ["cooldown"])


@pytest.mark.parametrize(
    ("permission", "status"), [("view", 403), ("add", 200), ("change", 200), (None, 403)]
)
def test_rules_are_tried_by_those_who_make_them(
    transactional_db: None, client: Client, permission: str | None, status: int
) -> None:
    user = User.objects.create_user("staff", is_staff=True)
    if permission is not None:
        user.user_permissions.add(Permission.objects.get(codename=f"{permission}_alertrule"))
    client.force_login(user)
    assert ask(client, "preview/", RULE).status_code == status
    assert destinations(client, user.pk).status_code == status


@pytest.mark.parametrize("view", ["dry-run/", "preview/"])
def test_a_foreign_page_tries_nothing(transactional_db: None, view: str) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(personas.olga())
    assert ask(client, view, RULE).status_code == 403
    key = personas.bob_key()[1]
    path = reverse("admin:realtime_alertrule_changelist") + view
    answer = Client().post(path, RULE, "application/json", headers={"X-API-Key": key})
    assert answer.status_code == 302  # to the login


def test_a_rule_can_be_read_by_those_who_may_not_change_it(olga: Client, client: Client) -> None:
    save(olga, RULE)
    user = User.objects.create_user("viewer", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_alertrule"))
    client.force_login(user)
    page = client.get(reverse("admin:realtime_alertrule_change", args=[AlertRule.objects.get().pk]))
    assert "&quot;conditions&quot;" in page.text
    assert "<textarea" not in page.text.partition('<template id="rule-form">')[0]


def test_selected_rules_are_paused_and_resumed_and_deleted(olga: Client) -> None:
    save(olga, RULE)
    rules = reverse("admin:realtime_alertrule_changelist")
    pk = AlertRule.objects.get().pk
    for action, paused in (("pause_selected", True), ("resume_selected", False)):
        olga.post(rules, {"action": action, "_selected_action": [pk]})
        assert AlertRule.objects.get().paused is paused
    olga.post(rules, {"action": "delete_selected", "_selected_action": [pk], "post": "yes"})
    assert not AlertRule.objects.exists()


def test_alerts_are_listed_and_not_changed(olga: Client) -> None:
    send_alert({"message": "Price exceeded $150", "severity": "high"})
    assert "Price exceeded" in olga.get(reverse("admin:realtime_alert_changelist")).text
    assert olga.get(reverse("admin:realtime_alert_add")).status_code == 403


def test_the_form_of_a_new_rule_shows_nothing_that_it_does_not_have_yet(olga: Client) -> None:
    page = olga.get(reverse(ADD)).text
    assert "Definition" in page
    assert "Last fired at" not in page
    assert save(olga, RULE).status_code == 302
    change = reverse("admin:realtime_alertrule_change", args=[AlertRule.objects.get().pk])
    assert "Last fired at" in olga.get(change).text


def test_the_list_says_whether_a_rule_is_paused_in_words(olga: Client) -> None:
    save(olga, RULE)
    assert ">active<" in olga.get(reverse("admin:realtime_alertrule_changelist")).text


@pytest.mark.parametrize(("choice", "found"), [("high", "loud"), ("none", "plain")])
def test_alerts_are_filtered_by_severity(olga: Client, choice: str, found: str) -> None:
    send_alert({"message": "loud", "severity": "high"})
    send_alert({"message": "plain"})
    page = olga.get(reverse("admin:realtime_alert_changelist"), {"severity": choice})
    (alert,) = page.context["cl"].result_list
    assert alert.data["message"] == found


@pytest.mark.parametrize(
    "text",
    [
        '{"symbols": ["AAPL"], "conditions": [{"type": "above", "value": NaN}]}',
        '{"symbols": ["AAPL"], "conditions": [{"type": "above", "value": %s}]}' % ("9" * 5000),
        "[" * 100_000,
        '{"symbols": ["A"], "conditions": [{"type": "above", "value": 1}], "message": "\\ud800"}',
        '{"\\ud800": 1}',
        "[1]",
    ],
)
def test_what_is_no_definition_is_an_error_of_the_form(olga: Client, text: str) -> None:
    page = olga.post(reverse(ADD), {"name": "", "definition": text})
    assert page.status_code == 200
    assert "errorlist" in page.text


def test_what_is_set_aside_is_shown_with_its_reason(olga: Client) -> None:
    save(olga, RULE)
    rule = AlertRule.objects.get()
    AlertProblem.objects.create(rule=rule, symbol="AAPL", reason="OverflowError: too far")
    AlertProblem.objects.create(symbol="EXTR", reason="TypeError: odd")
    assert "set aside" in olga.get(reverse("admin:realtime_alertrule_changelist")).text
    change = reverse("admin:realtime_alertrule_change", args=[rule.pk])
    assert "AAPL: OverflowError: too far" in olga.get(change).text
    page = olga.get(reverse("admin:realtime_alertproblem_changelist"), {"q": "EXTR"}).text
    assert "TypeError: odd" in page
    assert "all rules" in page


def test_a_rule_that_cannot_be_read_is_an_error_of_the_dry_run(olga: Client) -> None:
    save(olga, RULE)
    AlertRule.objects.update(definition=[])
    rule = AlertRule.objects.get()
    page = olga.post(reverse("admin:realtime_alertrule_dry_run", args=[rule.pk]), {"past": "1d"})
    assert "a rule is a JSON object" in page.text
    assert olga.get(reverse("admin:realtime_alertrule_changelist")).status_code == 200
    assert olga.get(reverse("admin:realtime_alertrule_change", args=[rule.pk])).status_code == 200
