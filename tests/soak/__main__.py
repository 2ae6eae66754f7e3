"""`python -m tests.soak --minutes 20 --seed 1`: exits with 1 if anything was lost or hung."""

import argparse
import asyncio
import random
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.soak.account import Account
from tests.soak.crowd import AlertReader, Crowd, until_none
from tests.soak.faults import FAULTS
from tests.soak.memory import Memory
from tests.soak.place import SYMBOLS, Place

# Seconds in which everything has to be where it belongs, once nothing fails any more.
SETTLE_SECONDS = 90.0


async def soak(
    directory: Path,
    *,
    seconds: float,
    clients: int,
    seed: int,
    postgres: bool = True,
    faults: Sequence[str] = tuple(FAULTS),
) -> Account:
    """Fail for so many seconds, settle, and return the account of it."""
    account, chance = Account(), random.Random(seed)
    with Place(directory, account, postgres=postgres) as place:
        urls = [web.ws for web in place.webs]
        crowd = Crowd(account, urls, SYMBOLS, clients, seed)
        inboxes = {
            user: AlertReader(urls, key) for user, key in zip(place.users, place.keys, strict=True)
        }
        memory = Memory(account, place.processes)
        tasks = [asyncio.create_task(inbox.run()) for inbox in inboxes.values()]
        tasks.append(asyncio.create_task(memory.watch()))
        await place.start_publisher()
        try:
            await crowd.come()
            tasks.append(asyncio.create_task(crowd.churn()))
            await _fail(place, chance, faults, time.monotonic() + seconds)
            await place.kill_publisher()
            crowd.settling = True
            await asyncio.sleep(8)  # the longest stall, and what an unconfirmed update may take
            await crowd.settle(place.heads(), SETTLE_SECONDS)
            await _settle_alerts(place, inboxes)
            for task in tasks:
                if task.done() and task.exception() is not None:
                    account.violated(f"a task gave up: {task.exception()!r}")
            await asyncio.to_thread(place.background.stop)
            _tell(account, crowd, memory, seconds)
        finally:
            for task in tasks:
                task.cancel()
            await crowd.go()
    place.read_logs()
    return account


async def _fail(place: Place, chance: random.Random, faults: Sequence[str], until: float) -> None:
    """One fault after the other, each of them in every round."""
    round: list[str] = []
    while time.monotonic() < until:
        if not round:
            round = chance.sample(faults, len(faults))
        name = round.pop()
        print(f"{until - time.monotonic():4.0f} s left: {name}", flush=True)
        await FAULTS[name](place, chance)
        place.account.faults[name] += 1
        await asyncio.sleep(chance.uniform(2, 8))


async def _settle_alerts(place: Place, inboxes: dict[int, AlertReader]) -> None:
    account = place.account
    due = {user: set(messages) for user, messages in account.alerts.items()}
    due.setdefault(place.users[0], set()).update(account.due_crossings())
    missing = await until_none(
        lambda: {user: late for user in due if (late := due[user] - inboxes[user].messages)},
        SETTLE_SECONDS,
    )
    for user, messages in missing.items():
        account.violated(f"user {user} never had {len(messages)} alerts: {sorted(messages)[:5]}")
    # An engine sends those of a killed publisher, when it can no longer be about to do so itself.
    stored = await asyncio.to_thread(place.stored_alerts)
    deadline = time.monotonic() + SETTLE_SECONDS
    while not all(sent for _, _, sent in stored) and time.monotonic() < deadline:
        await asyncio.sleep(1)
        stored = await asyncio.to_thread(place.stored_alerts)
    texts = [(user, message) for user, message, _ in stored]
    for again in {each for each in texts if texts.count(each) > 1}:
        account.violated(f"stored more than once: {again}")
    unsent = [message for _, message, sent in stored if not sent]
    if unsent:
        account.violated(f"stored and not sent: {unsent[:5]}")


def _tell(account: Account, crowd: Crowd, memory: Memory, seconds: float) -> None:
    checkers = [reader.checker for reader in crowd.readers]
    stops = ", ".join(f"{name} {took:.1f} s" for name, took in account.slowest.items())
    grown = ", ".join(f"{name} {size:.0f} MiB" for name, size in memory.growth.items())
    print(
        f"{seconds / 60:.1f} minutes, {sum(account.faults.values())} faults\n"
        f"{account.confirmed} updates confirmed, {account.failed} refused\n"
        f"{sum(reader.messages for reader in crowd.readers)} messages to {len(checkers)} clients, "
        f"{sum(reader.connected for reader in crowd.readers)} subscriptions, "
        f"{sum(checker.folded for checker in checkers)} updates folded, "
        f"{sum(len(checker.told_lost) for checker in checkers)} told lost\n"
        f"{sum(map(len, account.alerts.values()))} alerts stored and sent, "
        f"{account.unstored} not stored, {len(account.crossings)} of rules\n"
        f"slowest end after SIGTERM: {stops}\n"
        f"most growth of a process after its first half minute: {grown or 'none lived so long'}",
        flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", default=",".join(FAULTS), help="some of %(default)s")
    parser.add_argument("--sqlite", action="store_true", help="also where PostgreSQL is installed")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started is ended
    directory = Path(tempfile.mkdtemp(prefix="ara-soak-"))
    account = asyncio.run(
        soak(
            directory,
            seconds=60 * options.minutes,
            clients=options.clients,
            seed=options.seed,
            postgres=not options.sqlite,
            faults=options.faults.split(","),
        )
    )
    print(f"{len(account.violations)} violations; logs are in {directory}")
    return 1 if account.violations else 0


if __name__ == "__main__":
    sys.exit(main())
