"""The conversations that every client has to lead: `tests/wire_examples_resume.json`."""

import json
from dataclasses import fields
from typing import Any

import pytest
from ara_client import Client, events
from ara_client.backoff import Backoff
from ara_client.positions import Position
from ara_client.session import Drop, Effect, Emit, Send, Session, Wait

from tests.processes import ROOT

CONVERSATIONS = json.loads((ROOT / "tests" / "wire_examples_resume.json").read_text())
TYPES = {
    events.MarketData: "market_data_update",
    events.Prediction: "prediction_update",
    events.Alert: "alert",
    events.Gap: "gap",
    events.Stale: "stream_status",
    events.Fresh: "stream_status",
    events.ServerError: "error",
    events.ServerShutdown: "server_shutdown",
    events.TokenExpiring: "token_expiring",
}
STATES = {events.Stale: "stale", events.Fresh: "fresh"}
WHEN = "2024-01-01T12:00:00.000Z"


def as_message(event: Any) -> dict[str, Any]:
    """An event in the words of the file."""
    kind = type(event)
    values = {field.name: getattr(event, field.name) for field in fields(event)}
    state = {"state": STATES[kind]} if kind in STATES else {}
    return {"replayed": False, **values, **state, "type": TYPES[kind]}


class Conversation:
    """A session, and the labels of the ids that it gave to its requests."""

    def __init__(self, example: dict[str, Any]) -> None:
        self.session = Session(
            example["channel"], history=example.get("history", 0),
            since={name: Position(**at) for name, at in example.get("since", {}).items()},
            can_renew=example.get("renews", False),
            backoff=Backoff(lambda: example.get("jitter", 1)),
        )  # fmt: skip
        self.labels: dict[int, str] = {}

    def take(self, step: dict[str, Any], now: float) -> list[Effect]:
        if "start" in step:
            return self.session.start(now)
        if "subscribe" in step:
            return self.session.subscribe(step["subscribe"], now)[1]
        if "unsubscribe" in step:
            return self.session.unsubscribe(step["unsubscribe"], now)[1]
        if "tick" in step:
            return self._followed(self.session.tick(now), now)
        if "close" in step:
            return self.session.dropped(step["close"]["code"], "", now)
        return self._followed(self.session.received(self._with_id(step["receive"]), now), now)

    def _followed(self, effects: list[Effect], now: float) -> list[Effect]:
        dropped = any(isinstance(effect, Drop) for effect in effects)
        return self.session.dropped(1006, "", now) if dropped else effects

    def check(self, step: dict[str, Any], effects: list[Effect]) -> None:
        sent = [self._labelled(effect.message) for effect in effects if isinstance(effect, Send)]
        assert sent == step.get("send", [])
        told = [effect.event for effect in effects if isinstance(effect, Emit)]
        messages = [as_message(event) for event in told if type(event) in TYPES]
        expected = [{"replayed": False, **event} for event in step.get("events", [])]
        assert len(messages) == len(expected)
        for message, wanted in zip(messages, expected, strict=True):
            assert {name: message[name] for name in wanted} == wanted
        waits = [round(effect.seconds * 1000) for effect in effects if isinstance(effect, Wait)]
        assert waits == ([step["wait_ms"]] if "wait_ms" in step else [])
        assert self.session.phase == step.get("phase", self.session.phase)

    def _labelled(self, message: dict[str, Any]) -> dict[str, Any]:
        if "id" not in message:
            return message
        label = self.labels.setdefault(message["id"], f"#{len(self.labels) + 1}")
        return {**message, "id": label}

    def _with_id(self, message: dict[str, Any]) -> dict[str, Any]:
        message = {"timestamp": WHEN, **message}
        for id, label in self.labels.items():
            if message.get("id") == label:
                message["id"] = id
        return message


@pytest.mark.parametrize(
    "example", CONVERSATIONS["conversations"], ids=lambda example: example["name"]
)
def test_the_client_leads_the_conversation(example: dict[str, Any]) -> None:
    conversation = Conversation(example)
    now = 0.0
    beginning = CONVERSATIONS["beginnings"].get(example.get("after"), [])
    for step in [*beginning, *example["steps"]]:
        now = step.get("at_ms", now * 1000) / 1000
        conversation.check(step, conversation.take(step, now))


def test_the_examples_have_no_event_that_the_client_lacks() -> None:
    assert set(TYPES.values()) == set(CONVERSATIONS["event_types"])


def test_a_program_that_was_held_up_reads_before_it_gives_the_connection_up() -> None:
    session = Session("market-data")
    session.start(0)
    session.received({"type": "connected", "authenticated": False, "streams": {}}, 0)
    session.tick(4)
    assert session.tick(60) == []
    assert isinstance(session.tick(60.25)[0], Drop)


async def test_a_symbol_named_all_has_its_position_like_any_other() -> None:
    client = Client("http://localhost:1")
    at = Position("e", 5)
    assert client.market_data("all", since={"all": at}).positions == {"ALL": at}
    assert client.alerts(since={"all": at}).positions == {"all": at}
