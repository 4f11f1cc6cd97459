"""Leads to the simulated CRM until each is confirmed, against the bare requests that write them."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from benchmarks.measure import Kernel, Measurement, compare, seconds_of, watch_memory
from benchmarks.records import COUNTRIES, TITLES
from benchmarks.servers import free_port, server

COLLECTION = 200
ROUNDS = 3
UPSERT = "/services/data/v62.0/composite/sobjects/Lead/Handoff_Person_Id__c"


def run(size: int, folder: Path) -> list[Measurement]:
    """`size` new leads per round, then the same plan once more."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with (
        server("sandbox", port, folder / "sandbox"),
        httpx.Client(base_url=url, timeout=60) as http,
    ):
        return [_measure(size, folder, url, http)]


def _measure(size: int, folder: Path, url: str, http: httpx.Client) -> Measurement:
    from ingestion.connectors.salesforce.destination import open_destination
    from ingestion.log.owner import open_log
    from ingestion.outbound.apply import apply_plan
    from ingestion.outbound.plan import build_plan
    from ingestion.sandbox.credentials import Tokens
    from ingestion.settings import Settings

    tokens = Tokens()
    settings = Settings(
        home=folder / "home",
        salesforce_url=f"{url}/salesforce",
        salesforce_client_id=tokens.salesforce_client_id,
        salesforce_client_secret=tokens.salesforce_client_secret,
    )
    log = open_log(settings)
    destination = open_destination(settings)

    def push(name: str) -> Counter[str]:
        now = datetime.now(UTC)
        plan = build_plan(
            "salesforce", _leads(name, size), as_of=now, observed_marker="none", planned_at=now
        )
        report = apply_plan(
            plan,
            destination,
            log,
            clock=lambda: datetime.now(UTC),
            consent_allows=lambda _: True,
            plans_dir=settings.plans_dir,
        )
        return Counter(row.status for row in report.rows)

    ours: list[float] = []
    floor: list[float] = []
    calls: list[int] = []
    try:
        with watch_memory() as peak:
            for number in range(ROUNDS):
                before = _requests(http)
                started = time.perf_counter()
                statuses = push(f"ours-{number}")
                ours.append(time.perf_counter() - started)
                if statuses != {"confirmed": size}:
                    raise AssertionError(f"rows by status: {dict(statuses)}")
                calls.append(sum((_requests(http) - before).values()))
                floor.append(_write_only(http, tokens.salesforce_token, f"floor-{number}", size))
        before = _requests(http)
        again = push(f"ours-{ROUNDS - 1}")
        written = (_requests(http) - before)["PATCH"]
        if again != {"unchanged": size}:
            raise AssertionError(f"rows of the second run by status: {dict(again)}")
    finally:
        log.close()
    return compare(
        "leads, plan to confirmed",
        size,
        "rows",
        ours,
        floor,
        peak.mb,
        calls_per_1000_rows=f"{1_000 * calls[-1] / size:.1f}",
        writes_of_a_second_run=str(written),
    )


def _requests(http: httpx.Client) -> Counter[str]:
    answer = http.get("/sandbox/requests", params={"path_prefix": "/salesforce"}).raise_for_status()
    return Counter(str(row["method"]) for row in answer.json()["requests"])


def _write_only(http: httpx.Client, token: str, name: str, size: int) -> float:
    records = [
        {
            "attributes": {"type": "Lead"},
            "Handoff_Person_Id__c": row["external_id"],
            **row["payload"],
        }
        for row in _leads(name, size)
    ]

    def write() -> None:
        for start in range(0, size, COLLECTION):
            answer = http.patch(
                f"/salesforce{UPSERT}",
                json={"allOrNone": False, "records": records[start : start + COLLECTION]},
                headers={"Authorization": f"Bearer {token}"},
            ).raise_for_status()
            refused = [row for row in answer.json() if not row["success"]]
            if refused:
                raise AssertionError(f"refused: {refused[0]}")

    return seconds_of(write)


def _leads(name: str, size: int) -> list[dict[str, Any]]:
    return [
        {
            "object": "Lead",
            "action": "upsert",
            "external_id_field": "Handoff_Person_Id__c",
            # As long as a person_id: the keys of a batch must fit the address of a query.
            "external_id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{name}-{number}")),
            "person_id": f"{name}-{number}",
            "payload": {
                "LastName": f"Number {number}",
                "FirstName": "Person",
                "Company": f"Company {number % 997}",
                "Email": f"{name}.{number}@company-{number % 997}.example.com",
                "Title": TITLES[number % len(TITLES)],
                "Handoff_Score__c": 60.0 + number % 40,
                "Handoff_Reasons__c": f"+30 Requested a demo; {COUNTRIES[number % len(COUNTRIES)]}",
            },
            "changes": {},
            "reasons": [],
            "is_consented": True,
        }
        for number in range(size)
    ]


KERNEL = Kernel(
    name="push",
    measures="Leads written to the simulated CRM: consent asked again, read before, receipt of the"
    " intent, upsert, read back, final receipt, all receipts on disk.",
    floor="The upserts alone, sent to the same CRM by the same process: nothing read, nothing kept.",
    size_unit="leads",
    default_size=2_000,
    run=run,
)
