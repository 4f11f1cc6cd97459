"""The worker tells subscribers by itself, and `handoff webhooks` shows how that goes and puts it right."""

from __future__ import annotations

import contextlib
import json
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from benchmarks import records
from ingestion.log.owner import open_log
from ingestion.subscribers.outbox import FILE_NAME, Message, Outbox
from models.policies.load import copy_policies
from models.policies.subscribers import load_subscribers
from tests.integration.webhook_receiver import SECRET, Receiver


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    started = Receiver(tmp_path / "receiver").start()
    yield started
    started.stop()


@pytest.fixture
def subscribed(empty: Any, tmp_path: Path, receiver: Receiver) -> Any:
    """A home with no system configured and one subscriber."""
    policies = tmp_path / "policies"
    copy_policies(policies)
    (policies / "subscribers.yml").write_text(
        "delivery: {retry_seconds: [0.2, 0.2], probe_seconds: 0.5}\nsubscribers:\n  - name: dashboard\n"
        f"    description: a test\n    owner: me\n    url: {receiver.url}\n    kinds: [mql.reached, lead.assigned]\n"
    )
    empty.variables.update(
        HANDOFF_POLICIES=str(policies), HANDOFF_SUBSCRIBER_SECRET_DASHBOARD=SECRET
    )
    return empty


def wait_until(is_so: Callable[[], bool], seconds: float = 90.0) -> float:
    started = time.monotonic()
    while not is_so():
        assert time.monotonic() - started < seconds, "it never came"
        time.sleep(0.05)
    return time.monotonic() - started


def tell(subscribed: Any, *numbers: int) -> None:
    """Put messages into the home's outbox, as a batch does."""
    subscribers = load_subscribers(Path(subscribed.variables["HANDOFF_POLICIES"]))
    now = datetime.now(UTC)
    with contextlib.closing(Outbox(subscribed.home / "log" / FILE_NAME)) as outbox:
        outbox.subscribe(subscribers, now)
        outbox.tell(
            [
                Message(f"message-{n}", f"decision-{n}", "mql.reached", f"person-{n}", now + timedelta(seconds=n + 1), {"person_id": f"person-{n}"})
                for n in numbers
            ],
            subscribers,
            now,
        )  # fmt: skip


def test_a_form_submit_reaches_the_subscriber_while_the_worker_runs(
    subscribed: Any, receiver: Receiver
) -> None:
    worker = subscribed.start("work", "--refresh", "600", "--json")
    reps = [event for event in records.world(1) if event["type"] == "com.handoff.rep"]
    with contextlib.closing(open_log(subscribed.settings)) as log:
        log.append(reps)
        wait_until(lambda: '"run_micro_batch"' in worker.printed(), 600)
        listed = subscribed.handoff("webhooks", "list", "--json").json
        assert [(row["subscriber"], row["state"]) for row in listed] == [("dashboard", "enabled")]
        at = datetime.now(UTC) + timedelta(milliseconds=1)
        log.append(
            [
                records.contact(1, at, country="DE", job_title="VP Marketing"),
                records.consent(1, at),
                records.form_submit(1, 1, "contact_sales", at),
                records.form_submit(2, 1, "demo_request", at),
            ]
        )
        took = wait_until(lambda: len(receiver.taken()) == 2, 600)
    assert [each["kind"] for each in receiver.taken()] == ["mql.reached", "lead.assigned"]
    assert len({each["subject"] for each in receiver.taken()}) == 1
    # Long before the systems are asked again.
    assert took < 300
    # Another process may not deliver beside it, and the worker stops whole.
    refused = subscribed.handoff("webhooks", "deliver", "--once")
    assert (refused.code, "DELIVERER_RUNNING" in refused.err) == (4, True)
    worker.send(signal.SIGTERM)
    assert worker.wait().code == 0
    [row] = subscribed.handoff("webhooks", "list", "--json").json
    assert (row["delivered"], row["pending"], row["dead"], row["success_rate"]) == (2, 0, 0, 1.0)
    assert 0 < row["p50_seconds"] <= row["p95_seconds"] < 5


def test_a_ping_tries_out_address_and_secret(subscribed: Any, receiver: Receiver) -> None:
    done = subscribed.handoff("webhooks", "test", "dashboard", "--json")
    assert (done.code, done.json["delivered"], done.json["status"]) == (0, True, 204)
    [got] = receiver.got()
    assert (got["kind"], got["is_verified"]) == ("ping", True)
    other = subscribed.handoff(
        "webhooks", "test", "dashboard", HANDOFF_SUBSCRIBER_SECRET_DASHBOARD="whsec_" + "A" * 40
    )
    assert (other.code, "401" in other.out) == (3, True)
    missing = subscribed.handoff(
        "webhooks", "test", "dashboard", HANDOFF_SUBSCRIBER_SECRET_DASHBOARD=None
    )
    assert (missing.code, "HANDOFF_SUBSCRIBER_SECRET_DASHBOARD" in missing.out) == (3, True)
    unknown = subscribed.handoff("webhooks", "test", "dashbord")
    assert (unknown.code, "known: dashboard" in unknown.err) == (2, True)


def test_dead_letters_are_shown_with_the_answer_and_replayed_under_their_ids(
    subscribed: Any, receiver: Receiver
) -> None:
    receiver.always(_={"status": 422, "body": "no such account"})
    tell(subscribed, 1, 2, 3)
    letters: list[dict[str, Any]] = []
    deadline = time.monotonic() + 60
    while len(letters) < 3:
        assert time.monotonic() < deadline, "nothing was given up"
        subscribed.handoff("webhooks", "deliver", "--once")
        letters = subscribed.handoff("webhooks", "dead", "--json").json
    assert {each["message_id"] for each in letters} == {"message-1", "message-2", "message-3"}
    assert {(each["attempts"], each["code"], each["answer"]) for each in letters} == {
        (3, "SUBSCRIBER_REFUSED", "no such account")
    }
    assert "no such account" not in subscribed.handoff("webhooks", "list").out
    [found] = [
        row
        for row in subscribed.handoff("doctor", "--json").json["findings"]
        if row["name"] == "subscribers"
    ]
    assert (found["state"], "3 given up" in found["told"]) == ("warning", True)
    receiver.always(_=None)
    one = subscribed.handoff("webhooks", "replay", "message-2", "--json")
    assert one.json["replayed"] == 1
    dry = (
        "webhooks",
        "replay",
        "--subscriber",
        "dashboard",
        "--since",
        "2026-01-01T00:00Z",
        "--dead",
        "--dry-run",
        "--json",
    )
    assert subscribed.handoff(*dry).json["replayed"] == 2
    assert subscribed.handoff(*dry).json["replayed"] == 2, "a dry run changed something"
    assert subscribed.handoff(*(each for each in dry if each != "--dry-run")).json["replayed"] == 2
    assert subscribed.handoff("webhooks", "deliver", "--once", "--json").json["delivered"] == 3
    assert {each["id"] for each in receiver.taken()} == {"message-1", "message-2", "message-3"}
    everything = [each for each in dry if each not in ("--dead", "--dry-run")]
    assert subscribed.handoff(*everything).json["replayed"] == 3
    subscribed.handoff("webhooks", "deliver", "--once")
    assert sorted(each["id"] for each in receiver.taken()) == sorted(
        ["message-1", "message-2", "message-3"] * 2
    )
    unknown = subscribed.handoff("webhooks", "replay", "message-9")
    assert (unknown.code, "MESSAGE_UNKNOWN" in unknown.err) == (2, True)
    nothing = subscribed.handoff("webhooks", "replay")
    assert nothing.code != 0
    assert "BAD_REQUEST" in nothing.err


def test_a_paused_subscriber_gets_nothing_and_all_of_it_once_it_is_enabled(
    subscribed: Any, receiver: Receiver
) -> None:
    assert (
        subscribed.handoff("webhooks", "disable", "dashboard", "--reason", "moving house").code == 0
    )
    tell(subscribed, 1, 2)
    assert subscribed.handoff("webhooks", "deliver", "--once").code == 0
    assert receiver.got() == []
    listed = subscribed.handoff("webhooks", "list").out
    assert "paused" in listed and "moving house" in listed
    assert (
        json.loads(subscribed.handoff("webhooks", "enable", "dashboard", "--json").out)["before"]
        == "paused"
    )
    subscribed.handoff("webhooks", "deliver", "--once")
    # Of two people: between them there is no order.
    assert sorted(each["id"] for each in receiver.taken()) == ["message-1", "message-2"]


def test_a_file_that_is_wrong_is_said_with_its_line_and_stops_no_run(
    subscribed: Any, receiver: Receiver
) -> None:
    file = Path(subscribed.variables["HANDOFF_POLICIES"]) / "subscribers.yml"
    file.write_text(file.read_text().replace("mql.reached", "mql.reeched"))
    said = subscribed.handoff("webhooks", "list")
    assert said.code == 4
    assert "subscribers.yml:7" in said.err
    assert "mql.reeched" in said.err
    assert subscribed.handoff("run").code == 0
