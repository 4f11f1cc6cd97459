"""Routing in the warehouse: owners known when the lead was, absences, what the CRM confirmed and what somebody changed there, deadlines that
pass; and each batch goes on as a rebuild would."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ingestion.connectors.extracted import Extracted
from models.policies.load import copy_policies

LONG_AGO = datetime.now(UTC) - timedelta(days=30)
REPS = {"005A": ("anna", 1.0), "005B": ("ben", 1.0), "005C": ("carl", 2.0)}


class Company:
    """A warehouse of three reps of dach, and what happens in it, one batch after the other."""

    def __init__(self, warehouse: Any) -> None:
        self.warehouse = warehouse
        # What the log receives is dated by the clock: not when this module was imported.
        self.began = self.at = datetime.now(UTC)
        self.batches: list[bool] = []

    def event(self, record: str, **data: Any) -> dict[str, Any]:
        time = data.pop("time", LONG_AGO)
        return dict(self.warehouse.event(record, data, time))

    def rep(self, record_id: str, name: str, weight: float, **more: Any) -> dict[str, Any]:
        told = {"email": f"{name}@firm.example", "name": name.title(), "territories": ["dach"]}
        return self.event("rep", system="salesforce", record_id=record_id, weight=weight, **(told | more))  # fmt: skip

    def buyer(self, key: str, **said: Any) -> list[dict[str, Any]]:
        """Somebody who asks sales to call, and may be written to."""
        who = {"system": "web", "contact_id": key}
        known = {"email": f"{key}@{said.pop('domain', f'{key}.example')}", "country": "DE", "job_title": "Head of IT"}  # fmt: skip
        return [
            self.event("contact", system="web", record_id=key, **(known | said)),
            self.event("activity", **who, activity_id=f"f{key}", activity_type="form_submit", form_id="contact_sales"),
            self.event("consent", **who, channel="email", lawful_basis="consent", status="granted"),
        ]  # fmt: skip

    def batch(self, *events: dict[str, Any], hours: float = 0) -> None:
        """Land these, and decide some hours later."""
        self.warehouse.append(events)
        self.at += timedelta(hours=hours, minutes=2)
        done = self.warehouse.transform(self.at)
        self.batches.append(done.is_full_refresh)

    def assignments(self) -> dict[str, list[dict[str, Any]]]:
        """Decisions by the local part of the lead's address, in their order."""
        found: dict[str, list[dict[str, Any]]] = {}
        for row in self.warehouse.records(
            "select split_part(people.email, '@', 1) as who, lower(reps.name) as rep, assignments.* exclude (person_id) "
            "from marts.fct_assignments as assignments inner join marts.dim_people as people using (person_id) "
            "left join marts.dim_reps as reps using (rep_id) order by assigned_at, assignment_number"
        ):
            found.setdefault(row["who"], []).append(row)
        return found

    def rebuilt(self) -> None:
        """What stands is what a rebuild makes."""
        parts = self.warehouse.snapshot("marts", "sync", "intermediate")
        assert self.warehouse.transform(self.at, full_refresh=True).is_full_refresh
        whole = self.warehouse.snapshot("marts", "sync", "intermediate")
        for table in (
            "marts.fct_assignments", "marts.dim_reps", "intermediate.int_routing__leads", "intermediate.int_routing__signals",
            "intermediate.routing_shares", "intermediate.routing_loads", "intermediate.routing_leads", "intermediate.routing_waits",
            "sync.sync_salesforce__leads", "sync.sync_salesforce__tasks",
        ):  # fmt: skip
            assert parts[table] == whole[table], table


@pytest.fixture
def company(open_warehouse: Callable[..., Any], tmp_path: Path) -> Company:
    folder = copy_policies(tmp_path / "policies")
    policy = folder / "routing" / "v1.yml"
    text = policy.read_text()
    assert "# reassign: {grace_minutes: 15, most: 1}" in text
    policy.write_text(text.replace("# reassign: {grace_minutes: 15, most: 1}", "reassign: {grace_minutes: 15, most: 1}").replace("sla_clock: business_hours", "sla_clock: always"))  # fmt: skip
    made = Company(open_warehouse(policies=folder))
    made.batch(*(made.rep(record_id, *told) for record_id, told in REPS.items()))
    return made


def test_batches_go_on_as_a_rebuild_would(company: Company) -> None:
    company.batch(*(each for n in range(7) for each in company.buyer(f"a{n}")))
    owned = {"system": "salesforce", "name": "Owned", "domain": "owned.example"}
    company.batch(
        company.event("account", record_id="001", owner_id="005B", **owned),
        *company.buyer("b0", domain="owned.example"),
        *(each for n in range(1, 4) for each in company.buyer(f"b{n}")),
    )
    found = company.assignments()
    dealt = Counter(rows[0]["rep"] for rows in found.values() if rows[0]["cause"] == "pool")
    assert dealt["carl"] == 5 and sorted(dealt.values()) == [2, 3, 5]
    assert found["b0"][0]["cause"] == "account_owner" and found["b0"][0]["rep"] == "ben"
    assert found["a0"][0]["reason_path"].startswith('["account owner: nobody","existing relationship: nobody","country DE')  # fmt: skip
    company.rebuilt()

    # Somebody is away from now on, one is touched, one lead's deadline passes.
    away = [
        {
            "starts_at": company.began.isoformat(),
            "ends_at": (company.began + timedelta(days=90)).isoformat(),
        }
    ]
    company.batch(company.rep("005C", "carl", 2.0, out_of_office=away, time=company.began))
    company.batch(
        *company.buyer("c0"),
        company.event("activity", system="web", contact_id="a0", activity_id="call", activity_type="call", time=datetime.now(UTC)),
        hours=4,
    )  # fmt: skip
    found = company.assignments()
    assert (
        found["c0"][0]["rep"] != "carl" and "out of office: 1 of 3" in found["c0"][0]["reason_path"]
    )
    assert len(found["a0"]) == 1, "sales has called"
    # Who has a claim keeps the lead, late or not.
    assert len(found["b0"]) == 1
    late = [rows for who, rows in found.items() if who not in ("a0", "b0", "c0")]
    assert all(len(rows) == 2 and rows[1]["cause"] == "breach" for rows in late)
    for first, second in late:
        assert second["rep"] != first["rep"] and second["rep"] != "carl"
        assert first["superseded_at"] == second["assigned_at"] == first["sla_due_at"] + timedelta(minutes=15)  # fmt: skip
        assert not first["is_current"] and second["is_current"]
        assert first["task_key"] != second["task_key"]
    company.rebuilt()
    assert company.batches == [True, False, False, False, False]


def test_what_the_crm_confirmed_stands_and_what_somebody_changed_there_wins(
    company: Company,
) -> None:
    company.batch(*(each for n in range(6) for each in company.buyer(f"a{n}")))
    planned = company.warehouse.records(
        "select person_id, owner_salesforce_id, reasons, payload from sync.sync_salesforce__leads order by person_id"
    )
    assert len(planned) == 6

    def receipt(number: int, row: dict[str, Any]) -> dict[str, Any]:
        return company.event(
            "receipt", time=datetime.now(UTC), plan_id="p", operation_id=f"op{number}", status="confirmed", system="salesforce",
            object="Lead", action="upsert", external_id=row["person_id"], person_id=row["person_id"], record_id=f"00Q{number}",
            planned_at=company.at.isoformat(), confirmed_at=company.at.isoformat(),
            written=json.loads(row["payload"]), reasons=json.loads(row["reasons"]),
        )  # fmt: skip

    company.batch(*(receipt(number, row) for number, row in enumerate(planned)))
    before = {who: rows[0]["rep"] for who, rows in company.assignments().items()}
    company.rebuilt()

    # A manager gives the first lead to somebody else; a poll brings it.
    changed = company.at + timedelta(minutes=1)
    told = json.loads(planned[0]["payload"])
    owner = next(each for each in REPS if each != told["OwnerId"])
    lead = {**told, "Id": "00Q0", "OwnerId": owner}
    company.warehouse.poll(
        "salesforce",
        {"leads": [Extracted("00Q0", changed, False, lead)]},
        company.at + timedelta(minutes=2),
    )
    company.batch(hours=0.1)
    [person] = company.warehouse.records(
        f"select email from marts.dim_people where person_id = '{planned[0]['person_id']}'"
    )
    given = person["email"].partition("@")[0]
    rows = company.assignments()[given]
    assert [row["cause"] for row in rows] == ["pool", "crm"]
    assert rows[1]["rep"] == REPS[owner][0]
    # Nor do we write another one over it.
    assert not company.warehouse.rows(
        f"select 1 from sync.sync_salesforce__leads where person_id = '{planned[0]['person_id']}' and payload like '%OwnerId%'"
    )
    company.rebuilt()

    # Two people turn out to be one: a lead less, and everybody behind it would be dealt anew.
    company.batch(company.event("merge", system="web", surviving_id="a0", merged_ids=["a1"]))
    after = {who: rows[0]["rep"] for who, rows in company.assignments().items()}
    assert len(after) == 5
    assert {who: rep for who, rep in after.items() if who in before and who not in ("a0", "a1")} == {
        who: rep for who, rep in before.items() if who not in ("a0", "a1")
    }  # fmt: skip
    company.rebuilt()


def test_a_lead_nobody_can_take_waits_in_sight_and_goes_to_whoever_comes(company: Company) -> None:
    away = [
        {
            "starts_at": LONG_AGO.isoformat(),
            "ends_at": (company.began + timedelta(hours=30)).isoformat(),
        }
    ]
    company.batch(
        *(
            company.rep(key, *told, out_of_office=away, time=company.began)
            for key, told in REPS.items()
        )
    )
    company.batch(*company.buyer("a"), *company.buyer("b"))
    waiting = company.assignments()
    assert {rows[0]["cause"] for rows in waiting.values()} == {"waiting"}
    assert all(rows[0]["rep"] is None for rows in waiting.values())
    assert not company.warehouse.rows("select 1 from sync.sync_salesforce__tasks")
    company.batch(hours=31)
    dealt = company.assignments()
    assert [[row["cause"] for row in rows] for rows in dealt.values()] == [["waiting", "pool"]] * 2
    back = {rows[1]["assigned_at"] for rows in dealt.values()}
    assert back == {company.began + timedelta(hours=30)}
    assert len({rows[1]["rep"] for rows in dealt.values()}) == 2
    company.rebuilt()
