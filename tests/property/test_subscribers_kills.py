"""Whatever moment the deliverer is killed in, every message arrives, under one id, and of each subject in order."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ingestion.subscribers.outbox import Message, Outbox
from ingestion.subscribers.subscription import Subscriber, Subscribers
from tests.integration.webhook_receiver import SECRET, Receiver

ROOT = Path(__file__).parents[2]
SUBJECTS = 12

# A process of its own, so that a kill leaves nothing to clean up after; `careless` notes a delivery before it is made.
PROGRAM = """
import contextlib, sys, threading
from pathlib import Path
from ingestion.subscribers import deliverer
from ingestion.subscribers.attempt import Answer
from ingestion.subscribers.deliveries import Ended, record
from ingestion.subscribers.outbox import Outbox
from ingestion.subscribers.subscription import DeliveryPolicy, Subscriber, Subscribers

path, url, careless = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "careless"
policy = DeliveryPolicy(retry_seconds=(0.05,) * 500, timeout_seconds=2.0)
subscribers = Subscribers({"receiver": Subscriber("receiver", url, ("mql.reached",))}, policy)
if careless:
    attempt = deliverer.Deliverer._attempt
    async def attempt_noted(self, due, subscriber):
        record(self._outbox, [Ended(due, 0, Answer(0.0, None, 204))], policy, self._now_us(), self._jitter)
        return await attempt(self, due, subscriber)
    deliverer.Deliverer._attempt = attempt_noted
with deliverer.only_deliverer(path.parent), contextlib.closing(Outbox(path)) as outbox:
    print("ready", flush=True)
    deliverer.Deliverer(outbox, lambda: subscribers).run(threading.Event())
"""


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    started = Receiver(tmp_path / "receiver").start()
    yield started
    started.stop()


def killed_again_and_again(
    folder: Path, receiver: Receiver, *, kills: int, messages: int, seed: int, careless: bool
) -> list[dict[str, Any]]:
    """Tell messages while the deliverer is killed `kills` times; then let it finish. What the receiver took."""
    chance = random.Random(seed)
    path = folder / "log" / "deliveries.sqlite"
    subscribers = Subscribers({"receiver": Subscriber("receiver", receiver.url, ("mql.reached",))})
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "HANDOFF_SUBSCRIBER_SECRET_RECEIVER": SECRET,
    }
    began = datetime.now(UTC)
    receiver.always(_={"delay": 0.03})

    def start() -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                PROGRAM,
                str(path),
                receiver.url,
                "careless" if careless else "careful",
            ],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    with contextlib.closing(Outbox(path)) as outbox:
        outbox.subscribe(subscribers, began)
        told = 0
        for round_ in range(kills + 1):
            process = start()
            upto = messages * (round_ + 1) // (kills + 1)
            outbox.tell(
                [
                    Message(
                        f"message-{number}",
                        f"decision-{number}",
                        "mql.reached",
                        f"person-{number % SUBJECTS}",
                        began + timedelta(seconds=number),
                        {"person_id": f"person-{number % SUBJECTS}", "number": number},
                    )
                    for number in range(told, upto)
                ],
                subscribers,
                datetime.now(UTC),
            )
            told = upto
            if round_ < kills:
                if chance.random() < 0.5:
                    receiver.script(*[{"status": 500}, {"hang_up": True}][: chance.randrange(3)])
                time.sleep(chance.uniform(0.05, 0.3))
                process.send_signal(signal.SIGKILL)
                process.wait()
                process.stdout.close()  # type: ignore[union-attr]
        deadline = time.monotonic() + 60
        while outbox.rows("select 1 from deliveries where state = 'pending' limit 1"):
            assert time.monotonic() < deadline, "not everything was delivered"
            time.sleep(0.05)
        process.kill()
        process.wait()
    return receiver.taken()


def first_receipts(taken: list[dict[str, Any]]) -> dict[str, list[int]]:
    """Numbers of the messages of each subject, in the order in which they first came."""
    order: dict[str, list[int]] = {}
    for each in taken:
        number = json.loads(each["body"])["data"]["number"]
        numbers = order.setdefault(each["subject"], [])
        if number not in numbers:
            numbers.append(number)
    return order


def missing(taken: list[dict[str, Any]], messages: int) -> set[int]:
    return set(range(messages)) - {json.loads(each["body"])["data"]["number"] for each in taken}


@pytest.mark.parametrize("seed", [1, 2])
def test_a_deliverer_that_is_killed_loses_nothing_and_keeps_each_subject_in_order(
    tmp_path: Path, receiver: Receiver, seed: int
) -> None:
    messages = 240
    taken = killed_again_and_again(
        tmp_path, receiver, kills=12, messages=messages, seed=seed, careless=False
    )
    assert missing(taken, messages) == set()
    assert {each["is_verified"] for each in taken} == {True}
    for numbers in first_receipts(taken).values():
        assert numbers == sorted(numbers)
    # At least once: what comes twice comes under its own id, so that the receiver can tell.
    ids = {}
    for each in taken:
        number = json.loads(each["body"])["data"]["number"]
        assert ids.setdefault(number, each["id"]) == each["id"] == f"message-{number}"
    assert len(taken) > messages, (
        "no kill came between a receipt and its note: the test proves little"
    )


def test_noting_a_delivery_before_it_is_made_would_lose_some(
    tmp_path: Path, receiver: Receiver
) -> None:
    messages = 240
    taken = killed_again_and_again(
        tmp_path, receiver, kills=12, messages=messages, seed=1, careless=True
    )
    assert missing(taken, messages) != set()
