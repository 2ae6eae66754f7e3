"""The publisher as a process: says on standard output what was confirmed, a line for each."""

import json
import sys
import time

import django

PAUSE = 0.025


def publish_for_ever(symbols: list[str], users: list[int], start: int) -> None:
    from realtime.broadcast import PublishFailed, broadcast_market_data, send_alert

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

    for turn, number in enumerate(numbers):
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
