"""Writes the named personas' fixed stories into the systems of a world in the making."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from ingestion.sandbox.behaviour import Step
from ingestion.sandbox.draft import Draft
from ingestion.sandbox.hubspot_records import HubSpotRecords
from ingestion.sandbox.personas import PERSONAS, Persona
from ingestion.sandbox.salesforce_records import SalesforceRecords


def record_personas(draft: Draft, hubspot: HubSpotRecords, salesforce: SalesforceRecords) -> None:
    """Adds every persona; called last, so that everybody else stays who they were."""
    for each in PERSONAS:
        draft.records[each.person.key] = []
        draft.traits[each.person.key] = list(each.person.traits)
        for card in each.cards:
            if card.system == "hubspot":
                _contact(draft, hubspot, each, each.cards.index(card))
            else:
                _lead(draft, salesforce, each, each.cards.index(card))


def _contact(draft: Draft, hubspot: HubSpotRecords, each: Persona, number: int) -> None:
    card = each.cards[number]
    steps = [
        Step(draft.anchor - timedelta(days=days), kind, detail) for days, kind, detail in card.steps
    ]
    contact = hubspot.contact(
        each.person,
        card.email or each.person.email,
        None if card.phone_style is None else draft.phone(each.person, card.phone_style),
        draft.anchor - timedelta(days=card.days),
        steps[-1].at if steps else draft.anchor - timedelta(days=card.days),
        each.legal_basis or "",
        3,
    )
    hubspot.contacts.append(contact)
    for step in steps:
        hubspot.event(each.person, str(contact["id"]), step)


def _lead(draft: Draft, salesforce: SalesforceRecords, each: Persona, number: int) -> None:
    card = each.cards[number]
    first, last = card.name or (each.person.first_name, each.person.last_name)
    rep = next(
        rep
        for rep in draft.cast.reps
        if each.person.company.country.territory in rep.territories and rep.weight >= 1
    )
    lead = salesforce.lead(
        replace(each.person, first_name=first, last_name=last),
        rep,
        draft.anchor - timedelta(days=card.days),
    )
    phone = None if card.phone_style is None else draft.phone(each.person, card.phone_style)
    lead |= {"Email": card.email, "Phone": phone, "Status": "Open - Not Contacted"}
