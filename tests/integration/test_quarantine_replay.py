"""What was refused is taken again once its cause is mended: through each door, as often as one likes, and once in the end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ingestion.connectors import catalog
from ingestion.edge.intake import Item, take
from ingestion.edge.strict_json import read_items
from ingestion.edge.trace import Trace
from ingestion.edge.webhooks import translate
from ingestion.errors.catalog import HandoffError
from ingestion.landing import files
from ingestion.landing.events import land_events
from ingestion.log.interface import Rejection
from ingestion.log.owner import open_log, open_reader
from ingestion.quarantine import Selection, find_kept, list_kept
from ingestion.replay import replay
from ingestion.settings import Settings

NOW = datetime(2026, 4, 1, 12, tzinfo=UTC)
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACE = Trace(f"00-{TRACE_ID}-00f067aa0ba902b7-01", TRACE_ID)
ALL = Selection()


def chat(number: int, **changes: Any) -> dict[str, Any]:
    """An activity of a type the enumeration does not have yet."""
    return {
        "specversion": "1.0",
        "id": f"chat-{number}",
        "source": "urn:test",
        "type": "com.handoff.activity",
        "subject": f"activity/web/{number}",
        "time": "2026-04-01T08:30:00Z",
        "data": {"activity_id": str(number), "system": "web", "activity_type": "chat"},
    } | changes


def send(settings: Settings, *events: Any, door: str = "events", now: datetime = NOW) -> list[str]:
    """Send events to the edge's intake as their door does, and say what became of each."""
    known = catalog.known_systems(settings)
    items: list[Item] = []
    for event in events:
        [parsed], _ = read_items(json.dumps(event).encode())
        if door == "events":
            items.append(Item(parsed.raw, parsed.value, parsed.violations))
        else:
            module = catalog.webhook(door.partition(":")[2])
            items += translate(module, parsed.raw, parsed.violations, now)
    with closing(open_log(settings)) as log:
        outcomes = asyncio.run(
            take(log, items, door=door, trace=TRACE, known_systems=known, now=now)
        )
    return [outcome.status for outcome in outcomes]


def log_state(settings: Settings) -> tuple[int, int, int]:
    """How many events, rejections and outcomes there are."""
    with closing(open_reader(settings)) as reader:
        return reader.last_seq(), reader.last_quarantine_id(), reader.last_outcome_id()


def outcomes_of(settings: Settings, selection: Selection = ALL) -> dict[int, str]:
    return {entry.quarantine_id: entry.outcome for entry in replay(settings, selection).entries}


def test_what_the_events_door_refused_is_accepted_after_the_fix_and_once(
    contract_world: Any, settings: Settings
) -> None:
    assert send(settings, chat(1), chat(2, data={"activity_id": "2"})) == ["rejected", "rejected"]
    first = replay(settings, ALL)
    assert [entry.code for entry in first.entries] == ["ENUM_UNKNOWN", "SCHEMA_INVALID"]
    assert [kept.status for kept in list_kept(settings, ALL)] == ["refused", "refused"]
    contract_world.set_enum("activity_type", chat="CHAT")
    assert outcomes_of(settings) == {1: "accepted", 2: "refused"}
    state = log_state(settings)
    again = replay(settings, ALL)
    assert (again.already_replayed, [entry.outcome for entry in again.entries]) == (1, ["refused"])
    assert log_state(settings) == state
    assert find_kept(settings, 1).status == "replayed"


def test_a_replayed_event_keeps_its_time_and_the_trace_of_its_first_call(
    contract_world: Any, settings: Settings
) -> None:
    send(settings, chat(1))
    contract_world.set_enum("activity_type", chat="CHAT")
    replay(settings, ALL)
    with closing(open_reader(settings)) as reader:
        [entry] = reader.read()
        [kept] = reader.read_quarantine()
        [outcome] = reader.read_outcomes()
    assert entry.event["time"] == "2026-04-01T08:30:00Z"
    assert TRACE_ID in entry.event["traceparent"]
    assert entry.event | {"traceparent": ""} == chat(1) | {"traceparent": ""}
    # When it was first received stays with the entry, which the outcome joins to the event.
    assert outcome.outcome.quarantine_id == kept.quarantine_id
    assert outcome.outcome.seq == entry.seq
    assert kept.received_at <= entry.received_at


def test_what_the_sender_sent_again_meanwhile_is_not_there_twice(
    contract_world: Any, settings: Settings
) -> None:
    send(settings, chat(1))
    contract_world.set_enum("activity_type", chat="CHAT")
    assert send(settings, chat(1)) == ["accepted"]
    assert outcomes_of(settings) == {1: "duplicate"}
    assert log_state(settings) == (1, 1, 1)
    assert send(settings, chat(1)) == ["duplicate"]


def test_a_replay_that_died_before_it_was_noted_is_made_good_by_the_next(
    contract_world: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ingestion import replay as module

    send(settings, chat(1), chat(2))
    contract_world.set_enum("activity_type", chat="CHAT")

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, "_note", die)
        with pytest.raises(KeyboardInterrupt):
            replay(settings, ALL)
    assert log_state(settings) == (2, 2, 0)
    assert outcomes_of(settings) == {1: "duplicate", 2: "duplicate"}
    assert log_state(settings) == (2, 2, 2)


def test_other_content_under_an_accepted_id_stays_refused(
    contract_world: Any, settings: Settings
) -> None:
    send(settings, chat(1))
    contract_world.set_enum("activity_type", chat="CHAT", talk="TALK")
    data = {"activity_id": "1", "system": "web", "activity_type": "talk"}
    assert send(settings, chat(1, data=data)) == ["accepted"]
    [entry] = replay(settings, ALL).entries
    assert (entry.outcome, entry.code) == ("refused", "IDEMPOTENCY_CONFLICT")


def test_a_webhook_is_translated_anew_when_its_picklist_value_is_known(
    contract_world: Any, settings: Settings
) -> None:
    def notification(stage: str) -> dict[str, Any]:
        return {
            "eventId": 100, "subscriptionId": 1, "portalId": 123, "occurredAt": 1_775_034_000_000,
            "subscriptionType": "contact.propertyChange", "objectId": 51, "attemptNumber": 0,
            "propertyName": "lifecyclestage", "propertyValue": stage,
        }  # fmt: skip

    assert send(settings, notification("1234567"), door="webhook:hubspot") == ["rejected"]
    contract_world.set_enum("lifecycle_stage", evaluating="1234567")
    assert outcomes_of(settings, Selection(door="webhook")) == {1: "accepted"}
    with closing(open_reader(settings)) as reader:
        [entry] = reader.read()
    assert entry.event["data"]["lifecycle_stage"] == "evaluating"
    assert entry.event["subject"] == "contact/hubspot/51"


def test_of_a_delivery_that_means_several_events_only_the_refused_one_is_added(
    contract_world: Any, settings: Settings
) -> None:
    form = {
        "type": "form.submitted",
        "timestamp": "2026-04-01T08:30:00Z",
        "data": {"email": "a@example.com", "first_name": "A" * 300, "submission_id": "s1"},
    }
    assert sorted(send(settings, form, door="webhook:web")) == ["accepted", "rejected"]
    # Nothing is mended yet, so nothing of the delivery comes in a second time.
    assert outcomes_of(settings) == {1: "refused"}
    assert log_state(settings)[0] == 1
    contract_world.add(
        "contact",
        "1.1.0",
        lambda document: document["properties"]["first_name"].update(maxLength=500),
    )
    assert outcomes_of(settings) == {1: "accepted"}
    with closing(open_reader(settings)) as reader:
        assert [entry.event["id"] for entry in reader.read()] == ["s1:form_submit", "s1:contact"]


MAPPING = """\
type: activity
system: web
record_id: Id
occurred_at: When
columns:
  activity_type:
    column: Kind
    values: {{{values}}}
  email: Email
  form_id: {{constant: demo_request}}
"""
CSV = "Id,Kind,Email,When\n" + "".join(
    f"{number},{kind},ada@acme.de,2026-04-0{number}T10:00:00Z\n"
    for number, kind in enumerate(["form", "Formular", "form", "Formular"], start=1)
)


def write_mapping(path: Path, *, is_mended: bool) -> Path:
    values = "form: form_submit" + (", Formular: form_submit" if is_mended else "")
    path.write_text(MAPPING.format(values=values))
    return path


def test_a_row_is_mapped_by_the_mapping_as_it_is_now(settings: Settings, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text(CSV)
    mapping = write_mapping(tmp_path / "m.yml", is_mended=False)
    report = files.ingest(settings, [rows], mapping=mapping)
    assert dict(report.files[0].reasons) == {"ENUM_UNKNOWN": 2}
    assert outcomes_of(settings) == {1: "refused", 2: "refused"}
    write_mapping(mapping, is_mended=True)
    assert outcomes_of(settings) == {1: "accepted", 2: "accepted"}
    # The whole file once more, as the runbook says: nothing of it is new.
    again = files.ingest(settings, [rows], mapping=mapping)
    assert (again.files[0].accepted, again.files[0].duplicate) == (0, 4)
    assert log_state(settings)[0] == 4


def test_a_mapping_that_is_gone_is_said_and_nothing_else_stops(
    contract_world: Any, settings: Settings, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text(CSV)
    mapping = write_mapping(tmp_path / "m.yml", is_mended=False)
    files.ingest(settings, [rows], mapping=mapping)
    send(settings, chat(1))
    mapping.unlink()
    contract_world.set_enum("activity_type", chat="CHAT")
    report = replay(settings, ALL)
    assert [entry.code for entry in report.entries] == ["MAPPING_INVALID", "MAPPING_INVALID", None]
    assert report.count("accepted") == 1


def test_a_line_of_events_is_read_as_strictly_as_at_first(
    contract_world: Any, settings: Settings, tmp_path: Path
) -> None:
    lines = tmp_path / "events.jsonl"
    lines.write_text(json.dumps(chat(1)) + '\n{"id": 1, "id": 2}\n')
    files.ingest(settings, [lines])
    contract_world.set_enum("activity_type", chat="CHAT")
    report = replay(settings, ALL)
    assert [entry.code for entry in report.entries] == [None, "DUPLICATE_KEY"]


def test_what_came_after_its_sunset_is_brought_up_by_a_replay(
    contract_world: Any, settings: Settings
) -> None:
    contract_world.add_activity_2()
    contract_world.end_activity("2026-09-01")
    late = chat(1, data=chat(1)["data"] | {"activity_type": "call", "form_id": "demo"})
    assert send(settings, late, now=datetime(2026, 9, 2, tzinfo=UTC)) == ["rejected"]
    assert find_kept(settings, 1).entry.rejection.code == "VERSION_SUNSET"
    assert outcomes_of(settings) == {1: "accepted"}
    land_events(settings)
    with duckdb.connect(str(settings.warehouse_path)) as connection:
        rows = connection.execute(
            "select contract_version, upcast_to, form from raw_events.activities"
        ).fetchall()
    assert rows == [("1.0.0", "2.0.0", "demo")]


def test_a_dry_run_writes_nothing(contract_world: Any, settings: Settings) -> None:
    send(settings, chat(1), chat(2, data={}))
    contract_world.set_enum("activity_type", chat="CHAT")
    report = replay(settings, ALL, dry_run=True)
    assert (report.count("accepted"), report.count("refused")) == (1, 1)
    assert log_state(settings) == (0, 2, 0)


def test_entries_are_chosen_by_number_code_door_and_time(
    contract_world: Any, settings: Settings
) -> None:
    send(settings, chat(1), chat(2, data={}), chat(3))
    contract_world.set_enum("activity_type", chat="CHAT")
    assert outcomes_of(settings, Selection(ids=(3,))) == {3: "accepted"}
    assert outcomes_of(settings, Selection(code="ENUM_UNKNOWN")) == {1: "accepted"}
    assert outcomes_of(settings, Selection(door="file")) == {}
    ahead = datetime.now(UTC) + timedelta(hours=1)
    assert outcomes_of(settings, Selection(since=ahead)) == {}
    with pytest.raises(HandoffError, match="no quarantined entry 9"):
        replay(settings, Selection(ids=(9,)))


def test_it_works_while_another_process_owns_the_log(
    contract_world: Any, settings: Settings
) -> None:
    send(settings, chat(1))
    contract_world.set_enum("activity_type", chat="CHAT")
    # The edge: whoever opens the log after it hands over through its socket.
    with closing(open_log(settings)) as owner:
        assert outcomes_of(settings) == {1: "accepted"}
        assert owner.last_seq() == 1
        assert [entry.outcome.outcome for entry in owner.read_outcomes()] == ["accepted"]


def test_the_warehouse_says_what_became_of_each_entry(
    contract_world: Any, settings: Settings
) -> None:
    send(settings, chat(1), chat(2, data={}))
    land_events(settings)
    contract_world.set_enum("activity_type", chat="CHAT")
    for _ in range(2):
        replay(settings, ALL)
        land_events(settings)
    with duckdb.connect(str(settings.warehouse_path)) as connection:
        rows = connection.execute(
            "select seq, quarantine_id, outcome, event_seq, code from raw_events.rejection_outcomes"
        ).fetchall()
    assert rows == [(1, 1, "accepted", 1, None), (2, 2, "refused", None, "SCHEMA_INVALID")]


def test_a_log_from_before_there_were_outcomes_is_read_and_then_replayed(
    contract_world: Any, settings: Settings
) -> None:
    import apsw

    send(settings, chat(1))
    connection = apsw.Connection(str(settings.log_path))
    connection.execute("drop table quarantine_outcomes")
    connection.execute("alter table quarantine drop column context")
    connection.close()
    # Nobody has opened it for writing yet: a reader must do with what there is.
    assert [kept.status for kept in list_kept(settings, ALL)] == ["open"]
    contract_world.set_enum("activity_type", chat="CHAT")
    assert outcomes_of(settings) == {1: "accepted"}
    assert log_state(settings) == (1, 1, 1)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.lists(st.integers(1, 4), min_size=1, max_size=4)),
        st.tuples(st.just("replay"), st.just([])),
        st.tuples(st.just("mend"), st.just([])),
    ),
    min_size=1,
    max_size=8,
)


def test_any_sequence_of_duplicates_and_replays_ends_as_if_all_had_been_right_at_first(
    contract_world: Any, tmp_path: Path
) -> None:
    enums = contract_world.folder / "enums" / "activity_type.json"
    unmended = enums.read_text()
    homes = iter(range(10_000))

    @given(STEPS)
    @hypothesis_settings(
        max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    def check(steps: list[tuple[str, list[int]]]) -> None:
        world = Settings(home=tmp_path / str(next(homes)))
        enums.write_text(unmended)
        contract_world.set_enum("activity_type")
        sent: set[int] = set()
        is_mended = False
        for step, numbers in [*steps, ("mend", []), ("replay", []), ("replay", [])]:
            if step == "send":
                send(world, *map(chat, numbers))
                sent |= set(numbers)
            elif step == "replay":
                replay(world, ALL)
            elif not is_mended:
                contract_world.set_enum("activity_type", chat="CHAT")
                is_mended = True
        right = Settings(home=tmp_path / str(next(homes)))
        send(right, *map(chat, sorted(sent)))

        def contents(settings: Settings) -> list[Any]:
            with closing(open_reader(settings)) as reader:
                events = [dict(entry.event) for entry in reader.read()]
                assert [kept.status for kept in list_kept(settings, ALL) if kept.status != "replayed"] == []  # fmt: skip
            return sorted(json.dumps(event | {"traceparent": ""}) for event in events)

        assert contents(world) == contents(right)

    check()


def test_scores_come_out_as_if_the_mapping_had_been_right_and_replaying_twice_changes_nothing(
    open_warehouse: Callable[..., Any], tmp_path: Path
) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text(CSV)
    as_of = datetime(2026, 4, 10, tzinfo=UTC)
    contact = {"record_id": "1", "system": "web", "email": "ada@acme.de"}

    def begin(*, is_mended: bool) -> tuple[Any, Path]:
        house = open_warehouse()
        mapping = write_mapping(tmp_path / f"{is_mended}.yml", is_mended=is_mended)
        house.append([house.event("contact", contact, as_of - timedelta(days=9), event_id="c")])
        files.ingest(house.settings, [rows], mapping=mapping)
        house.transform(as_of)
        return house, mapping

    def state(house: Any) -> dict[str, list[tuple[Any, ...]]]:
        own = {"received_at", "loaded_at", "seq", "event_seq", "trace_parent", "known_at"}
        found = {}
        for table in ("fct_scores", "fct_score_ledger", "fct_activities", "fct_mqls"):
            records = house.records(f"select * from marts.{table}")
            kept = [{k: v for k, v in row.items() if k not in own} for row in records]
            found[table] = sorted(map(repr, kept))
        return found

    right, _ = begin(is_mended=True)
    late, mapping = begin(is_mended=False)
    wanted = state(right)
    assert len(wanted["fct_activities"]) == 4
    assert len(state(late)["fct_activities"]) == 2
    assert state(late)["fct_scores"] != wanted["fct_scores"]
    write_mapping(mapping, is_mended=True)
    for _ in range(2):
        replay(late.settings, ALL)
        late.transform(as_of)
        assert state(late) == wanted
    [status] = late.rows("select distinct status from ops.quarantine")
    assert status == ("replayed",)


def test_what_its_sender_may_not_send_is_let_in_only_when_it_is_named(settings: Settings) -> None:
    data = {"contact_id": "c1", "system": "web", "channel": "email", "lawful_basis": "consent", "status": "granted"}  # fmt: skip
    consent = chat(1, type="com.handoff.consent", subject="consent/web/1", data=data)
    refused = Rejection(
        "events", "SCOPE_DENIED", "/type", "'shop' lacks the scope", json.dumps(consent).encode(), TRACE_ID,
        consent["source"], consent["id"], consent["type"],
    )  # fmt: skip
    with closing(open_log(settings)) as log:
        log.quarantine([refused])
    for report in (replay(settings, ALL), replay(settings, Selection(door="events"))):
        assert (report.entries, report.not_allowed) == ((), 1)
    assert log_state(settings) == (0, 1, 0)
    assert outcomes_of(settings, Selection(code="SCOPE_DENIED")) == {1: "accepted"}
    assert log_state(settings) == (1, 1, 1)
