"""Enrichment from the domain of a lead to its score, and that whoever hangs holds no lead back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ingestion.landing.polls import land_archive
from orchestration import enrichment
from orchestration.serving import publish
from tests.firmographics_server import Service, serving

ACME = {"name": "Acme Group", "industry": "Technology", "employee_count": 900, "country": "DE"}


def lead(warehouse: Any, name: str, at: datetime, **data: Any) -> list[dict[str, Any]]:
    """Somebody who agrees and asks to talk to sales."""
    who = {"system": "web", "contact_id": name}
    consent = {"channel": "email", "lawful_basis": "consent", "status": "granted"}
    form = {"activity_type": "form_submit", "form_id": "contact_sales", "activity_id": f"f-{name}"}
    person = {"system": "web", "record_id": name, "job_title": "Head of IT", "country": "DE"}
    return [
        warehouse.event("contact", {**person, **data}, at),
        warehouse.event("consent", {**who, **consent}, at),
        warehouse.event("activity", {**who, **form}, at),
    ]


@pytest.fixture
def service() -> Any:
    with serving(companies={"acme.de": ACME}) as started:
        yield started


@pytest.mark.timeout(900)
def test_what_a_provider_knows_reaches_the_score_and_a_rebuild_asks_nobody(
    open_warehouse: Callable[..., Any], service: Service
) -> None:
    warehouse = open_warehouse(enrichment_url=service.url)
    now = datetime.now(UTC) - timedelta(hours=1)
    warehouse.append(
        [
            *lead(warehouse, "ada", now, email="ada@acme.de"),
            *lead(warehouse, "bob", now, email="bob@gmail.com"),
            *lead(warehouse, "cem", now, email="cem@globex.com"),
            *lead(warehouse, "dee", now, email="dee@unheard-of.com"),
            # Of one company all is known that is wanted, of another one value.
            warehouse.event(
                "account",
                {"system": "hubspot", "record_id": "g", "domain": "globex.com", "name": "Globex", "country": "DE",
                 "industry": "Retail", "employee_count": 5, "annual_revenue_usd": 1},
                now,
            ),
            warehouse.event(
                "account",
                {"system": "hubspot", "record_id": "a", "domain": "acme.de", "name": "Acme", "employee_count": 20},
                now,
            ),
        ]
    )  # fmt: skip
    warehouse.transform(datetime.now(UTC))
    publish(warehouse.settings)
    points = "select rule_id, points from marts.fct_score_ledger inner join marts.entity_map using (person_id) where is_current and record_id = 'ada' and rule_id = 'industry_target'"
    assert warehouse.rows(points) == []
    due = enrichment.due_domains(warehouse.settings, 10, datetime.now(UTC))
    assert due == ["acme.de", "unheard-of.com"], "neither free mailboxes nor what is known"

    asked = enrichment.enrich(warehouse.settings)
    assert (asked.known, asked.unknown, asked.unanswered) == (1, 1, 0)
    assert enrichment.due_domains(warehouse.settings, 10, datetime.now(UTC)) == []
    land_archive(warehouse.settings, "enrichment")
    assert not warehouse.transform(datetime.now(UTC)).is_full_refresh

    def company() -> dict[str, Any]:
        [row] = warehouse.records("from marts.dim_accounts where domain = 'acme.de'")
        return dict(row)

    told = company()
    # Own records go first, and each value says whose it is.
    assert (told["name"], told["employee_count"], told["industry"]) == ("Acme", 20, "Technology")
    assert '"industry":{"source":"http"' in told["value_sources"]
    assert '"employee_count":{"source":"hubspot"' in told["value_sources"]
    assert told["record_count"] == 2
    assert told["enriched_at"] is not None
    assert warehouse.rows(points) == [("industry_target", 10.0)]
    statuses = "select domain, status, due_at > answered_at + interval 29 day from ops.enrichment_domains order by domain"
    assert warehouse.rows(statuses) == [("acme.de", "known", True), ("unheard-of.com", "unknown", True)]  # fmt: skip

    before, requests = warehouse.snapshot("marts", "ops"), len(service.asked)
    kept = {name: rows for name, rows in before.items() if name.startswith(("marts.dim_", "marts.entity", "marts.fct_account", "marts.fct_score", "ops.enrichment"))}  # fmt: skip
    as_of = warehouse.rows("select max(as_of) from ops.transforms")[0][0]
    warehouse.transform(as_of, full_refresh=True)
    after = warehouse.snapshot("marts", "ops")
    assert {name: after[name] for name in kept} == kept
    assert len(service.asked) == requests


@pytest.mark.timeout(900)
def test_a_provider_that_hangs_holds_no_lead_back(
    open_warehouse: Callable[..., Any], service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lead is decided on while the provider is still being waited for; asked within the batch, the same provider holds it back."""
    warehouse = open_warehouse(enrichment_url=service.url)
    now = datetime.now(UTC) - timedelta(hours=1)
    warehouse.append(lead(warehouse, "ada", now, email="ada@acme.de"))
    warehouse.transform(datetime.now(UTC))
    publish(warehouse.settings)
    service.behaviour["*"] = "hang"
    # Longer than any batch takes here.
    policy = enrichment.terms_now(warehouse.settings)
    patient = policy.model_copy(update={"timeout_seconds": 45.0})
    monkeypatch.setattr(enrichment, "terms_now", lambda settings: patient)

    aside = enrichment.Enriching(warehouse.settings)
    deadline = time.monotonic() + 20
    while not service.asked:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    started = time.monotonic()
    warehouse.append(lead(warehouse, "bob", now, email="bob@globex.com"))
    warehouse.transform(datetime.now(UTC), scope="decisions")
    took = time.monotonic() - started
    assert aside.is_under_way, f"the batch took {took:.1f} s, the provider was given up before"
    decided = "select count(*) from marts.dim_people where email = 'bob@globex.com'"
    assert warehouse.rows(decided) == [(1,)]

    # The control: whoever asks within the batch waits until the provider lets go.
    within = threading.Thread(target=enrichment.enrich, args=(warehouse.settings, ["globex.com"]))
    within.start()
    within.join(3)
    assert within.is_alive()
    service.released.set()
    within.join(20)
    assert not within.is_alive()
    aside.give_up()
