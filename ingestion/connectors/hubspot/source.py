"""Polls a HubSpot-shaped MAP over its dated CRM, owner, campaign and event APIs; what records mean
is staging's business."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from ingestion.connectors.extracted import Extracted
from ingestion.connectors.polling import Session, bearer, parse_time, session
from ingestion.settings import Settings

RESOURCES: tuple[str, ...] = ("contacts", "companies", "owners", "campaigns", "events")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Search finds at most 10,000 results, 200 a page: developers.hubspot.com, "Search the CRM".
SEARCH_CAP = 10_000
SEARCH_PAGE, LIST_PAGE, EVENT_PAGE, OWNER_PAGE = 200, 100, 1_000, 500
MODIFIED = {"contacts": "lastmodifieddate", "companies": "hs_lastmodifieddate"}
# Properties a portal does not have are left out by HubSpot without complaint.
PROPERTIES = {
    "contacts": (
        "email", "phone", "mobilephone", "firstname", "lastname", "company", "jobtitle", "country",
        "address", "city", "state", "zip", "date_of_birth", "lifecyclestage", "hs_lead_status",
        "hs_analytics_source", "hs_latest_source", "utm_source", "utm_medium", "utm_campaign",
        "utm_term", "utm_content", "hs_campaign_id", "hubspot_owner_id", "associatedcompanyid",
        "createdate", "lastmodifieddate", "hs_object_id", "hs_merged_object_ids", "hs_legal_basis",
        "hs_email_optout", "hs_additional_emails",
    ),
    "companies": (
        "name", "domain", "website", "industry", "numberofemployees", "annualrevenue", "country",
        "city", "state", "hubspot_owner_id", "hs_parent_company_id", "createdate",
        "hs_lastmodifieddate", "hs_object_id", "hs_merged_object_ids",
    ),
    "campaigns": ("hs_name", "hs_start_date", "hs_end_date", "hs_utm", "hs_campaign_status"),
}  # fmt: skip


def configured(settings: Settings) -> bool:
    """Whether HANDOFF_HUBSPOT_URL is set."""
    return bool(settings.hubspot_url)


def extract(resource: str, since: str | None, settings: Settings) -> Iterator[list[Extracted]]:
    """Pages of `resource`, oldest change first; archived contacts, companies and owners are among
    them.

    Args:
        resource: One of RESOURCES.
        since: ISO 8601; changes at or after it, None for all. Owners and campaigns have no such
            filter and are always read whole.
        settings: Address, token and API version.
    """
    with session(settings, "hubspot", bearer(settings, "hubspot")) as http:
        version = settings.hubspot_api_version
        after = None if since is None else parse_time(since)
        if resource in MODIFIED:
            archived = _archived(http, version, resource, after)
            found = (row for page in _search(http, version, resource, after) for row in page)
            merged = heapq.merge(found, archived, key=lambda row: row.updated_at)
            yield from _pages(merged, SEARCH_PAGE)
        elif resource == "events":
            yield from _events(http, version, after)
        elif resource == "owners":
            path = f"crm/owners/{version}"
            listed = [
                *_listed(http, path, {"limit": OWNER_PAGE}),
                *_listed(http, path, {"limit": OWNER_PAGE, "archived": "true"}),
            ]
            yield from _pages(_by_time(map(_object, listed)), OWNER_PAGE)
        else:
            yield from _pages(_by_time(_campaigns(http, version)), LIST_PAGE)


def _search(
    http: Session, version: str, kind: str, after: datetime | None
) -> Iterator[list[Extracted]]:
    """Results by modification time; past the cap the search starts anew from the last time seen."""
    while True:
        last: datetime | None = None
        count = 0
        for page in _search_window(http, version, kind, after):
            yield page
            last = page[-1].updated_at
            count += len(page)
        if count < SEARCH_CAP or last is None:
            return
        if last == after:
            # An import gave more records than a search can show one and the same time: page them by
            # id.
            yield from _search_instant(http, version, kind, last)
            last += timedelta(milliseconds=1)
        after = last


def _search_window(
    http: Session, version: str, kind: str, after: datetime | None
) -> Iterator[list[Extracted]]:
    name = MODIFIED[kind]
    filters = [] if after is None else [_filter(name, "GTE", _milliseconds(after))]
    offset = "0"
    while int(offset) + SEARCH_PAGE <= SEARCH_CAP:
        answer = _searched(http, version, kind, filters, name, offset)
        if answer["results"]:
            yield [_object(record) for record in answer["results"]]
        following = answer.get("paging", {}).get("next", {}).get("after")
        if following is None:
            return
        offset = str(following)


def _search_instant(
    http: Session, version: str, kind: str, instant: datetime
) -> Iterator[list[Extracted]]:
    last_id = 0
    while True:
        filters = [
            _filter(MODIFIED[kind], "EQ", _milliseconds(instant)),
            _filter("hs_object_id", "GT", last_id),
        ]
        answer = _searched(http, version, kind, filters, "hs_object_id", "0")
        if not answer["results"]:
            return
        yield [_object(record) for record in answer["results"]]
        last_id = int(answer["results"][-1]["id"])


def _searched(
    http: Session, version: str, kind: str, filters: list[dict[str, str]], sort: str, offset: str
) -> Any:
    body: dict[str, Any] = {
        "sorts": [{"propertyName": sort, "direction": "ASCENDING"}],
        "properties": list(PROPERTIES[kind]),
        "limit": SEARCH_PAGE,
        "after": offset,
    }
    if filters:
        body["filterGroups"] = [{"filters": filters}]
    return http.request("POST", f"crm/objects/{version}/{kind}/search", json=body)


def _archived(http: Session, version: str, kind: str, after: datetime | None) -> list[Extracted]:
    """Deleted records, which search never shows; they carry the time of their deletion."""
    params = {
        "limit": LIST_PAGE,
        "archived": "true",
        "properties": ",".join(PROPERTIES[kind]),
    }
    rows = map(_object, _listed(http, f"crm/objects/{version}/{kind}", params))
    return _by_time(row for row in rows if after is None or row.updated_at >= after)


def _events(http: Session, version: str, after: datetime | None) -> Iterator[list[Extracted]]:
    """Event occurrences of contacts by time: developers.hubspot.com, "Retrieve event
    occurrences"."""
    params: dict[str, Any] = {"objectType": "contact", "limit": EVENT_PAGE, "sort": "occurredAt"}
    if after is not None:
        params["occurredAfter"] = after.isoformat(timespec="milliseconds").replace("+00:00", "Z")
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
    params = {"limit": LIST_PAGE, "properties": ",".join(PROPERTIES["campaigns"])}
    for campaign in _listed(http, path, params):
        if "spendItems" not in campaign:
            spend = http.get(f"{path}/{campaign['id']}/spend")
            campaign = {**campaign, "spendItems": spend.get("results", [])}
        yield _object(campaign)


def _listed(http: Session, path: str, params: dict[str, Any]) -> Iterator[dict[str, Any]]:
    asked = dict(params)
    while True:
        answer = http.get(path, asked)
        yield from answer["results"]
        following = answer.get("paging", {}).get("next", {}).get("after")
        if following is None:
            return
        asked["after"] = following


def _object(record: dict[str, Any]) -> Extracted:
    archived = bool(record.get("archived", False))
    changed = record.get("archivedAt") if archived else None
    return Extracted(
        record_id=str(record["id"]),
        updated_at=parse_time(changed or record.get("updatedAt") or record["createdAt"]),
        is_deleted=archived,
        payload=record,
    )


def _filter(name: str, operator: str, value: int) -> dict[str, str]:
    return {"propertyName": name, "operator": operator, "value": str(value)}


def _milliseconds(instant: datetime) -> int:
    return (instant - _EPOCH) // timedelta(milliseconds=1)


def _by_time(rows: Iterable[Extracted]) -> list[Extracted]:
    return sorted(rows, key=lambda row: row.updated_at)


def _pages(rows: Iterable[Extracted], size: int) -> Iterator[list[Extracted]]:
    page: list[Extracted] = []
    for row in rows:
        page.append(row)
        if len(page) == size:
            yield page
            page = []
    if page:
        yield page
