"""Polls a HubSpot-shaped MAP; which resource is read how stands here, what records mean is staging's
business."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from ingestion.connectors.extracted import Extracted
from ingestion.connectors.hubspot.crm_objects import MODIFIED, changed_objects
from ingestion.connectors.hubspot.email_log import email_events
from ingestion.connectors.hubspot.forms import form_submissions, forms
from ingestion.connectors.hubspot.limits import limits_of
from ingestion.connectors.hubspot.pages import as_extracted, listed
from ingestion.connectors.pages import batched, by_time
from ingestion.connectors.polling import Session, bearer, parse_time, session, time_text
from ingestion.erasure.named import NOBODY, Named, itself
from ingestion.settings import Settings

RESOURCES: tuple[str, ...] = (
    "contacts", "companies", "owners", "campaigns", "events", "deals", "calls", "emails", "meetings",
    "notes", "tasks", "email_events", "forms", "form_submissions",
)  # fmt: skip
_ASSOCIATED = Named((("record", "associations.contacts.results[].id"),))
NAMED: Mapping[str, Named] = {
    "contacts": itself("properties.email"),
    "companies": NOBODY,
    "owners": NOBODY,
    "campaigns": NOBODY,
    "forms": NOBODY,
    "deals": replace(_ASSOCIATED, is_about=False),
    **dict.fromkeys(("calls", "emails", "meetings", "notes", "tasks"), _ASSOCIATED),
    "events": Named((("record", "objectId"),)),
    "email_events": Named((("record", "contactId"), ("mailbox", "recipient"))),
    "form_submissions": Named((("record", "contactId"), ("mailbox", "email"))),
}

LIST_PAGE, EVENT_PAGE, OWNER_PAGE = 100, 1_000, 500
CAMPAIGN_PROPERTIES = ("hs_name", "hs_start_date", "hs_end_date", "hs_utm", "hs_campaign_status")


def configured(settings: Settings) -> bool:
    """Whether HANDOFF_HUBSPOT_URL is set."""
    return bool(settings.hubspot_url)


def extract(resource: str, since: str | None, settings: Settings) -> Iterator[list[Extracted]]:
    """Pages of `resource`, oldest change first; archived CRM objects, owners and forms are among
    them.

    Args:
        resource: One of RESOURCES.
        since: ISO 8601; changes at or after it, None for all. Owners, campaigns and forms have no
            such filter and are always read whole.
        settings: Address, token and API version.
    """
    headers = bearer(settings, "hubspot")
    limits = limits_of(f"{settings.hubspot_url} {headers['authorization']}")
    with session(settings, "hubspot", headers, limits) as http:
        version = settings.hubspot_api_version
        after = None if since is None else parse_time(since)
        if resource in MODIFIED:
            yield from changed_objects(http, version, resource, after)
        elif resource == "events":
            yield from _events(http, version, after)
        elif resource == "email_events":
            yield from email_events(http, version, after, datetime.now(UTC))
        elif resource == "forms":
            yield from forms(http, version)
        elif resource == "form_submissions":
            yield from form_submissions(http, version, after)
        elif resource == "owners":
            path = f"crm/owners/{version}"
            found = [
                *listed(http, path, {"limit": OWNER_PAGE}),
                *listed(http, path, {"limit": OWNER_PAGE, "archived": "true"}),
            ]
            yield from batched(by_time(map(as_extracted, found)), OWNER_PAGE)
        else:
            yield from batched(by_time(_campaigns(http, version)), LIST_PAGE)


def _events(http: Session, version: str, after: datetime | None) -> Iterator[list[Extracted]]:
    """Event occurrences of contacts by time: developers.hubspot.com, "Retrieve event
    occurrences"."""
    params: dict[str, Any] = {"objectType": "contact", "limit": EVENT_PAGE, "sort": "occurredAt"}
    if after is not None:
        params["occurredAfter"] = time_text(after)
    while True:
        answer = http.get(f"events/event-occurrences/{version}", params)
        page = [
            Extracted(str(event["id"]), parse_time(event["occurredAt"]), False, event)
            for event in answer["results"]
        ]
        if page:
            yield page
        following = answer.get("paging", {}).get("next", {}).get("after")
        if following is None:
            return
        params["after"] = following


def _campaigns(http: Session, version: str) -> Iterator[Extracted]:
    path = f"marketing/campaigns/{version}"
    params = {"limit": LIST_PAGE, "properties": ",".join(CAMPAIGN_PROPERTIES)}
    for campaign in listed(http, path, params):
        if "spendItems" not in campaign:
            spend = http.get(f"{path}/{campaign['id']}/spend")
            campaign = {**campaign, "spendItems": spend.get("results", [])}
        yield as_extracted(campaign)
