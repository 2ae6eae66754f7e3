"""The publisher as a process: says on standard output what was confirmed, a line for each."""

import json
import sys
import time

import django

from realtime.broadcast import (
    PublishFailed,
    broadcast_many,
    broadcast_market_data,
    market_data_update,
    send_alert,
)

PAUSE = 0.025
# Now and then so many updates at once, more than the outbox of a reader of all of them holds.
BURST = 1_000
TURNS_BETWEEN_BURSTS = 400
PADDING = "x" * 1_200


class Publisher:
    """Every update has a number of its own."""

    def __init__(self, symbols: list[str], users: list[int], start: int) -> None:
        self._symbols = symbols
        self._users = users
        self._numbers = iter(range(start, sys.maxsize))
        self._low_confirmed = False

    def run(self) -> None:
        for turn, number in enumerate(self._numbers):
            if turn % TURNS_BETWEEN_BURSTS == TURNS_BETWEEN_BURSTS // 2:
                self._burst()
            self._market(self._symbols[turn % len(self._symbols)], price=number % 100)
            if turn % 40 == 0:
                self._alert(self._users[turn // 40 % len(self._users)], f"direct {number}")
            elif turn % 40 == 20:
                self._low_confirmed = self._market("RULE", price=1)
            # One that was not confirmed may have crossed all the same.
            elif turn % 40 == 30 and self._low_confirmed and self._market("RULE", price=number):
                say("crossed", f"rule {number}", time.time())
            time.sleep(PAUSE)

    def _market(self, symbol: str, **data: float) -> bool:
        number = next(self._numbers)
        try:
            sent = broadcast_market_data(symbol, {"number": number, **data})
        except PublishFailed:
            say("failed", symbol)
            return False
        say("update", symbol, sent.epoch, sent.offset, number)
        return True

    def _burst(self) -> None:
        named = [
            (self._symbols[at % len(self._symbols)], next(self._numbers)) for at in range(BURST)
        ]
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

    @staticmethod
    def _alert(user: int, message: str) -> None:
        try:
            sent = send_alert({"message": message}, user_id=user)
        except PublishFailed:
            say("failed", "alert")
        else:
            say("alert", user, message, sent.stored)


def say(*words: object) -> None:
    print(json.dumps(words), flush=True)


if __name__ == "__main__":
    django.setup()
    options = json.loads(sys.argv[1])
    Publisher(options["symbols"], options["users"], options["start"]).run()
