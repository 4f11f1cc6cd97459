"""Mapping files: what they may say, what they turn values into, and how they refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ingestion.connectors import catalog
from ingestion.errors.catalog import HandoffError
from ingestion.landing.mapping import Mapping, RowError, read_mapping, resolve


def mapping(tmp_path: Path, text: str) -> Mapping:
    path = tmp_path / "m.yml"
    path.write_text(text, encoding="utf-8")
    return read_mapping(path)


def contact(tmp_path: Path, columns: str, extra: str = "") -> Mapping:
    head = "type: contact\nsystem: hubspot\nrecord_id: id\noccurred_at: at\n"
    return mapping(tmp_path, f"{head}{extra}columns:\n{columns}")


def data_of(found: Mapping, **row: Any) -> dict[str, Any]:
    data: dict[str, Any] = found.to_event({"id": "1", "at": "2026-04-01", **row})["data"]
    return data


@pytest.mark.parametrize(
    ("text", "line", "named"),
    [
        ("type: contact\nsystem: web\ncolums: {}\n", 3, "colums"),
        ("type: contct\nsystem: web\n", 1, "contct"),
        ("type: contact\nsystem: web\noccurred_at: at\ncolumns:\n  emial: e\n", 5, "emial"),
        (
            "type: contact\nsystem: web\noccurred_at: at\ncolumns:\n  email: {colum: e}\n",
            5,
            "colum",
        ),
        (
            "type: contact\nsystem: web\noccurred_at: {column: at, time_zone: Mars/Base}\n",
            3,
            "Mars/Base",
        ),
        ("type: contact\nsystem: web\noccurred_at: at\nunmapped: drop\n", 4, "drop"),
        ("type: rep\nsystem: web\noccurred_at: at\nunmapped: custom\n", 4, "no `custom`"),
        (
            "type: contact\nsystem: web\noccurred_at: at\ncolumns:\n  email: {column: e, when: x}\n",
            5,
            "when",
        ),
        (
            "type: contact\nsystem: web\noccurred_at: at\ncolumns:\n  email: {column: e, gather: true}\n",
            5,
            "no list",
        ),
        ("type: contact\nsystem: web\noccurred_at: at\nbeside: {table: t}\n", 4, "instead_of"),
        ("type: contact\noccurred_at: at\n", None, "system"),
        ("type: contact\nsystem: web\ncolumns: {email: e}\n", None, "occurred_at"),
        ("- a\n- b\n", None, "type:"),
        ("type: [unclosed\n", None, "m.yml"),
    ],
)
def test_a_wrong_mapping_is_refused_naming_its_line(
    tmp_path: Path, text: str, line: int | None, named: str
) -> None:
    with pytest.raises(HandoffError) as caught:
        mapping(tmp_path, text)
    assert caught.value.code == "MAPPING_INVALID"
    assert named in caught.value.message
    if line is not None:
        assert f"m.yml: line {line}:" in caught.value.message


def test_every_shipped_mapping_can_be_read_and_names_its_own_system() -> None:
    names = catalog.mapping_names()
    assert {"hubspot/contacts", "salesforce/leads"} <= set(names)
    for name in names:
        assert read_mapping(resolve(name)).system == name.split("/")[0]


def test_a_mapping_that_is_not_there_lists_those_that_are() -> None:
    with pytest.raises(HandoffError) as caught:
        resolve("hubspot/contcts")
    assert "hubspot/contacts" in caught.value.remedy


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2020-12-30 3:15:52", "2020-12-30T03:15:52Z"),
        ("2020-03-02 21:00:33.301", "2020-03-02T21:00:33.301000Z"),
        ("2026-04-01T10:00:00+02:00", "2026-04-01T08:00:00Z"),
        ("2026-04-01 10:00:00.123456789", "2026-04-01T10:00:00.123456Z"),
        ("2026-04-01 10:00:00 UTC", "2026-04-01T10:00:00Z"),
        ("2026-04-01 1:00:00 +0200", "2026-03-31T23:00:00Z"),
        ("2026-04-01", "2026-04-01T00:00:00Z"),
    ],
)
def test_instants_are_read_as_exports_write_them(tmp_path: Path, written: str, read: str) -> None:
    found = contact(tmp_path, "  email: e\n")
    assert found.to_event({"id": "1", "at": written, "e": "x"})["time"] == read


def test_a_local_time_is_moved_to_utc_by_its_zone(tmp_path: Path) -> None:
    text = (
        "type: contact\nsystem: hubspot\nrecord_id: id\n"
        'occurred_at: {column: at, format: "%d-%m-%Y %H:%M", time_zone: America/Sao_Paulo}\n'
    )
    found = mapping(tmp_path, text)
    assert found.to_event({"id": "1", "at": "26-02-2018 19:58"})["time"] == "2018-02-26T22:58:00Z"


def test_a_date_in_another_format_names_value_column_and_format(tmp_path: Path) -> None:
    found = contact(tmp_path, '  birth_date: {column: born, format: "%d-%m-%Y"}\n')
    assert data_of(found, born="29-02-1988")["birth_date"] == "1988-02-29"
    with pytest.raises(RowError) as caught:
        data_of(found, born="1988-02-29")
    assert (caught.value.code, caught.value.path) == ("DATE_UNPARSABLE", "/data/birth_date")
    for part in ("'born'", "'1988-02-29'", "%d-%m-%Y"):
        assert part in caught.value.message


def test_enum_values_are_translated_by_the_mapping_and_by_the_registry(tmp_path: Path) -> None:
    found = contact(tmp_path, "  lifecycle_stage: {column: stage, values: {heiss: mql}}\n")
    assert data_of(found, stage="heiss")["lifecycle_stage"] == "mql"
    assert data_of(found, stage="subscriber")["lifecycle_stage"] == "raw"
    assert data_of(found, stage="sql")["lifecycle_stage"] == "sql"
    # Left as it is, so that the contract refuses it by name.
    assert data_of(found, stage="nonsense")["lifecycle_stage"] == "nonsense"


def test_templates_constants_splits_and_fallbacks_fill_fields(tmp_path: Path) -> None:
    found = contact(
        tmp_path,
        '  first_name: {template: "{a}-{b}"}\n'
        "  company: {constant: Acme}\n"
        '  external_ids: {column: merged, split: ";", system: salesforce}\n'
        "  phone: {column: [mobile, landline]}\n"
        "  custom.page: page\n",
    )
    row = {"a": "x", "b": "y", "merged": "7; 8;", "mobile": "", "landline": "030", "page": "p1"}
    assert data_of(found, **row) == {
        "record_id": "1",
        "system": "hubspot",
        "first_name": "x-y",
        "company": "Acme",
        "external_ids": [
            {"system": "salesforce", "record_id": "7"},
            {"system": "salesforce", "record_id": "8"},
        ],
        "phone": "030",
        "custom": {"page": "p1"},
    }
    # A template with a missing part is no value at all.
    assert "first_name" not in data_of(found, **{**row, "b": ""})


def test_empty_cells_leave_a_field_unchanged(tmp_path: Path) -> None:
    found = contact(tmp_path, "  email: e\n  company: c\n", extra='empty: ["NULL", "n/a"]\n')
    assert data_of(found, e="NULL", c="  ") == {"record_id": "1", "system": "hubspot"}


def test_a_condition_empties_the_field_where_it_does_not_hold(tmp_path: Path) -> None:
    found = contact(tmp_path, "  company: {column: c, when: {open: false, stage: [won, lost]}}\n")
    for row in ({"open": "FALSE"}, {"open": False}, {"open": "true", "stage": "lost"}):
        assert data_of(found, c="Acme", **row)["company"] == "Acme", row
    for row in ({"open": "true"}, {"stage": "talks"}, {}):
        assert data_of(found, c="Acme", **row)["company"] is None, row
    found.check_header(["id", "at", "c", "stage"], tmp_path)
    with pytest.raises(HandoffError, match="'open'"):
        found.check_header(["id", "at", "c"], tmp_path)


@pytest.mark.parametrize(
    ("name", "row", "closed"),
    [
        ("salesforce/opportunities", {"is_closed": "false", "is_won": "false"}, False),
        ("salesforce/opportunities", {"is_closed": "true", "is_won": "false"}, True),
        ("hubspot/deals", {"property_hs_is_closed": "false", "is_won": "false"}, False),
        ("hubspot/deals", {"deal_pipeline_stage_id": "contractsent", "is_won": "false"}, False),
        ("hubspot/deals", {"deal_pipeline_stage_id": "closedlost", "is_won": "false"}, True),
        ("hubspot/deals", {"property_hs_is_closed": "true", "is_won": "false"}, True),
    ],
)
def test_an_open_deal_has_no_date_of_closing_but_keeps_the_expected_one(
    name: str, row: dict[str, str], closed: bool
) -> None:
    found = read_mapping(resolve(name))
    date, at = "2026-05-20 00:00:00", "2026-04-01 00:00:00"
    ids = {"id": "1", "deal_id": "1", "system_modstamp": at, "property_hs_lastmodifieddate": at}
    dates = {"close_date": date, "property_closedate": date}
    won = {"property_hs_is_closed_won": row["is_won"]}
    data = found.to_event({**ids, **dates, **won, **row})["data"]
    assert data["closed_at"] == ("2026-05-20T00:00:00Z" if closed else None)
    assert data["is_won"] is (False if closed else None)
    assert date in data["custom"].values()


def test_rows_of_one_record_give_one_event_in_whatever_order_they_stand() -> None:
    found = read_mapping(resolve("hubspot/deal_contacts"))
    rows = [
        {"deal_id": deal, "contact_id": contact, "_fivetran_synced": f"2026-04-0{day}", "type_id": kind}
        for deal, contact, day, kind in (
            ("1", "30", 2, "3"), ("1", "4", 1, "4"), ("1", "30", 3, "5"), ("2", "4", 1, "4"),
        )
    ]  # fmt: skip
    unread = {"deal_id": "1", "contact_id": "99", "_fivetran_synced": "some day"}

    def events(order: list[dict[str, str]]) -> list[dict[str, Any]]:
        wholes = found.gather([*order, unread])
        return [found.to_event(row, wholes) for row in order]

    first, second, third, other = events(rows)
    assert first == second == third
    assert first["data"]["contact_ids"] == ["4", "30"]
    assert first["time"] == "2026-04-03T00:00:00Z"
    assert other["data"]["contact_ids"] == ["4"]
    assert {event["id"] for event in events(rows[::-1])} == {first["id"], other["id"]}


def test_a_template_with_an_empty_part_gives_way_to_its_column(tmp_path: Path) -> None:
    found = contact(tmp_path, '  company: {template: "{a}/{b}", column: a}\n')
    assert data_of(found, a="1", b="2")["company"] == "1/2"
    assert data_of(found, a="1", b=" ")["company"] == "1"
    assert "company" not in data_of(found, a="", b="2")


@pytest.mark.parametrize(
    ("written", "ids"),
    [
        ("[1286861, 7]", ["1286861", "7"]),
        ('["a", 7]', ["a", "7"]),
        ("1286861", ["1286861"]),
        ([1286861, 7.0], ["1286861", "7"]),
        (1286861, ["1286861"]),
    ],
)
def test_ids_in_a_list_are_text_however_they_are_written(written: Any, ids: list[str]) -> None:
    found = read_mapping(resolve("marketo/merge_leads"))
    row = {"lead_id": "1", "activity_date": "2026-04-01", "merge_ids": written}
    assert found.to_event(row)["data"]["merged_ids"] == ids


def test_the_id_of_a_row_depends_on_its_content_alone(tmp_path: Path) -> None:
    found = contact(tmp_path, "  email: e\n  company: c\n")
    row = {"id": "1", "at": "2026-04-01", "e": "a@example.com", "c": "x"}
    shuffled = dict(reversed(row.items()))
    assert found.to_event(row)["id"] == found.to_event(shuffled)["id"]
    assert found.to_event(row)["id"] != found.to_event({**row, "c": "y"})["id"]


def test_a_refused_value_moves_to_custom_or_is_left_out_as_the_mapping_says(tmp_path: Path) -> None:
    found = contact(
        tmp_path,
        "  country: {column: land, invalid: custom}\n"
        "  lifecycle_stage: {column: stage, invalid: omit}\n"
        "  email: e\n",
    )
    event = found.to_event(
        {"id": "1", "at": "2026-04-01", "land": "Utopia", "stage": "zzz", "e": "x"}
    )
    lighter = found.set_aside(event, ["country", "lifecycle_stage"])
    assert lighter is not None
    assert lighter["data"] == {
        "record_id": "1", "system": "hubspot", "email": "x", "custom": {"land": "Utopia"},
    }  # fmt: skip
    assert lighter["id"] != event["id"]
    assert found.set_aside(event, ["email"]) is None


@pytest.mark.parametrize(
    ("column", "value", "code"),
    [
        ("employee_count", "12.5", "FIELD_MISMATCH"),
        ("employee_count", "many", "FIELD_MISMATCH"),
        ("annual_revenue_usd", "1,000", "FIELD_MISMATCH"),
        ("annual_revenue_usd", "NaN", "FIELD_MISMATCH"),
        ("is_deleted", "perhaps", "FIELD_MISMATCH"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_by_name(
    tmp_path: Path, column: str, value: str, code: str
) -> None:
    head = "type: account\nsystem: hubspot\nrecord_id: id\noccurred_at: at\n"
    found = mapping(tmp_path, f"{head}columns: {{{column}: x}}\n")
    with pytest.raises(RowError) as caught:
        found.to_event({"id": "1", "at": "2026-04-01", "x": value})
    assert caught.value.code == code and repr(value) in caught.value.message
