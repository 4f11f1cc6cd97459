"""What the sync models want to send, from events of people who write what they like into forms."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from expectations.validate import validate_frame
from ingestion.landing import warehouse as files
from ingestion.sandbox.salesforce_schema import SCHEMA

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
    people = {"1": ORDINARY, "2": LONG, "3": MALFORMED, "4": UNPRINTED}
    made.append([event for key, said in people.items() for event in buyer(made, key, **said)])
    made.transform(AS_OF)
    return made


def test_what_one_visitor_typed_does_not_stop_the_others(warehouse: Any) -> None:
    connection = files.connect(warehouse.settings)
    try:
        leads = connection.execute("select * from sync.sync_salesforce__leads").df()
    finally:
        connection.close()
    assert len(leads) == 4
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
