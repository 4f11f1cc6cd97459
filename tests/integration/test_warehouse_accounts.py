"""Which account records are one company, whose account a person has and why, on a planted world; batches come out as a rebuild."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ingestion.connectors.extracted import Extracted

START = datetime(2026, 3, 1, tzinfo=UTC)
LATER = START + timedelta(days=1)
TABLES = {
    "intermediate.int_accounts__current",
    "intermediate.int_accounts__hierarchy",
    "intermediate.int_accounts__people",
    "intermediate.int_contacts__account_keys",
    "intermediate.accounts_contested",
    "marts.dim_accounts",
    "marts.entity_map",
    "marts.fct_account_matches",
}


def taken(warehouse: Any) -> dict[str, Any]:
    return {
        table: rows
        for table, rows in warehouse.snapshot("intermediate", "marts").items()
        if table in TABLES
    }


class World:
    """What systems say of accounts and people, one event each."""

    def __init__(self, warehouse: Any) -> None:
        self.warehouse = warehouse

    def account(self, at: datetime, system: str, record_id: str, **data: Any) -> dict[str, Any]:
        stated = {"system": system, "record_id": record_id, **data}
        return dict(self.warehouse.event("account", stated, at))

    def lead(self, at: datetime, record_id: str, **data: Any) -> dict[str, Any]:
        return dict(
            self.warehouse.event("contact", {"system": "web", "record_id": record_id, **data}, at)
        )

    def opportunity(self, at: datetime, record_id: str, **data: Any) -> dict[str, Any]:
        stated = {"system": "salesforce", "record_id": record_id, **data}
        return dict(self.warehouse.event("opportunity", stated, at))

    def contacts(self, at: datetime, **stated: str) -> None:
        """Contacts of the CRM by name, each with the account it names."""
        rows = [
            Extracted(
                f"003{name:0<12.12}AAA",
                at,
                False,
                {"Email": f"{name}@elsewhere-{name}.com", "AccountId": account},
            )
            for name, account in stated.items()
        ]
        self.warehouse.poll("salesforce", {"contacts": rows}, at)

    def accounts(self) -> dict[tuple[str, str], str]:
        """Account of every account record."""
        return {
            (system, record_id): account_id
            for system, record_id, account_id in self.warehouse.rows(
                "select system, record_id, account_id from intermediate.int_accounts__current"
            )
        }

    def match(self, lead: str) -> dict[str, Any] | None:
        """Why a lead has the account it has."""
        rows = self.warehouse.records(
            "select chosen.* from intermediate.int_accounts__people as chosen"
            " inner join marts.entity_map as records using (person_id, account_id)"
            f" where records.is_current and records.record_id = '{lead}'"
        )
        return rows[0] if rows else None


@pytest.fixture(scope="module")
def world(open_warehouse: Callable[..., Any]) -> World:
    warehouse = open_warehouse()
    made = World(warehouse)
    warehouse.append(
        [
            # One company in two systems, by its domain however it is written.
            made.account(START, "salesforce", "hooli-s", name="Hooli Ltd", domain="hooli.co.uk"),
            made.account(START, "hubspot", "hooli-h", name="Hooli", domain="www.HOOLI.co.uk"),
            # A name joins what has no domain.
            made.account(START, "salesforce", "globex-s", name="Globex GmbH", country="DE"),
            made.account(
                START, "hubspot", "globex-h", name="GLOBEX", country="DE", domain="globex-corp.de"
            ),
            # But not where two companies have it, and not across countries.
            made.account(START, "salesforce", "acme-1", name="Acme Inc.", country="US", domain="acme-one.com"),
            made.account(START, "salesforce", "acme-2", name="Acme", country="US", domain="acme-two.com"),
            made.account(START, "hubspot", "acme-3", name="ACME", country="US"),
            made.account(START, "hubspot", "globex-fr", name="Globex", country="FR"),
            # Everybody's mailbox.
            made.account(START, "hubspot", "free-1", name="Solo", domain="gmail.com"),
            made.account(START, "hubspot", "free-2", name="Duo", domain="gmail.com"),
            # A group: the subsidiary shares the domain and stays an account.
            made.account(START, "salesforce", "umbrella", name="Umbrella", domain="umbrella.com"),
            made.account(START, "salesforce", "umbrella-de", name="Umbrella Deutschland", domain="umbrella.com", parent_id="umbrella"),
            made.account(START, "salesforce", "umbrella-bln", name="Umbrella Berlin", parent_id="umbrella-de"),
            # Parents that come back to where they began.
            made.account(START, "salesforce", "ring-1", name="Ring 1", domain="ring-one.com", parent_id="ring-2"),
            made.account(START, "salesforce", "ring-2", name="Ring 2", domain="ring-two.com", parent_id="ring-1"),
            made.account(START, "salesforce", "ring-3", name="Ring 3", domain="ring-three.com", parent_id="ring-1"),
            made.lead(START, "host", email="ada@hooli.co.uk"),
            made.lead(START, "mail", email="bob@mail.hooli.co.uk"),
            made.lead(START, "name", email="cem@gmail.com", company="Globex AG", country="DE"),
            made.lead(START, "free", email="dee@gmail.com"),
            made.lead(START, "tied", email="eve@umbrella.com"),
        ]
    )  # fmt: skip
    made.contacts(START, x1="umbrella", x2="umbrella", x3="umbrella-de")
    warehouse.transform(LATER)
    return made


def test_records_are_one_account_by_domain_and_by_name_only_where_nothing_speaks_against(
    world: World,
) -> None:
    accounts = world.accounts()
    assert accounts["salesforce", "hooli-s"] == accounts["hubspot", "hooli-h"]
    assert accounts["salesforce", "globex-s"] == accounts["hubspot", "globex-h"]
    assert len({accounts[key] for key in accounts if key[1].startswith("acme")}) == 3
    assert accounts["hubspot", "globex-fr"] != accounts["salesforce", "globex-s"]
    assert accounts["hubspot", "free-1"] != accounts["hubspot", "free-2"]
    assert len({accounts[key] for key in accounts if key[1].startswith("umbrella")}) == 3


def test_the_hierarchy_has_a_top_and_a_ring_of_parents_is_reported(world: World) -> None:
    accounts = world.accounts()
    told = {row["account_id"]: row for row in world.warehouse.records("from marts.dim_accounts")}

    def of(record_id: str) -> dict[str, Any]:
        return told[accounts["salesforce", record_id]]

    top = of("umbrella")["account_id"]
    assert [of(name)["hierarchy_depth"] for name in ("umbrella", "umbrella-de", "umbrella-bln")] == [0, 1, 2]  # fmt: skip
    assert {of(name)["ultimate_parent_account_id"] for name in ("umbrella", "umbrella-de", "umbrella-bln")} == {top}  # fmt: skip
    assert of("umbrella-bln")["parent_account_id"] == of("umbrella-de")["account_id"]
    for name in ("ring-1", "ring-2"):
        assert of(name)["is_in_parent_cycle"]
        assert of(name)["parent_account_id"] is None
    # What hangs below a ring goes up to it and no further.
    assert not of("ring-3")["is_in_parent_cycle"]
    assert of("ring-3")["ultimate_parent_account_id"] == of("ring-1")["account_id"]


def test_a_person_has_the_account_of_the_strongest_evidence(world: World) -> None:
    accounts = world.accounts()
    found = {name: world.match(name) for name in ("host", "mail", "name", "free", "tied")}
    assert found["free"] is None
    told = {name: (row["evidence"], row["account_id"]) for name, row in found.items() if row}
    assert told == {
        "host": ("exact_domain", accounts["salesforce", "hooli-s"]),
        "mail": ("registrable_domain", accounts["salesforce", "hooli-s"]),
        "name": ("name_and_country", accounts["salesforce", "globex-s"]),
        # Two contacts name it, one the subsidiary.
        "tied": ("exact_domain", accounts["salesforce", "umbrella"]),
    }
    assert found["tied"] and found["tied"]["decided_by"] == "contact_count"
    rows = world.warehouse.rows(
        "select account_id, is_chosen, tie_breaks from marts.fct_account_matches where person_id = ? order by rank",
        [found["tied"]["person_id"]],
    )
    assert [(account_id, is_chosen) for account_id, is_chosen, _ in rows] == [
        (accounts["salesforce", "umbrella"], True),
        (accounts["salesforce", "umbrella-de"], False),
    ]
    assert [json.loads(values)["contact_count"] for *_, values in rows] == [2, 1]


@pytest.mark.timeout(900)
def test_a_tie_is_broken_anew_when_what_broke_it_changes_and_all_of_it_is_as_rebuilt(
    world: World,
) -> None:
    """Nothing is said of the person: an opportunity, a contact, an account change, one after the other."""
    warehouse = world.warehouse

    def after(number: int, *events: dict[str, Any], **contacts: str) -> tuple[str, str]:
        at = LATER + timedelta(hours=number)
        if events:
            warehouse.append(events)
        if contacts:
            world.contacts(at, **contacts)
        assert not warehouse.transform(at, scope="decisions").is_full_refresh
        match = world.match("tied")
        assert match is not None
        [(record_id,)] = warehouse.rows(
            "select min(record_id) from intermediate.int_accounts__current where account_id = ?",
            [match["account_id"]],
        )
        return record_id, match["decided_by"]

    at = LATER + timedelta(minutes=1)
    assert after(1, x4="umbrella-de", x5="umbrella-de") == ("umbrella-de", "contact_count")
    assert after(2, x6="umbrella", x7="umbrella") == ("umbrella", "contact_count")
    deal = {"account_id": "umbrella-de", "stage": "negotiation"}
    assert after(3, world.opportunity(at, "deal", **deal)) == ("umbrella-de", "open_opportunity")
    moved = world.opportunity(at + timedelta(hours=3), "deal", account_id="umbrella")
    assert after(4, moved) == ("umbrella", "open_opportunity")
    lost = world.opportunity(
        at + timedelta(hours=4), "deal", closed_at=at.isoformat(), is_won=False
    )
    owned = world.account(at, "salesforce", "umbrella-de", owner_id="r1")
    assert after(5, lost, owned) == ("umbrella-de", "owner")
    gone = world.account(at + timedelta(hours=5), "salesforce", "umbrella-de", is_deleted=True)
    assert after(6, gone) == ("umbrella", "only_candidate")
    back = world.account(at + timedelta(hours=6), "salesforce", "umbrella-de", is_deleted=False)
    away = world.account(at + timedelta(hours=6), "hubspot", "hooli-h", domain="hooli-new.com")
    left = world.account(at + timedelta(hours=6), "salesforce", "hooli-s", domain=None)
    assert after(7, back, away, left) == ("umbrella-de", "owner")
    assert world.match("host") is None

    warehouse.transform(LATER + timedelta(hours=7))
    as_batches = taken(warehouse)
    assert as_batches.keys() == TABLES
    assert all(len(rows) > 1 for rows in as_batches.values())
    warehouse.transform(LATER + timedelta(hours=7), full_refresh=True)
    assert taken(warehouse) == as_batches
