"""`handoff ingest`: every row of every file ends in the log or in quarantine, and nothing twice."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest

from ingestion.errors.catalog import HandoffError
from ingestion.landing import warehouse
from ingestion.landing.events import land_events
from ingestion.landing.files import ingest
from ingestion.landing.ingest_report import FileReport, IngestReport
from ingestion.log.owner import open_reader
from ingestion.settings import Settings
from orchestration.reconciliation import ingested_files, keep_ingest

ROOT = Path(__file__).parents[2]
OLIST = ROOT / "docs" / "tutorials" / "olist"
# Export file -> mapping shipped with the connector -> rows that cannot be said in our words.
EXTRACTS = [
    ("hubspot/contact_data", "contacts", 0),
    ("hubspot/company_data", "companies", 0),
    ("hubspot/deal_data", "deals", 0),
    ("hubspot/deal_contact_data", "deal_contacts", 0),
    ("hubspot/contact_merge_audit_data", "contact_merges", 0),
    ("hubspot/owner_data", "owners", 0),
    ("hubspot/contact_form_submission_data", "form_submissions", 0),
    ("hubspot/email_event_data", "email_events", 6),
    ("hubspot/email_event_open_data", "email_opens", 0),
    ("hubspot/email_event_click_data", "email_clicks", 0),
    ("hubspot/engagement_call_data", "engagement_calls", 0),
    ("hubspot/engagement_email_data", "engagement_emails", 0),
    ("hubspot/engagement_note_data", "engagement_notes", 0),
    ("hubspot/engagement_task_data", "engagement_tasks", 0),
    ("hubspot/engagement_meeting_data", "engagement_meetings", 0),
    ("salesforce/sf_contact_data", "contacts", 0),
    ("salesforce/sf_lead_data", "leads", 0),
    ("salesforce/sf_account_data", "accounts", 0),
    ("salesforce/sf_opportunity_data", "opportunities", 0),
    ("salesforce/sf_task_data", "tasks", 0),
    ("salesforce/sf_event_data", "events", 0),
    ("salesforce/sf_user_data", "users", 0),
]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture
def shared() -> Path:
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real inputs (shared/data) are not beside this checkout")
    return folder


def event(number: int, **changes: Any) -> dict[str, Any]:
    data = {"record_id": str(number), "system": "web", "email": f"p{number}@example.com"}
    return {
        "specversion": "1.0",
        "id": f"e{number}",
        "source": "urn:test",
        "type": "com.handoff.contact",
        "subject": f"contact/web/{number}",
        "time": "2026-04-01T08:30:00Z",
        "data": data,
    } | changes


def lines(path: Path, *rows: object) -> Path:
    text = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(text) + "\n", encoding="utf-8")
    return path


def in_log(settings: Settings) -> int:
    return open_reader(settings).last_seq()


def quarantine(settings: Settings) -> list[Any]:
    return open_reader(settings).read_quarantine(0, 1_000)


def all_accounted_for(file: FileReport) -> bool:
    return file.rows == file.accepted + file.duplicate + file.conflict + file.quarantined


def refused(report: IngestReport) -> HandoffError:
    error = report.files[0].refused
    assert error is not None
    assert report.exit_code != 0
    return error


def test_olist_lands_as_8000_people_and_842_won_deals_each_with_its_rep(
    settings: Settings, shared: Path
) -> None:
    folder = shared / "olist_funnel"
    leads = folder / "olist_marketing_qualified_leads_dataset.csv"
    deals = folder / "olist_closed_deals_dataset.csv"
    for mapping, path, rows in (("leads", leads, 8_000), ("closed_deals", deals, 842)):
        report = ingest(settings, [path], mapping=OLIST / f"{mapping}.yml")
        assert (report.rows, report.accepted, report.exit_code) == (rows, rows, 0)
        again = ingest(settings, [path], mapping=OLIST / f"{mapping}.yml")
        assert (again.accepted, again.duplicate, again.exit_code) == (0, rows, 0)
    assert land_events(settings).rows == {"contacts": 8_000, "opportunities": 842}
    assert land_events(settings).rows == {}

    with deals.open(newline="") as file:
        wanted = {row["mql_id"]: row["sr_id"] for row in csv.DictReader(file)}
    connection = warehouse.connect(settings)
    people = connection.execute(
        "select count(distinct record_id),"
        " count(distinct json_extract_string(custom, '$.landing_page_id')),"
        " min(occurred_at)::date::text, max(occurred_at)::date::text from raw_events.contacts"
    ).fetchall()
    won = connection.execute(
        "select json_extract_string(contact_ids, '$[0]'), owner_id from raw_events.opportunities"
        " where is_won and stage = 'closed_won' and closed_at = occurred_at and system = 'olist'"
    ).fetchall()
    connection.close()
    assert people == [(8_000, 495, "2017-06-14", "2018-05-31")]
    assert dict(won) == wanted


@pytest.mark.parametrize(
    ("extract", "mapping", "refused_rows"), EXTRACTS, ids=lambda value: str(value)
)
def test_every_row_of_a_real_extract_is_in_the_log_or_in_quarantine(
    settings: Settings, shared: Path, extract: str, mapping: str, refused_rows: int
) -> None:
    path = shared / f"{extract}.csv"
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = sum(1 for _ in csv.DictReader(file))
    report = ingest(settings, [path], mapping=f"{extract.split('/')[0]}/{mapping}")
    [file_report] = report.files
    assert file_report.refused is None
    assert all_accounted_for(file_report)
    assert (report.rows, report.accepted, report.quarantined) == (
        rows,
        rows - refused_rows,
        refused_rows,
    )
    assert in_log(settings) + len(quarantine(settings)) == rows
    assert report.exit_code == (1 if refused_rows else 0)


def test_merges_and_deletions_of_the_real_extracts_survive(
    settings: Settings, shared: Path
) -> None:
    ingest(settings, [shared / "hubspot/contact_data.csv"], mapping="hubspot/contacts")
    ingest(
        settings,
        [shared / "hubspot/contact_merge_audit_data.csv"],
        mapping="hubspot/contact_merges",
    )
    ingest(settings, [shared / "salesforce/sf_account_data.csv"], mapping="salesforce/accounts")
    land_events(settings)
    connection = warehouse.connect(settings)
    one = connection.execute
    merged = one(
        "select external_ids from raw_events.contacts where record_id = '78971951'"
    ).fetchall()
    audit = one("select surviving_id, merged_ids from raw_events.merges order by 1").fetchall()
    accounts = one(
        "select is_deleted, json_extract_string(custom, '$.master_record_id')"
        " from raw_events.accounts"
        " where json_exists(custom, '$.master_record_id')"
    ).fetchall()
    connection.close()
    assert [found["record_id"] for found in json.loads(merged[0][0])] == [
        "76340251",
        "46897301",
        "76226001",
    ]
    assert audit[0] == ("2222", '["9999"]') and len(audit) == 4
    assert accounts == [(True, "L4izOo4yZpLq5io5YM8pvA==")]


def test_a_malformed_line_in_the_middle_is_quarantined_and_the_rest_goes_in(
    settings: Settings, tmp_path: Path
) -> None:
    path = lines(tmp_path / "e.jsonl", event(1), '{"specversion": "1.0", "id": ', event(3))
    report = ingest(settings, [path])
    assert (report.rows, report.accepted, report.quarantined, report.exit_code) == (3, 2, 1, 1)
    [problem] = report.files[0].problems
    assert problem.line == 2 and problem.code == "SCHEMA_INVALID"
    assert f"{path}: line 2:" in problem.message and problem.remedy
    [kept] = quarantine(settings)
    assert kept.rejection.payload == b'{"specversion": "1.0", "id":'
    again = ingest(settings, [path])
    assert (again.accepted, again.duplicate, again.quarantined) == (0, 2, 1)
    assert (in_log(settings), len(quarantine(settings))) == (2, 1)


@pytest.mark.parametrize(
    ("line", "code", "named"),
    [
        (
            event(2, data={"record_id": "2", "system": "crmm"}),
            "ENUM_UNKNOWN",
            "unknown system 'crmm'; known:",
        ),
        (
            event(2, data={"record_id": "2", "system": "web", "colour": "red"}),
            "FIELD_MISMATCH",
            "'colour'",
        ),
        (
            event(2, data={"record_id": "2", "system": "web", "lifecycle_stage": "mqll"}),
            "ENUM_UNKNOWN",
            "'mqll'",
        ),
        (event(2, time="last tuesday"), "FIELD_MISMATCH", "last tuesday"),
        (event(2, type="com.handoff.contct"), "SCHEMA_UNKNOWN", "com.handoff.contct"),
        ('{"id": "e2", "id": "e3"}', "DUPLICATE_KEY", "'id'"),
        ("[1, 2]", "SCHEMA_INVALID", "list"),
        ('{"specversion": NaN}', "SCHEMA_INVALID", "NaN"),
        ("\x00\x01", "SCHEMA_INVALID", "JSON"),
    ],
    ids=["system", "field", "enum", "date", "type", "key-twice", "array", "nan", "binary"],
)
def test_a_bad_event_is_quarantined_naming_value_file_and_line(
    settings: Settings, tmp_path: Path, line: Any, code: str, named: str
) -> None:
    path = lines(tmp_path / "e.jsonl", event(1), line, event(3))
    report = ingest(settings, [path])
    [problem] = report.files[0].problems
    assert (problem.code, problem.line) == (code, 2)
    assert named in problem.message and str(path) in problem.message
    assert (report.accepted, report.quarantined, report.exit_code) == (2, 1, 1)
    assert all_accounted_for(report.files[0])


def test_an_id_sent_with_other_content_is_a_conflict_and_kept(
    settings: Settings, tmp_path: Path
) -> None:
    changed = event(1, time="2026-04-02T08:30:00Z")
    report = ingest(settings, [lines(tmp_path / "e.jsonl", event(1), event(1), changed)])
    assert (report.accepted, report.duplicate, report.conflict, report.exit_code) == (1, 1, 1, 1)
    [kept] = quarantine(settings)
    assert kept.rejection.code == "IDEMPOTENCY_CONFLICT"
    assert json.loads(kept.rejection.payload) == changed


def test_an_unknown_column_refuses_the_whole_file_before_anything_is_appended(
    settings: Settings, tmp_path: Path
) -> None:
    path = lines(tmp_path / "p.csv", "record_id,emial,occurred_at", "1,a@example.com,2026-04-01")
    error = refused(ingest(settings, [path], record_type="contact", system="web"))
    assert error.code == "COLUMN_UNKNOWN"
    assert "'emial'" in error.message and f"{path}: line 1" in error.message
    assert "unmapped: custom" in error.remedy
    assert (in_log(settings), quarantine(settings)) == (0, [])


def test_an_unknown_system_refuses_the_file_and_names_the_known_ones(
    settings: Settings, tmp_path: Path
) -> None:
    path = lines(tmp_path / "p.csv", "record_id,occurred_at", "1,2026-04-01")
    error = refused(ingest(settings, [path], record_type="contact", system="crmm"))
    assert error.code == "SYSTEM_UNKNOWN"
    assert "'crmm'" in error.message and "hubspot" in error.message
    assert "HANDOFF_SYSTEMS" in error.remedy
    assert "(--system)" in error.message
    assert in_log(settings) == 0


@pytest.mark.parametrize(
    ("system", "code"), [("crmm", "SYSTEM_UNKNOWN"), ("web", "FILE_UNREADABLE")]
)
def test_a_system_for_events_is_refused_and_not_ignored(
    settings: Settings, tmp_path: Path, system: str, code: str
) -> None:
    error = refused(ingest(settings, [lines(tmp_path / "e.jsonl", event(1))], system=system))
    assert error.code == code
    assert "--system" in error.message
    assert ("hubspot" in error.message) == (code == "SYSTEM_UNKNOWN")
    assert in_log(settings) == 0


def test_a_wrong_enum_and_an_unparsable_date_in_csv_are_quarantined_by_row(
    settings: Settings, tmp_path: Path
) -> None:
    path = lines(
        tmp_path / "p.csv",
        "record_id,lifecycle_stage,birth_date,occurred_at",
        "1,mql,1988-02-29,2026-04-01T08:00:00Z",
        "2,mqll,,2026-04-01T08:00:00Z",
        "3,,31/12/1990,2026-04-01T08:00:00Z",
        "4,,,soon",
        "5,,,",
    )
    report = ingest(settings, [path], record_type="contact", system="web")
    assert (report.rows, report.accepted, report.quarantined, report.exit_code) == (5, 1, 4, 1)
    assert [(found.line, found.code) for found in report.files[0].problems] == [
        (3, "ENUM_UNKNOWN"), (4, "DATE_UNPARSABLE"), (5, "DATE_UNPARSABLE"), (6, "DATE_UNPARSABLE"),
    ]  # fmt: skip
    messages = " ".join(found.message for found in report.files[0].problems)
    assert "'mqll'" in messages and "'31/12/1990'" in messages and "'soon'" in messages
    assert "`format:`" in messages


@pytest.mark.parametrize(
    ("born", "happened", "told"),
    [
        ("2026-02-31", "2026-04-01T00:00:00Z", "'2026-02-31'"),
        ("", "2026-02-31T10:00:00Z", "'2026-02-31T10:00:00Z'"),
        ("", "2026-02-28 25:00", "'2026-02-28 25:00'"),
    ],
)
def test_a_date_that_no_calendar_has_is_not_said_to_want_a_format(
    settings: Settings, tmp_path: Path, born: str, happened: str, told: str
) -> None:
    path = lines(tmp_path / "p.csv", "record_id,birth_date,occurred_at", f"1,{born},{happened}")
    report = ingest(settings, [path], record_type="contact", system="web")
    [found] = report.files[0].problems
    assert found.code == "DATE_UNPARSABLE"
    assert told in found.message
    assert "format" not in found.message + found.remedy
    assert found.remedy.startswith("Correct the value")


def test_lines_of_csv_that_cannot_be_read_are_kept_byte_for_byte(
    settings: Settings, tmp_path: Path
) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes(
        b"record_id,company,occurred_at\n"
        b"1,one,2026-04-01\n"
        b"2,two,2026-04-01,extra\n"
        b'3,"never closed,2026-04-01\n'
        b"4,caf\xe9,2026-04-01\n"
        b'5,"two\nlines",2026-04-01\n'
        b"6,six,2026-04-01"
    )
    report = ingest(settings, [path], record_type="contact", system="web")
    assert all_accounted_for(report.files[0])
    advice = {found.line: found.remedy for found in report.files[0].problems}
    assert "a field for each column" in advice[3]
    assert "Close the quote" in advice[4]
    assert "UTF-8" in advice[5]
    kept = {entry.rejection.payload for entry in quarantine(settings)}
    assert {b"2,two,2026-04-01,extra", b"4,caf\xe9,2026-04-01"} <= kept
    assert b'3,"never closed,2026-04-01' in kept
    names = [entry.event["data"] for entry in open_reader(settings).read(0, 100)]
    assert {data["record_id"] for data in names} == {"1", "5", "6"}
    assert {"record_id": "5", "system": "web", "company": "two\nlines"} in names


CALLS = """\
engagement_id,property_hs_createdate,property_hs_timestamp,type
1,2026-03-01 10:00:00,2026-03-01 09:00:00,CALL
2,2026-03-02 10:00:00,2026-03-02 09:00:00,CALL
3,2026-03-03 10:00:00,2026-03-03 09:00:00,CALL
"""
# One is there twice: associations are of several kinds.
PARTNERS = """\
contact_id,engagement_id,engagement_type,type_id
501,1,CALL,194
502,1,CALL,194
501,1,CALL,195
501,2,CALL,194
777,99,TASK,192
"""


def test_a_call_of_a_file_is_an_activity_of_everybody_the_file_beside_it_names(
    settings: Settings, tmp_path: Path
) -> None:
    calls = tmp_path / "hs_engagement_call_2026.csv"
    calls.write_text(CALLS, encoding="utf-8")
    beside = tmp_path / "hs_engagement_contact_2026.csv"
    beside.write_text(PARTNERS, encoding="utf-8")
    report = ingest(settings, [calls], mapping="hubspot/engagement_calls")
    assert (report.rows, report.accepted) == (4, 4)
    assert all_accounted_for(report.files[0])
    found = {
        (row["activity_id"], row.get("contact_id"), row["activity_type"])
        for row in (entry.event["data"] for entry in open_reader(settings).read(0, 9))
    }
    assert found == {
        ("1/501", "501", "call"), ("1/502", "502", "call"), ("2/501", "501", "call"), ("3", None, "call"),
    }  # fmt: skip
    again = ingest(settings, [calls], mapping="hubspot/engagement_calls")
    assert (again.accepted, again.duplicate) == (0, 4)
    # Whoever joined a call is learned of later; what was known stays as it is.
    beside.write_text(PARTNERS + "503,1,CALL,194\n", encoding="utf-8")
    later = ingest(settings, [calls], mapping="hubspot/engagement_calls")
    assert (later.accepted, later.duplicate) == (1, 4)


def test_a_call_without_the_file_that_says_whose_it_is_is_refused(
    settings: Settings, tmp_path: Path
) -> None:
    calls = tmp_path / "engagement_call.csv"
    calls.write_text(CALLS, encoding="utf-8")
    error = refused(ingest(settings, [calls], mapping="hubspot/engagement_calls"))
    assert error.code == "FILE_UNREADABLE"
    assert "engagement_contact.csv" in error.message
    other = tmp_path / "calls.csv"
    other.write_text(CALLS, encoding="utf-8")
    error = refused(ingest(settings, [other], mapping="hubspot/engagement_calls"))
    assert "engagement_call" in error.message
    # A file that names the person itself needs no other.
    whole = CALLS.replace("type\n", "type,contact_id\n").replace("CALL\n", "CALL,501\n")
    other.write_text(whole, encoding="utf-8")
    assert ingest(settings, [other], mapping="hubspot/engagement_calls").accepted == 3


def test_parquet_rows_become_the_same_events_as_the_same_csv(
    settings: Settings, tmp_path: Path
) -> None:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    path = lines(
        tmp_path / "a.csv",
        "record_id,amount_usd,is_won,occurred_at",
        "1,10.50,true,2026-04-01T00:00:00Z",
    )
    convert = pa.csv.ConvertOptions(column_types={"record_id": pa.string()})
    table = pa.csv.read_csv(path, convert_options=convert)
    pa.parquet.write_table(table, tmp_path / "a.parquet")
    assert str(table.schema.field("occurred_at").type).startswith("timestamp")
    first = ingest(settings, [path], record_type="opportunity", system="web")
    second = ingest(settings, [tmp_path / "a.parquet"], record_type="opportunity", system="web")
    assert (first.accepted, second.accepted, second.duplicate) == (1, 0, 1)


def damaged_parquet(path: Path, rows: int, good: int) -> Path:
    """Contacts in row groups of 1,000; the pages of those after the first `good` rows are garbage."""
    import pyarrow as pa
    import pyarrow.parquet

    table = pa.table(
        {
            "record_id": [str(number) for number in range(rows)],
            "occurred_at": ["2026-04-01T00:00:00Z"] * rows,
        }
    )
    pa.parquet.write_table(table, path, row_group_size=1_000)
    groups = pa.parquet.read_metadata(path)
    column = groups.row_group(good // 1_000).column(0)
    content = bytearray(path.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    content[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("rows", "good"), [(2_000, 0), (25_000, 21_000)])
def test_a_damaged_page_refuses_what_follows_and_keeps_what_came_before(
    settings: Settings, tmp_path: Path, rows: int, good: int
) -> None:
    damaged = damaged_parquet(tmp_path / "p.parquet", rows, good)
    people = lines(tmp_path / "q.csv", "record_id,occurred_at", "1,2026-04-02T00:00:00Z")
    report = ingest(settings, [damaged, people], record_type="contact", system="web")
    broken, whole = report.files
    assert broken.refused is not None
    assert broken.refused.code == "FILE_UNREADABLE"
    reached = re.search(r"after row (\d+)", broken.refused.message)
    assert reached is not None
    assert int(reached[1]) == broken.rows == broken.accepted <= good
    assert broken.rows == good // 10_000 * 10_000
    assert (whole.refused, whole.accepted) == (None, 1)
    assert in_log(settings) == report.accepted == broken.rows + 1
    assert report.exit_code == 2
    keep_ingest(settings, report)
    kept = {file.path: file.accepted for file in ingested_files(settings)}
    assert kept == {name: n for name, n in (("p.parquet", broken.rows), ("q.csv", 1)) if n}


def test_a_dry_run_reports_and_writes_nothing(settings: Settings, tmp_path: Path) -> None:
    path = lines(tmp_path / "e.jsonl", event(1), "nonsense")
    report = ingest(settings, [path], dry_run=True)
    assert (report.accepted, report.quarantined, report.exit_code) == (1, 1, 1)
    assert not settings.root.exists()


def test_one_refused_file_does_not_hold_up_the_others(settings: Settings, tmp_path: Path) -> None:
    good = lines(tmp_path / "good.jsonl", event(1))
    array = lines(tmp_path / "array.json", "[]")
    report = ingest(settings, [tmp_path / "absent.jsonl", array, good])
    codes = [file.refused.code if file.refused else None for file in report.files]
    assert codes == ["FILE_UNREADABLE", "FILE_UNREADABLE", None]
    assert (report.accepted, report.exit_code) == (1, 2)


def test_an_event_the_log_cannot_store_does_not_take_its_neighbours_along(
    settings: Settings, tmp_path: Path
) -> None:
    huge = event(2, data={"record_id": "2", "system": "web", "custom": {"n": 2**70}})
    report = ingest(settings, [lines(tmp_path / "e.jsonl", event(1), huge, event(3))])
    assert (report.rows, report.accepted, report.quarantined) == (3, 2, 1)
    assert str(2**70).encode() in quarantine(settings)[0].rejection.payload


def test_progress_counts_up_to_all_rows(settings: Settings, tmp_path: Path) -> None:
    seen: list[int] = []
    path = lines(tmp_path / "e.jsonl", *(event(number) for number in range(2_500)))
    ingest(settings, [path], progress=lambda what, count: seen.append(count))
    assert seen == [2_000, 2_500]
