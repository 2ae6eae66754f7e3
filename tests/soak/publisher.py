"""The publisher as a process: says on standard output what was confirmed, a line for each."""

import json
import sys
import time

import django

PAUSE = 0.025
# Now and then so many updates at once, more than the outbox of a reader of all of them holds.
BURST = 1_000
TURNS_BETWEEN_BURSTS = 400
PADDING = "x" * 1_200


def publish_for_ever(symbols: list[str], users: list[int], start: int) -> None:
    from realtime.broadcast import (
        PublishFailed,
        broadcast_many,
        broadcast_market_data,
        market_data_update,
        send_alert,
    )

    numbers = iter(range(start, sys.maxsize))
    low_confirmed = False

    def market(symbol: str, **data: float) -> bool:
        number = next(numbers)
        try:
            sent = broadcast_market_data(symbol, {"number": number, **data})
        except PublishFailed:
            say("failed", symbol)
            return False
        say("update", symbol, sent.epoch, sent.offset, number)
        return True

    def burst() -> None:
        named = [(symbols[at % len(symbols)], next(numbers)) for at in range(BURST)]
        updates = [
            market_data_update(symbol, {"number": number, "text": PADDING})
            for symbol, number in named
        ]
        try:
            sent = broadcast_many(updates)
        except PublishFailed as exc:
            for at in set(range(BURST)) - set(exc.published):
                say("failed", named[at][0])
            return
        for (symbol, number), each in zip(named, sent, strict=True):
            say("update", symbol, each.epoch, each.offset, number)

    for turn, number in enumerate(numbers):
        if turn % TURNS_BETWEEN_BURSTS == TURNS_BETWEEN_BURSTS // 2:
            burst()
        market(symbols[turn % len(symbols)], price=number % 100)
        if turn % 40 == 0:
            user = users[turn // 40 % len(users)]
            try:
                sent = send_alert({"message": f"direct {number}"}, user_id=user)
            except PublishFailed:
                say("failed", "alert")
            else:
                say("alert", user, f"direct {number}", sent.stored)
        if turn % 40 == 20:
            low_confirmed = market("RULE", price=1)
        # One that was not confirmed may have crossed all the same.
        if turn % 40 == 30 and low_confirmed and market("RULE", price=number):
            say("crossed", f"rule {number}", time.time())
        time.sleep(PAUSE)


def say(*words: object) -> None:
    print(json.dumps(words), flush=True)


if __name__ == "__main__":
    django.setup()
    options = json.loads(sys.argv[1])
    publish_for_ever(options["symbols"], options["users"], options["start"])
