"""The simulated company is one world per seed, and its truth accounts for every record."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

import phonenumbers
import pytest
from email_validator import validate_email

from ingestion.connectors.delivered import person_id
from ingestion.sandbox.credentials import webhook_secret_web
from ingestion.sandbox.live import form_submit_body, signed_form_submit
from ingestion.sandbox.marketo_records import ACTIVITY_TYPES, DELETE_LEAD, NEW_LEAD
from ingestion.sandbox.personas import PERSONAS, persona
from ingestion.sandbox.spelling import phone_text
from ingestion.sandbox.vocabulary import COUNTRIES
from ingestion.sandbox.world import World, build_world

ANCHOR = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(7, ANCHOR)


def test_one_seed_is_one_world_in_every_process(world: World) -> None:
    program = (
        "import hashlib; from datetime import datetime;"
        "from ingestion.sandbox.world import build_world;"
        f"w = build_world(7, datetime.fromisoformat('{ANCHOR.isoformat()}'));"
        "print(hashlib.sha256(w.to_json()).hexdigest())"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": str(salt)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for salt in (1, 2)
    }
    assert len(hashes) == 1
    assert build_world(7, ANCHOR).to_json() == world.to_json()


def test_another_seed_is_another_world(world: World) -> None:
    other = build_world(8, ANCHOR)
    assert {row["name"] for row in other.truth} != {row["name"] for row in world.truth}
    assert other.to_json() != world.to_json()


def test_the_anchor_shifts_history_but_not_people(world: World) -> None:
    other = build_world(7, ANCHOR + timedelta(days=30))
    assert [row["name"] for row in other.truth] == [row["name"] for row in world.truth]
    assert other.hubspot["events"][0]["occurredAt"] > world.hubspot["events"][0]["occurredAt"]


def test_an_anchor_without_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        build_world(7, datetime(2026, 11, 20))


def test_every_record_belongs_to_exactly_one_person(world: World) -> None:
    claimed = Counter(
        (row["system"], row["record_type"], row["record_id"])
        for person in world.truth
        for row in person["records"]
    )
    assert set(claimed.values()) == {1}
    held = {("hubspot", "contact", row["id"]) for row in world.hubspot["contacts"]}
    held |= {("hubspot", "contact", old) for old in world.hubspot_merges}
    held |= {("salesforce", "lead", row["Id"]) for row in world.salesforce["Lead"]}
    held |= {("salesforce", "contact", row["Id"]) for row in world.salesforce["Contact"]}
    held |= {("marketo", "contact", str(row["id"])) for row in world.marketo["leads"]}
    held |= {("marketo", "contact", lead) for lead in merged_in_marketo(world)}
    # The booking tools know people by their address alone.
    for system, emails in (
        ("calendly", [row["email"] for row in world.calendly["invitees"]]),
        ("calcom", [row["attendees"][0]["email"] for row in world.calcom["bookings"]]),
    ):
        held |= {(system, "contact", person_id(email)) for email in emails}
    assert set(claimed) == held
    assert all(person["records"] for person in world.truth)


def merged_in_marketo(world: World) -> list[str]:
    """Leads that only the log still tells of."""
    return [
        str(lead)
        for row in world.marketo["log"]
        for each in row["attributes"]
        if each["name"] == "Merge IDs"
        for lead in each["value"]
    ]


def test_who_is_in_marketo_is_known_elsewhere_too(world: World) -> None:
    systems = [{row["system"] for row in person["records"]} for person in world.truth]
    assert sum("marketo" in held for held in systems) == len(world.marketo["leads"]) == 44
    assert {"marketo"} not in systems
    assert len(merged_in_marketo(world)) == 3
    emails = {row["email"] for row in world.marketo["leads"]}
    assert len({email.lower() for email in emails}) == len(emails)
    assert any(row["unsubscribed"] for row in world.marketo["leads"])


def test_the_log_of_marketo_is_in_order_and_names_leads_that_are_or_were(world: World) -> None:
    log = world.marketo["log"]
    places = [(row["activityDate"], row["id"]) for row in log]
    assert places == sorted(places) and len({row["id"] for row in log}) == len(log)
    made = {row["leadId"] for row in log if row["activityTypeId"] == NEW_LEAD}
    gone = {row["leadId"] for row in log if row["activityTypeId"] == DELETE_LEAD}
    assert {row["leadId"] for row in log} == made
    there = {row["id"] for row in world.marketo["leads"]}
    assert made == there | gone | set(map(int, merged_in_marketo(world)))
    assert not there & gone
    assert {row["activityTypeId"] for row in log} < set(ACTIVITY_TYPES)


def test_every_event_points_at_a_contact_that_is_or_was(world: World) -> None:
    known = {row["id"] for row in world.hubspot["contacts"]} | set(world.hubspot_merges)
    assert {row["objectId"] for row in world.hubspot["events"]} <= known
    gone = {row["id"] for row in world.hubspot["contacts"]} & set(world.hubspot_merges)
    assert not gone
    for old, new in world.hubspot_merges.items():
        third = next(row for row in world.hubspot["contacts"] if row["id"] == new)
        assert old in third["properties"]["hs_merged_object_ids"].split(";")


def test_references_inside_salesforce_resolve(world: World) -> None:
    ids = {row["Id"]: name for name, rows in world.salesforce.items() for row in rows}
    assert len(ids) == sum(len(rows) for rows in world.salesforce.values())
    for rows in world.salesforce.values():
        for row in rows:
            for name, value in row.items():
                points = name.endswith("Id") and name not in ("Id",)
                if points and value is not None:
                    assert value in ids, (name, value)


def test_emails_and_phones_are_valid_for_their_country(world: World) -> None:
    checked = 0
    for person in world.truth:
        for email in person["emails"]:
            validate_email(email, check_deliverability=False)
            assert "demoworld" in email
    for row in world.hubspot["contacts"]:
        properties = row["properties"]
        if properties["phone"]:
            number = phonenumbers.parse(properties["phone"], properties["country"])
            assert phonenumbers.is_valid_number(number), properties["phone"]
            checked += 1
    for row in world.salesforce["Lead"]:
        if row["Phone"]:
            number = phonenumbers.parse(row["Phone"], row["CountryCode"])
            assert phonenumbers.is_valid_number(number), row["Phone"]
    assert checked > 200


def test_a_phone_in_all_its_spellings_is_one_number(world: World) -> None:
    numbers = {person["person"]: person["phone"] for person in world.truth}
    owner = {
        (row["system"], row["record_id"]): person["person"]
        for person in world.truth
        for row in person["records"]
    }
    for row in world.hubspot["contacts"]:
        if row["properties"]["phone"]:
            number = phonenumbers.parse(row["properties"]["phone"], row["properties"]["country"])
            e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
            assert e164 == numbers[owner["hubspot", row["id"]]]
    held = [number for number in numbers.values() if number]
    assert len(set(held)) == len(held), "two people share a number: the truth would be ambiguous"


@pytest.mark.parametrize("code", sorted(COUNTRIES))
def test_every_number_a_country_can_draw_is_valid_however_it_is_typed(code: str) -> None:
    rng = Random(code)
    country = COUNTRIES[code]
    for area, template in country.phones * 25:
        digits = "".join(str(rng.randrange(10)) if c == "#" else c for c in template)
        numbers = set()
        for style in range(5):
            number = phonenumbers.parse(phone_text(country, (area, digits), style), code)
            numbers.add(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))
        e164 = f"+{country.calling_code}{area}{digits}"
        assert numbers == {e164}
        assert phonenumbers.is_valid_number_for_region(phonenumbers.parse(e164), code), e164


@pytest.mark.parametrize(("seed", "people"), [(0, 40), (1, 400), (12_345, 1_500)])
def test_other_seeds_and_sizes_keep_the_truth_complete(seed: int, people: int) -> None:
    # A Sunday in the hour that daylight saving repeats.
    other = build_world(seed, datetime(2026, 10, 25, 0, 30, tzinfo=UTC), people)
    assert len(other.truth) == people + len(PERSONAS)
    test_every_record_belongs_to_exactly_one_person(other)
    test_references_inside_salesforce_resolve(other)
    test_meetings_lie_in_the_reps_working_hours(other)


def test_the_shares_are_those_of_a_believable_company(world: World) -> None:
    people = len(world.truth)
    assert people == 400 + len(PERSONAS)
    traits = Counter(trait for person in world.truth for trait in person["traits"])
    assert 0.08 <= traits["hubspot_duplicate"] / people <= 0.16
    assert traits["hubspot_merged"] >= 3 and traits["salesforce_merged"] >= 1
    assert traits["student"] and traits["competitor"] and traits["opted_out"]
    in_salesforce = [
        person
        for person in world.truth
        if any(row["system"] == "salesforce" for row in person["records"])
    ]
    assert 0.40 <= len(in_salesforce) / people <= 0.55
    assert len({rep.time_zone for rep in world.reps}) >= 8
    outcomes = Counter(
        (row["status"], row["extendedProperties"].get("private", {}).get("outcome"))
        for rows in world.calendar.values()
        for row in rows
    )
    for outcome in (
        ("confirmed", "held"),
        ("confirmed", "no_show"),
        ("cancelled", ""),
        ("confirmed", ""),
    ):
        assert outcomes[outcome], outcome
    won = [row for row in world.salesforce["Opportunity"] if row["IsWon"]]
    assert won and all(row["Amount"] > 0 for row in won)


def test_shared_mailboxes_are_used_by_distinct_people(world: World) -> None:
    users: dict[str, set[str]] = {}
    for person in world.truth:
        if "shared_mailbox" in person["traits"]:
            users.setdefault(person["emails"][0], set()).add(person["person"])
    assert len(users) >= 3
    named = persona("shared_mailbox").person
    assert users.pop(named.email) == {named.key}
    assert all(len(names) == 3 for names in users.values())


# The default policy's engagement rules, restated: points, cap, half-life in days.
RULES = {
    "demo_request": (30, 60, 30),
    "contact_sales": (40, 40, 30),
    "ebook_download": (10, 20, 21),
    "newsletter": (3, 3, 10_000),
    "pe_webinar_attended": (20, 40, 21),
    "e_opened_email_v2": (1, 5, 7),
    "e_clicked_link_in_email_v2": (5, 20, 14),
    "/pricing": (10, 30, 14),
    "/demo": (8, 16, 14),
}


def _rule(event: dict[str, object]) -> str:
    properties = event["properties"]
    assert isinstance(properties, dict)
    if event["eventType"] == "e_submitted_form_v2":
        return str(properties["hs_form_id"])
    if event["eventType"] == "e_visited_page":
        return "/" + str(properties["hs_url"]).split("/", 3)[3].split("/")[0]
    return str(event["eventType"])


def _engagement(events: list[dict[str, object]], at: datetime) -> float:
    sums: dict[str, float] = {}
    for event in events:
        age = (at - datetime.fromisoformat(str(event["occurredAt"]))).total_seconds() / 86_400
        rule = _rule(event)
        if age >= 0 and rule in RULES:
            points, _, half_life = RULES[rule]
            sums[rule] = sums.get(rule, 0.0) + points * 0.5 ** (age / half_life)
    return sum(min(value, RULES[rule][1]) for rule, value in sums.items())


def test_about_one_in_six_people_gets_hot_enough_for_sales(world: World) -> None:
    owner = {
        row["record_id"]: person["person"] for person in world.truth for row in person["records"]
    }
    by_person: dict[str, list[dict[str, object]]] = {}
    for event in world.hubspot["events"]:
        by_person.setdefault(owner[event["objectId"]], []).append(event)
    peaks = {
        person: max(
            _engagement(rows, datetime.fromisoformat(str(row["occurredAt"]))) for row in rows
        )
        for person, rows in by_person.items()
    }
    # Fit adds up to 40 points, 20 on average: 40 points of engagement stand for a score of 60.
    hot = sum(peak >= 40 for peak in peaks.values())
    assert 0.13 <= hot / len(world.truth) <= 0.24
    # Personas stand below the threshold and a demo request carries them over it.
    for ready in world.personas:
        now = _engagement(by_person[ready["person"]], ANCHOR)
        assert 12 <= now <= 35


def test_meetings_lie_in_the_reps_working_hours(world: World) -> None:
    reps = {rep.email: rep for rep in world.reps}
    for email, rows in world.calendar.items():
        begin, end = reps[email].working_hours.split("-")
        for row in rows:
            if row["eventType"] != "default":
                continue
            local = datetime.fromisoformat(row["start"]["dateTime"]).astimezone(
                ZoneInfo(reps[email].time_zone)
            )
            assert local.isoformat() == row["start"]["dateTime"]
            assert local.weekday() < 5 and begin <= f"{local:%H:%M}" < end


def test_nothing_happened_after_the_anchor(world: World) -> None:
    assert all(
        datetime.fromisoformat(row["occurredAt"]) <= ANCHOR for row in world.hubspot["events"]
    )
    assert all(
        datetime.fromisoformat(row["updatedAt"]) <= ANCHOR for row in world.hubspot["contacts"]
    )
    for rows in world.salesforce.values():
        assert all(datetime.fromisoformat(row["SystemModstamp"]) <= ANCHOR for row in rows)
    for rows in world.calendar.values():
        assert all(datetime.fromisoformat(row["updated"]) <= ANCHOR for row in rows)
    for row in world.calendly["invitees"]:
        assert datetime.fromisoformat(row["scheduled_event"]["updated_at"]) <= ANCHOR
    for row in world.calcom["bookings"]:
        assert datetime.fromisoformat(row["updatedAt"]) <= ANCHOR
    assert all(row["date"] < ANCHOR.date().isoformat() for row in world.ad_spend)


def test_a_live_form_submit_is_signed_and_comes_from_a_known_persona(world: World) -> None:
    from standardwebhooks.webhooks import Webhook

    now = datetime.now(UTC)
    headers, body = signed_form_submit(world, 0, now, webhook_secret_web(7))
    verified = Webhook(webhook_secret_web(7)).verify(body, headers)
    assert verified == form_submit_body(world, 0, now)
    emails = {row["properties"]["email"].lower() for row in world.hubspot["contacts"]}
    assert verified["data"]["email"] in emails
    assert verified["data"]["form_id"] == "demo_request"
    stranger = form_submit_body(world, len(world.personas), now)
    assert stranger["data"]["form_id"] == "contact_sales"
    assert stranger["data"]["email"] not in emails
