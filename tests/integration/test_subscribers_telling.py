"""From an event to the receiver: what is told, to whom, once, in order, and never of what was before."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from benchmarks import records
from ingestion.settings import Settings
from ingestion.subscribers.deliverer import Deliverer
from ingestion.subscribers.outbox import Outbox
from models.policies.load import POLICY_FOLDER
from orchestration.subscribers import (
    Telling,
    copy_attempts,
    outbox_path,
    subscribers_of,
    tell,
)
from tests.integration.webhook_receiver import SECRET, Receiver

BEFORE = datetime.now(UTC) - timedelta(days=3)
ALL = "mql.reached, lead.assigned, meeting.booked, meeting.outcome"


def qualifying(person: int, at: datetime) -> list[dict[str, Any]]:
    return [
        records.contact(person, at, country="DE", job_title="VP Marketing"),
        records.consent(person, at),
        records.form_submit(10_000 + person, person, "contact_sales", at),
        records.form_submit(20_000 + person, person, "demo_request", at),
    ]


@dataclass
class World:
    """A warehouse, a receiver that subscribes to it, and the steps of a batch."""

    warehouse: Any
    receiver: Receiver
    # A subscription begins when it is first seen, by the real clock: what happens here happens in the minutes after that.
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    minutes: int = 0

    @property
    def settings(self) -> Any:
        return self.warehouse.settings

    def later(self) -> datetime:
        """A minute after the last instant of this world."""
        self.minutes += 1
        return self.began + timedelta(minutes=self.minutes)

    def subscribe(self, text: str = "") -> None:
        (Path(self.settings.policies) / "subscribers.yml").write_text(
            "subscribers:\n  - name: receiver\n    description: a test\n    owner: me\n"
            f"    url: {self.receiver.url}\n    kinds: [{ALL}]\n{text}"
        )

    def batch(
        self,
        *events: dict[str, Any],
        scope: str = "decisions",
        full_refresh: bool = False,
        told: bool = True,
    ) -> Telling | None:
        self.warehouse.append(events)
        self.warehouse.transform(self.later(), scope=scope, full_refresh=full_refresh)
        return tell(self.settings) if told else None

    def deliver(self) -> list[tuple[str, str]]:
        """Deliver what is due; kind and subject of everything the receiver ever took."""
        with contextlib.closing(Outbox(outbox_path(self.settings))) as outbox:
            Deliverer(outbox, lambda: subscribers_of(self.settings)).once()
        return [(each["kind"], each["subject"]) for each in self.receiver.taken()]

    def bodies(self, kind: str) -> list[dict[str, Any]]:
        return [
            json.loads(each["body"])["data"]
            for each in self.receiver.taken()
            if each["kind"] == kind
        ]

    def qualifies(self, person: int, at: datetime | None = None) -> list[dict[str, Any]]:
        """Events by which a person, unknown so far, qualifies at once."""
        return qualifying(person, at or self.later())

    def person_of(self, record_id: str) -> str:
        [(person_id,)] = self.warehouse.rows(
            "select person_id from marts.entity_map where record_id = ? and record_type = 'contact' and is_current",
            [record_id],
        )
        return str(person_id)


@pytest.fixture(scope="module")
def started(open_warehouse: Callable[..., Any]) -> Any:
    """A warehouse with reps and one person who qualified days ago; each test takes a copy."""
    warehouse = open_warehouse()
    reps = [event for event in records.world(1) if event["type"] == "com.handoff.rep"]
    warehouse.append([*reps, *qualifying(1, BEFORE)])
    warehouse.transform(BEFORE + timedelta(hours=1))
    return warehouse


@pytest.fixture
def world(started: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    home, policies = tmp_path / "home", tmp_path / "policies"
    shutil.copytree(started.settings.root, home, ignore=shutil.ignore_patterns("*.sock", "*.lock"))
    left_out = shutil.ignore_patterns("*.py", "__pycache__", "subscribers.yml")
    shutil.copytree(POLICY_FOLDER, policies, ignore=left_out)
    receiver = Receiver(tmp_path / "receiver").start()
    monkeypatch.setenv("HANDOFF_SUBSCRIBER_SECRET_RECEIVER", SECRET)
    yield World(replace(started, settings=Settings(home=home, policies=policies)), receiver)
    receiver.stop()


def test_without_subscribers_nothing_is_kept(world: World) -> None:
    assert world.batch(*world.qualifies(2)) is None
    assert not outbox_path(world.settings).exists()


def test_who_qualifies_is_told_once_and_then_who_got_them_whatever_is_run_again(
    world: World,
) -> None:
    world.subscribe()
    assert tell(world.settings) is not None
    assert world.deliver() == [], "what was before the subscription was told"
    telling = world.batch(*world.qualifies(2))
    assert telling is not None
    assert (telling.told.messages, telling.is_whole) == (2, False)
    person = world.person_of("person-2")
    expected = [("mql.reached", person), ("lead.assigned", person)]
    assert world.deliver() == expected
    # Again, with more of the same person, as a whole batch, after a rebuild, and with another version of a policy.
    assert tell(world.settings) is not None
    world.batch(records.page_view(77, 2, world.later()))
    world.batch(scope="everything")
    rebuilt = world.batch(scope="everything", full_refresh=True)
    assert rebuilt is not None and rebuilt.is_whole
    folder = Path(world.settings.policies)
    text = (folder / "scoring" / "v1.yml").read_text().replace("label: ", "label: Still ")
    (folder / "scoring" / "v2.yml").write_text(text)
    rollout = folder / "rollout.yml"
    rollout.write_text(rollout.read_text().replace("scoring: v1", "scoring: v2"))
    world.batch(scope="everything")
    [(version,)] = world.warehouse.rows("select distinct scoring_version from marts.fct_mqls")
    assert version == "v2"
    assert world.deliver() == expected
    [reached] = world.bodies("mql.reached")
    assert reached["reasons"][0]["label"]
    assert reached["score"] >= 50
    text = json.dumps(world.receiver.got())
    assert "person.2@" not in text and "+49301" not in text, "a personal field left unasked"


def test_history_that_comes_in_later_is_told_nobody(world: World) -> None:
    world.subscribe()
    tell(world.settings)
    telling = world.batch(*world.qualifies(3, BEFORE))
    assert telling is not None and telling.told.messages == 0
    [(mqls,)] = world.warehouse.rows("select count(*) from marts.fct_mqls")
    assert mqls == 2
    assert world.deliver() == []


def test_what_a_process_that_died_did_not_tell_is_told_by_the_next(world: World) -> None:
    world.subscribe()
    tell(world.settings)
    world.batch(*world.qualifies(4), told=False)
    telling = world.batch(records.page_view(78, 1, world.later()))
    assert telling is not None
    assert (telling.is_whole, telling.told.messages) == (True, 2)
    next_one = world.batch(*world.qualifies(5))
    assert next_one is not None
    assert (next_one.is_whole, next_one.told.messages) == (False, 2)


def test_two_records_that_turn_out_to_be_one_person_are_no_news(world: World) -> None:
    world.subscribe()
    tell(world.settings)
    # Known first, and no lead: the merge gives the other's crossing this one's id.
    at = world.later()
    world.batch(records.contact(6, at, email="first@example.org", phone=None))
    world.batch(*world.qualifies(7))
    before = world.deliver()
    told_of = world.person_of("person-7")
    assert [subject for _, subject in before] == [told_of] * 2
    world.batch(
        world.warehouse.event(
            "merge",
            {"system": "web", "surviving_id": "person-6", "merged_ids": ["person-7"]},
            world.later(),
        )
    )
    merged = world.person_of("person-7")
    assert merged == world.person_of("person-6") != told_of
    messages = world.warehouse.rows(
        "select message_id from sync.sync_webhooks__leads where person_id = ?", [merged]
    )
    with contextlib.closing(Outbox(outbox_path(world.settings))) as outbox:
        kept = dict(
            outbox.rows("select message_id, told_as from messages where subject = ?", merged)
        )
    # Ids that nobody was told: without the person's former ids they would have been.
    assert len(messages) == 2
    assert set(kept) == {message_id for (message_id,) in messages}
    assert None not in kept.values()
    world.batch(scope="everything", full_refresh=True)
    assert world.deliver() == before


def test_a_meeting_is_told_when_it_is_booked_put_off_and_over_and_not_when_it_is_edited(
    world: World,
) -> None:
    world.subscribe()
    tell(world.settings)
    world.batch(*world.qualifies(8))
    starts = world.began + timedelta(days=1)

    def meeting(status: str, starts_at: datetime = starts) -> dict[str, Any]:
        at = world.later()
        return dict(
            world.warehouse.event(
                "meeting",
                {
                    "meeting_id": "m-1",
                    "system": "web",
                    "contact_id": "person-8",
                    "rep_id": "rep-0",
                    "status": status,
                    "starts_at": starts_at.isoformat(),
                    "ends_at": (starts_at + timedelta(minutes=30)).isoformat(),
                    "time_zone": "Europe/Berlin",
                },
                at,
            )
        )

    moved = starts + timedelta(hours=2)
    for status, starts_at in (
        ("booked", starts),
        ("booked", starts),
        ("rescheduled", moved),
        ("held", moved),
        ("held", moved),
        ("no_show", moved),
        ("held", moved),
    ):
        world.batch(meeting(status, starts_at), scope="everything")
    world.deliver()
    booked = [each["starts_at"] for each in world.bodies("meeting.booked")]
    assert [datetime.fromisoformat(each) for each in booked] == [starts, moved]
    assert [each["status"] for each in world.bodies("meeting.outcome")] == [
        "held",
        "no_show",
        "held",
    ]
    # One id each: a receiver that goes by it counts every one.
    ids = [each["id"] for each in world.receiver.taken()]
    assert len(set(ids)) == len(ids) == 7


def test_personal_fields_are_told_who_asks_for_them_and_not_of_who_may_not_be_written_to(
    world: World,
) -> None:
    world.subscribe(
        "    personal_fields: [email, rep_email]\n    consent_destination: salesforce\n"
    )
    tell(world.settings)
    at = world.later()
    denied = [event for event in world.qualifies(10, at) if "consent" not in event["type"]]
    refusal = records.consent(10, at)
    refusal["data"]["status"] = "denied"
    world.batch(*world.qualifies(9), *denied, refusal)
    world.deliver()
    told = {each["person_id"]: each["personal"] for each in world.bodies("lead.assigned")}
    assert told[world.person_of("person-9")] == {
        "email": "person.9@company-9.example",
        "rep_email": "rep0@example.com",
    }
    assert told[world.person_of("person-10")] == {"email": None, "rep_email": None}


def test_how_deliveries_went_is_in_the_warehouse_per_subscriber_kind_and_hour(world: World) -> None:
    world.subscribe()
    tell(world.settings)
    world.receiver.script({"status": 500})
    world.batch(*world.qualifies(11))
    world.deliver()
    assert copy_attempts(world.settings) == 1
    assert copy_attempts(world.settings) == 0
    world.batch(scope="everything")
    assert world.warehouse.rows(
        "select subscriber, kind, attempt_count, delivered_count, failed_count, dead_count from marts.fct_webhook_deliveries"
    ) == [("receiver", "mql.reached", 1, 0, 1, 0)]


def test_what_is_told_brings_no_model_onto_the_hot_path(world: World) -> None:
    from orchestration.transform import decision_models, manifest

    made = {unique_id.rpartition(".")[2] for unique_id in decision_models(manifest(world.settings))}
    assert {"fct_mqls", "fct_assignments", "sync_salesforce__leads"} <= made
    # Its table is made whole, of the whole entity_map.
    assert "fct_meetings" not in made
    assert [name for name in made if name.startswith("sync_webhooks__")] == []


def test_a_batch_asks_the_index_for_its_people(world: World) -> None:
    """DuckDB's own profile of what is asked for the people of a batch."""
    from benchmarks.query_profiles import _scans
    from ingestion.landing.warehouse import connect
    from orchestration.subscribers import ALIASES, LEADS, _named

    [(person,)] = world.warehouse.rows("select person_id from marts.fct_mqls")
    with contextlib.closing(connect(world.settings)) as connection:
        connection.execute("set enable_profiling = 'no_output'")
        found = set()
        for model, columns in (
            (LEADS, ("person_id", "crossing_person_id")),
            (ALIASES, ("person_id",)),
        ):
            [named] = _named([person, "nobody"], *columns)
            connection.execute(f"select * from {model} where true {named}").fetchall()
            profile = json.loads(connection.get_profiling_information("json"))
            found |= {scan.table for scan in _scans(profile) if scan.by_index}
    assert {"marts.fct_mqls", "intermediate.int_identity__people"} <= found
