"""`handoff doctor`: every row received is accounted for, and a row that is gone is named."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import apsw
import pytest

from ingestion.errors.catalog import HandoffError
from ingestion.landing import warehouse
from ingestion.landing.events import land_events
from ingestion.log.sqlite import SqliteLog
from ingestion.settings import Settings
from orchestration import doctor


def test_after_a_file_with_bad_rows_everything_adds_up_and_missing_rows_are_named(
    empty: Any, tmp_path: Path
) -> None:
    file = tmp_path / "people.jsonl"
    lines = [contact(1), contact(2), "{", contact(3), contact(1), '{"id": 1}']
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    ingested = empty.handoff("ingest", str(file), "--json")
    assert ingested.code == 1
    [counts] = ingested.json["files"]
    assert (counts["rows"], counts["accepted"], counts["duplicate"], counts["quarantined"]) == (
        6,
        3,
        1,
        2,
    )

    land_events(empty.settings)
    well = empty.handoff("doctor", "--json")
    assert well.code == 0, well.out
    told = {count["what"]: count for count in well.json["reconciliation"]}
    events = told["events accepted by the log"]
    assert (events["received"], events["in_warehouse"], events["missing"]) == (3, 3, 0)
    refused = told["events refused"]
    assert (refused["received"], refused["in_quarantine"], refused["missing"]) == (2, 2, 0)
    [known] = well.json["files"]
    assert (
        known["rows"]
        == known["accepted"] + known["duplicate"] + known["conflict"] + known["quarantined"]
        == 6
    )

    empty.handoff("ingest", str(written(tmp_path / "more.jsonl", contact(4))))
    waiting = empty.handoff("doctor", "--json")
    assert waiting.code == 0
    assert waiting.json["reconciliation"][0]["in_flight"] == 1

    with contextlib.closing(warehouse.connect(empty.settings)) as connection:
        connection.execute("delete from raw_events.contacts where seq = 2")
    unwell = empty.handoff("doctor")
    assert unwell.code == 1
    assert "1 rows are nowhere" in unwell.out
    [line] = [
        row for row in unwell.out.splitlines() if row.startswith("events accepted by the log")
    ]
    assert line.split()[-1] == "1"
    as_json = empty.handoff("doctor", "--json")
    assert as_json.code == 1
    assert as_json.json["reconciliation"][0]["missing"] == 1


def written(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def contact(number: int) -> str:
    return json.dumps(
        {
            "specversion": "1.0",
            "id": f"e{number}",
            "source": "urn:test",
            "type": "com.handoff.contact",
            "subject": f"contact/web/{number}",
            "time": "2026-04-01T08:30:00Z",
            "data": {"record_id": str(number), "system": "web"},
        }
    )


def test_rows_of_a_poll_that_were_deleted_by_hand_are_named_by_their_table(copied: Any) -> None:
    assert copied.handoff("doctor").code == 0
    with contextlib.closing(warehouse.connect(copied.settings)) as connection:
        connection.execute(
            "delete from raw_hubspot.companies where record_id in (select record_id from raw_hubspot.companies limit 2)"
        )
    unwell = copied.handoff("doctor", "--json")
    assert unwell.code == 1
    assert [
        (count["what"], count["missing"])
        for count in unwell.json["reconciliation"]
        if count["missing"]
    ] == [("polled from hubspot.companies", 2)]


def test_a_new_home_is_well_and_is_told_what_to_do_next(empty: Any) -> None:
    said = empty.handoff("doctor")
    assert said.code == 0
    assert "nothing has landed yet" in said.out
    assert "handoff run" in said.out
    assert not empty.home.exists()


@pytest.mark.parametrize(
    ("start", "replacement"),
    [
        pytest.param(0, b"this is no database" * 100, id="header"),
        # Beyond the roots of tables, some of which are empty; max(seq) is read from pages that are whole.
        pytest.param(20 * 4_096, b"\xff" * 4_096, id="a page in the middle"),
    ],
)
def test_a_damaged_event_log_is_a_finding_and_no_crash_and_nothing_is_taken(
    empty: Any, tmp_path: Path, start: int, replacement: bytes
) -> None:
    people = written(tmp_path / "people.jsonl", *(contact(number) for number in range(200)))
    assert empty.handoff("ingest", str(people)).code == 0
    assert "200 events, each verified" in empty.handoff("doctor").out
    with empty.settings.log_path.open("r+b") as file:
        file.seek(start)
        file.write(replacement)
    said = empty.handoff("doctor", "--json")
    assert said.code == 4
    [finding] = [row for row in said.json["findings"] if row["name"] == "event log"]
    assert finding["state"] == "wrong"
    assert finding["told"].startswith("LOG_CORRUPT: ")
    assert "docs/runbooks/event-log.md" in finding["remedy"]
    more = empty.handoff("ingest", str(people))
    assert (more.code, more.err.partition(":")[0]) == (4, "LOG_CORRUPT")
    assert "Traceback" not in more.err


def test_only_the_newest_events_are_verified_unless_all_are_asked_for(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_VERIFIED_EVENTS", 10)
    log = SqliteLog(settings.log_path)
    log.append([json.loads(contact(number)) for number in range(25)])
    log.close()
    connection = apsw.Connection(str(settings.log_path))
    connection.execute("update events set chain = zeroblob(32) where seq = 3")
    connection.close()

    def event_log(*, whole: bool) -> doctor.Finding:
        findings = doctor.examine(settings, whole_log=whole).findings
        return next(finding for finding in findings if finding.name == "event log")

    newest = event_log(whole=False)
    assert newest.state == "ok"
    assert "the newest 10 verified" in newest.told
    assert "--whole-log" in newest.told
    all_of_them = event_log(whole=True)
    assert all_of_them.state == "wrong"
    assert "event 3: the hash chain is broken here" in all_of_them.told


def test_a_reconciliation_that_cannot_be_made_is_not_also_called_well(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Settings) -> Any:
        raise HandoffError("WAREHOUSE_LOCKED", "process 1 is writing")

    with contextlib.closing(warehouse.connect(settings)):
        pass
    monkeypatch.setattr(doctor, "reconcile", fail)
    told = [found for found in doctor.examine(settings).findings if found.name == "reconciliation"]
    assert [found.state for found in told] == ["wrong"]
