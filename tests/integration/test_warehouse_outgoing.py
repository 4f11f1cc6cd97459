"""What the sync models want to send, from events of people who write what they like into forms."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from expectations.validate import validate_frame
from ingestion.landing import warehouse as files
from ingestion.sandbox.salesforce_schema import SCHEMA
from orchestration import push

START = datetime(2026, 1, 1, tzinfo=UTC)
AS_OF = START + timedelta(days=10)

ORDINARY = {"email": "ann@acme.de", "last_name": "Keller", "company": "Acme"}
# Valid by the contract, and more or other than a lead's fields hold.
LONG = {
    "email": f"{'a' * 60}@{'b' * 40}.de",
    "phone": "1" * 64,
    "first_name": "F" * 255,
    "last_name": "L" * 255,
    "company": "C" * 255,
    "original_source": "S" * 255,
    "job_title": f"Head of IT {'T' * 240}",
}
MALFORMED = {"email": "one@globex.com, two@globex.com", "last_name": "Hopper"}
# Addresses that link nobody.
SHARED = {"email": "Info@initech.com", "last_name": "Lovelace"}
BLOCKED = {"email": "test1@initech.com", "last_name": "Turing"}
UNPRINTED = {"email": "gr\u00a0ace@globex.com", "last_name": "\u00a0Hopper", "company": " "}


def buyer(warehouse: Any, record_id: str, **said: Any) -> list[dict[str, Any]]:
    """Somebody who asks for a demo and may be written to."""
    who = {"system": "web", "contact_id": record_id}
    contact = {"system": "web", "record_id": record_id, "country": "DE", "job_title": "Head of IT"}
    form = {"activity_type": "form_submit", "form_id": "contact_sales"}
    consent = {"channel": "email", "lawful_basis": "consent", "status": "granted"}
    return [
        warehouse.event("contact", contact | said, START),
        warehouse.event("activity", {**who, **form, "activity_id": f"f{record_id}"}, START),
        warehouse.event("consent", {**who, **consent}, START),
    ]


@pytest.fixture(scope="module")
def warehouse(open_warehouse: Callable[..., Any]) -> Any:
    made = open_warehouse()
    people = {"1": ORDINARY, "2": LONG, "3": MALFORMED, "4": UNPRINTED, "5": SHARED, "6": BLOCKED}
    made.append([event for key, said in people.items() for event in buyer(made, key, **said)])
    made.transform(AS_OF)
    return made


def copied(warehouse: Any, folder: Path) -> Any:
    """The warehouse as it stands, to go on from."""
    shutil.copytree(warehouse.settings.home, folder / "copy")
    settings = warehouse.settings.model_copy(update={"home": folder / "copy"})
    return type(warehouse)(settings)


def planned(warehouse: Any) -> set[str]:
    """Family names of the leads that are to be written."""
    return {name for (name,) in warehouse.rows("select last_name from sync.sync_salesforce__leads")}


def test_what_one_visitor_typed_does_not_stop_the_others(warehouse: Any) -> None:
    connection = files.connect(warehouse.settings)
    try:
        leads = connection.execute("select * from sync.sync_salesforce__leads").df()
    finally:
        connection.close()
    assert len(leads) == 6
    assert validate_frame(leads, "sync_salesforce__leads").failures == []


def test_what_is_held_back_or_cut_is_listed_with_the_limit_there(warehouse: Any) -> None:
    found = warehouse.rows(
        "select email, field, outcome, reason, character_limit from ops.field_misfits "
        "inner join marts.dim_people using (person_id) order by all"
    )
    long = [row[1:] for row in found if row[0] == LONG["email"]]
    # A company or a source of 255 characters fits.
    assert long == [
        (field, outcome, "too_long", SCHEMA["Lead"][field].length)
        for field, outcome in (
            ("Email", "held_back"),
            ("FirstName", "shortened"),
            ("LastName", "shortened"),
            ("Phone", "held_back"),
            ("Title", "shortened"),
        )
    ]
    assert [row[:4] for row in found if row[0] != LONG["email"]] == [
        (UNPRINTED["email"], "Email", "held_back", "malformed"),
        (MALFORMED["email"], "Email", "held_back", "malformed"),
    ]


def test_a_no_stated_for_an_address_that_links_nobody_holds_back_whoever_has_it(
    warehouse: Any, tmp_path: Path
) -> None:
    later = copied(warehouse, tmp_path)
    no = {"system": "web", "channel": "email", "lawful_basis": "consent", "status": "withdrawn"}
    ahead = AS_OF + timedelta(days=2)
    later.append(
        [
            later.event("consent", no | {"email": "test1@initech.com"}, AS_OF),
            later.event("consent", no | {"email": "info@INITECH.com"}, ahead),
        ]
    )
    touched = (
        "select last_name from intermediate.int_batch__touched_people "
        "inner join marts.dim_people using (person_id)"
    )
    assert {"Keller", "Lovelace", "Turing"} <= planned(later)
    assert not later.transform(AS_OF + timedelta(days=1)).is_full_refresh
    assert ("Turing",) in later.rows(touched)
    assert planned(later) & {"Keller", "Lovelace", "Turing"} == {"Keller", "Lovelace"}
    # The other one comes into force without anything being landed.
    assert not later.transform(ahead).is_full_refresh
    assert ("Lovelace",) in later.rows(touched)
    assert planned(later) & {"Keller", "Lovelace", "Turing"} == {"Keller"}
    holds = later.rows(
        "select last_name, consent_state from ops.consent_holds "
        "inner join marts.dim_people using (person_id) order by all"
    )
    assert holds == [("Lovelace", "blocked"), ("Turing", "blocked")]
    held = {person for (person,) in later.rows("select person_id from ops.consent_holds")}
    connection = files.connect(later.settings)
    try:
        # What is asked once more at sending.
        assert not push._consented(connection, "salesforce") & held
    finally:
        connection.close()
