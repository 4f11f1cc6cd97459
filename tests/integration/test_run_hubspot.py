"""`handoff run` on the simulated company: what HubSpot tells in several places counts once, held against
the world it was built from."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from ingestion.sandbox.world import World, build_world
from tests.integration.conftest import ANCHOR, SEED


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(SEED, ANCHOR)


def test_what_is_told_by_event_and_by_log_or_form_counts_once(company: Any, world: World) -> None:
    kinds = {
        "e_opened_email_v2": "email_open",
        "e_clicked_link_in_email_v2": "email_click",
        "e_submitted_form_v2": "form_submit",
    }
    happened = Counter(
        kinds[row["eventType"]] for row in world.hubspot["events"] if row["eventType"] in kinds
    )
    told = Counter(row["type"] for row in world.hubspot["email_events"])
    # Most were told twice, or nothing is compared.
    assert told["OPEN"] > 0.9 * happened["email_open"]
    assert len(world.hubspot["form_submissions"]) > 0.9 * happened["form_submit"]
    counted = company.rows(
        "select activity_type, count(*) from marts.fct_activities where system = 'hubspot' "
        "and activity_type in ('email_open', 'email_click', 'form_submit') group by all"
    )
    assert dict(counted) == dict(happened)


def test_what_reps_did_is_an_activity_once_it_happened(company: Any, world: World) -> None:
    sales = world.hubspot
    expected = {
        "call": sum(row["properties"]["hs_call_status"] == "COMPLETED" for row in sales["calls"]),
        "reply": sum(
            row["properties"]["hs_email_direction"] == "INCOMING_EMAIL" for row in sales["emails"]
        ),
        "meeting_booked": len(sales["meetings"]),
        "note": len(sales["notes"]),
        "task": sum(row["properties"]["hs_task_status"] == "COMPLETED" for row in sales["tasks"]),
    }
    counted = company.rows(
        "select activity_type, count(*) from marts.fct_activities where system = 'hubspot' "
        "and activity_type in ('call', 'reply', 'meeting_booked', 'note', 'task') group by all"
    )
    assert dict(counted) == expected
    assert all(expected.values())


def test_a_meeting_in_calendar_and_hubspot_is_one(company: Any, world: World) -> None:
    mirrored = [
        row for row in world.hubspot["meetings"] if row["properties"]["hs_engagement_source_id"]
    ]
    by_hand = [
        row for row in world.hubspot["meetings"] if "Intro" in row["properties"]["hs_meeting_title"]
    ]
    alone = [row for row in world.hubspot["meetings"] if row not in by_hand]
    assert mirrored and len(by_hand) > len(mirrored) and alone
    in_calendars = [
        row for rows in world.calendar.values() for row in rows if len(row["attendees"]) > 1
    ]
    counted = company.rows("select system, count(*) from marts.fct_meetings group by all")
    of = dict(counted)
    assert (of["calendar"], of["hubspot"]) == (len(in_calendars), len(alone))


def test_deals_are_opportunities_with_their_people_and_stages(company: Any, world: World) -> None:
    rows = company.rows(
        "select system_opportunity_id, is_closed, is_won, person_id is not null, account_id is not null, "
        "rep_id is not null from marts.fct_opportunities where system = 'hubspot'"
    )
    assert {row[0]: row[1:] for row in rows} == {
        row["id"]: (
            row["properties"]["hs_is_closed"] == "true",
            row["properties"]["hs_is_closed_won"] == "true",
            True, True, True,
        )
        for row in world.hubspot["deals"]
    }  # fmt: skip
    entered = company.rows(
        "select system_opportunity_id, count(*) from marts.fct_opportunity_stages "
        "inner join marts.fct_opportunities using (opportunity_id) where system = 'hubspot' group by all"
    )
    assert dict(entered) == {
        row["id"]: len(row["propertiesWithHistory"]["dealstage"]) for row in world.hubspot["deals"]
    }


def test_contacts_merged_in_hubspot_are_one_person_under_every_id(
    company: Any, world: World
) -> None:
    assert world.hubspot_merges
    for old, new in world.hubspot_merges.items():
        people = company.rows(
            "select count(distinct person_id), count(*) from marts.entity_map "
            "where system = 'hubspot' and record_type = 'contact' and record_id in (?, ?) and is_current",
            old, new,
        )  # fmt: skip
        assert people == [(1, 2)]


def test_who_unsubscribed_in_the_log_has_withdrawn(company: Any, world: World) -> None:
    left = [row for row in world.hubspot["email_events"] if row["type"] == "STATUSCHANGE"]
    rows = company.rows(
        "select count(*) from marts.fct_consents where source = 'hubspot e-mail log' "
        "and status = 'withdrawn' and person_id is not null"
    )
    assert rows == [(len(left),)] and left
