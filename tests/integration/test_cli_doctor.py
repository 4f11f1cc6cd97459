"""`handoff doctor`: every row received is accounted for, and a row that is gone is named."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from ingestion.landing import warehouse
from ingestion.landing.events import land_events


def test_after_a_file_with_bad_rows_everything_adds_up_and_missing_rows_are_named(
    empty: Any, tmp_path: Path
) -> None:
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


def written(path: Path, line: str) -> Path:
    path.write_text(line + "\n", encoding="utf-8")
    return path


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


def test_an_event_log_that_cannot_be_read_is_a_finding_and_no_crash(empty: Any) -> None:
    empty.settings.log_dir.mkdir(parents=True)
    empty.settings.log_path.write_bytes(b"this is no database" * 100)
    said = empty.handoff("doctor", "--json")
    assert said.code == 4
    [finding] = [row for row in said.json["findings"] if row["name"] == "event log"]
    assert finding["state"] == "wrong"
    assert finding["remedy"]
