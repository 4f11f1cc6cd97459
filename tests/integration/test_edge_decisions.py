"""What became of events and people, asked beside a warehouse that really decided and really pushed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
from datetime import UTC, datetime
from typing import Any

import pytest

from ingestion.errors.catalog import HandoffError
from ingestion.log.owner import open_log, open_reader
from orchestration.edge_decisions import ServingDecisions

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def submits() -> list[dict[str, Any]]:
    """Somebody new who agrees and asks for a demo; the last event is the form."""
    now = datetime.now(UTC).isoformat()

    def event(record: str, key: str, **data: Any) -> dict[str, Any]:
        return {
            "specversion": "1.0",
            "id": f"{record}-{key}",
            "source": "urn:handoff:test",
            "type": f"com.handoff.{record}",
            "subject": f"{record}/web/{key}",
            "time": now,
            "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01",
            "data": {"system": "web", **data},
        }

    who = "asked"
    email = "Asked@decisions.example.com"
    return [
        event("contact", who, record_id=who, email=email, last_name=who, country="DE", job_title="VP Marketing"),
        event("consent", who, contact_id=who, channel="email", lawful_basis="consent", status="granted", consent_timestamp=now),
        event("activity", "page", activity_id="page", activity_type="page_view", contact_id=who, url="https://www.example.com/pricing"),
        event("activity", "seminar", activity_id="seminar", activity_type="webinar_attend", contact_id=who),
        event("activity", "form", activity_id="form", activity_type="form_submit", email=email.lower(), form_id="demo_request"),
    ]  # fmt: skip


def test_an_event_is_followed_from_the_log_to_the_confirmed_lead(start_company: Any) -> None:
    # A company of its own: what is pushed here must not be found in the undisturbed one.
    company = start_company("followed")
    assert company.handoff("run").code == 0
    with contextlib.closing(open_log(company.settings)) as log:
        before = log.last_seq()
    decisions = ServingDecisions(company.settings)
    try:
        with contextlib.closing(open_log(company.settings)) as log:
            answers = log.append(submits())
        seq, received_at = answers[-1].seq, answers[-1].received_at
        assert decisions.progress(seq, "live") == "accepted"
        assert before and decisions.progress(before, "live") in ("landed", "decided")
        ran = company.handoff("run", "--json")
        assert ran.code == 0, ran.err
        assert decisions.progress(seq, "live") == "decided"
        with contextlib.closing(open_reader(company.settings)) as reader:
            entries = reader.read(seq - 5, 5)
        for entry in entries:
            pushes = asyncio.run(decisions.pushes(entry.event, received_at))
            assert {push["object"] for push in pushes} == {"Lead", "Task"}, entry.event["id"]
            assert {push["status"] for push in pushes} == {"confirmed"}
        [lead] = [push for push in pushes if push["object"] == "Lead"]
        [found] = company.soql(f"select LastName from Lead where Id = '{lead['record_id']}'")
        assert found["LastName"] == "asked"
        # Of whoever is not known nothing is said.
        stranger = {"type": "com.handoff.contact", "data": {"system": "web", "record_id": "no"}}
        assert asyncio.run(decisions.pushes(stranger, received_at)) == []

        # The run that took it up is found by the trace, and so is the one that took up its receipts.
        runs = company.settings.dagster_home / "history" / "runs.db"
        with sqlite3.connect(f"file:{runs}?mode=ro", uri=True) as store:
            tagged = store.execute(
                "select count(distinct run_id) from run_tags where key = ?",
                (f"correlation/{TRACE}",),
            ).fetchone()
        assert tagged == (2,)
    finally:
        decisions.close()


def test_a_person_is_found_by_address_record_and_id(company: Any) -> None:
    [(person_id, email)] = company.rows(
        "select person_id, email from marts.dim_people where email is not null order by person_id limit 1"
    )
    [(system, record_id)] = company.rows(
        "select system, record_id from marts.entity_map where person_id = ? and record_type = 'contact'"
        " and is_current order by 1, 2 limit 1",
        person_id,
    )
    decisions = ServingDecisions(company.settings)
    try:
        for who in (email, email.upper(), person_id, f"{system}/{record_id}"):
            found = asyncio.run(decisions.person(who))
            assert found["person"]["person_id"] == person_id
        for nobody in ("nobody@example.com", "salesforce/none", "x"):
            with pytest.raises(HandoffError) as missing:
                asyncio.run(decisions.person(nobody))
            assert missing.value.code == "NOT_FOUND"
    finally:
        decisions.close()


def test_a_killed_reader_is_started_again(company: Any) -> None:
    decisions = ServingDecisions(company.settings)
    [(email,)] = company.rows("select min(email) from marts.dim_people where email is not null")
    try:
        first = asyncio.run(decisions.person(email))
        assert decisions._pool is not None
        for pid in list(decisions._pool._processes or {}):
            os.kill(pid, signal.SIGKILL)
        again = asyncio.run(decisions.person(email))
        assert again["person"] == first["person"]
    finally:
        decisions.close()


def test_before_anything_was_published_nobody_is_known(empty: Any) -> None:
    decisions = ServingDecisions(empty.settings)
    try:
        event = submits()[0]
        assert asyncio.run(decisions.pushes(event, datetime.now(UTC))) == []
        with pytest.raises(HandoffError) as missing:
            asyncio.run(decisions.person("a@example.com"))
        assert missing.value.code == "SERVING_MISSING"
    finally:
        decisions.close()
