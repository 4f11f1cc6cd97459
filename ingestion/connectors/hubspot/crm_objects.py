"""Reads CRM objects by modification time: search past its cap, deleted ones, history of properties,
associations; what the records mean is staging's business."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from ingestion.connectors.extracted import Extracted
from ingestion.connectors.hubspot.pages import as_extracted, listed
from ingestion.connectors.pages import batched, by_time
from ingestion.connectors.polling import Session
from ingestion.errors.catalog import HandoffError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Search finds at most 10,000 results, 200 a page: developers.hubspot.com, "Search the CRM".
SEARCH_CAP = 10_000
SEARCH_PAGE, LIST_PAGE = 200, 100
# "Batch read": 100 records, 50 with the history of properties; associations of 1,000.
READ_PAGE, HISTORY_PAGE, ASSOCIATIONS_PAGE = 100, 50, 1_000
ENGAGEMENTS = ("calls", "emails", "meetings", "notes", "tasks")
MODIFIED = {
    "contacts": "lastmodifieddate",
    "companies": "hs_lastmodifieddate",
    "deals": "hs_lastmodifieddate",
    **dict.fromkeys(ENGAGEMENTS, "hs_lastmodifieddate"),
}
_ENGAGEMENT = ("hs_timestamp", "hs_createdate", "hs_lastmodifieddate", "hubspot_owner_id")
# Properties a portal does not have are left out by HubSpot without complaint. Bodies of e-mails,
# notes and calls are not asked for: nothing needs them.
PROPERTIES = {
    "contacts": (
        "email", "phone", "mobilephone", "firstname", "lastname", "company", "jobtitle", "country",
        "address", "city", "state", "zip", "date_of_birth", "lifecyclestage", "hs_lead_status",
        "hs_analytics_source", "hs_latest_source", "utm_source", "utm_medium", "utm_campaign",
        "utm_term", "utm_content", "hs_campaign_id", "hubspot_owner_id", "associatedcompanyid",
        "createdate", "lastmodifieddate", "hs_object_id", "hs_merged_object_ids",
        "hs_calculated_merged_vids", "hs_legal_basis", "hs_email_optout", "hs_additional_emails",
    ),
    "companies": (
        "name", "domain", "website", "industry", "numberofemployees", "annualrevenue", "country",
        "city", "state", "hubspot_owner_id", "hs_parent_company_id", "createdate",
        "hs_lastmodifieddate", "hs_object_id", "hs_merged_object_ids",
    ),
    "deals": (
        "dealname", "dealstage", "pipeline", "amount", "closedate", "createdate", "dealtype",
        "hs_is_closed", "hs_is_closed_won", "hubspot_owner_id", "hs_lastmodifieddate",
        "hs_object_id", "hs_merged_object_ids", "num_associated_contacts",
    ),
    "calls": (
        *_ENGAGEMENT, "hs_call_title", "hs_call_direction", "hs_call_status", "hs_call_disposition",
        "hs_call_duration",
    ),
    "emails": (*_ENGAGEMENT, "hs_email_subject", "hs_email_direction", "hs_email_status"),
    "meetings": (
        *_ENGAGEMENT, "hs_meeting_title", "hs_meeting_start_time", "hs_meeting_end_time",
        "hs_meeting_outcome", "hs_meeting_external_url", "hs_engagement_source",
        "hs_engagement_source_id",
    ),
    "notes": _ENGAGEMENT,
    "tasks": (
        *_ENGAGEMENT, "hs_task_subject", "hs_task_status", "hs_task_type", "hs_task_completion_date",
    ),
}  # fmt: skip
HISTORY = {"deals": ("dealstage",)}
ASSOCIATED = {
    "deals": ("contacts", "companies"),
    **dict.fromkeys(ENGAGEMENTS, ("contacts",)),
}


def changed_objects(
    http: Session, version: str, kind: str, after: datetime | None
) -> Iterator[list[Extracted]]:
    """Pages of records changed at or after `after`, deleted ones among them, oldest change first.

    Records of HISTORY carry `propertiesWithHistory`, those of ASSOCIATED `associations`, both in the
    shapes of "List objects", wherever they were read.
    """
    archived = _archived(http, version, kind, after)
    found = (
        row
        for page in _search(http, version, kind, after)
        for row in _completed(http, version, kind, page)
    )
    merged = heapq.merge(found, archived, key=lambda row: row.updated_at)
    yield from batched(merged, SEARCH_PAGE)


def contacts_of_addresses(
    http: Session, version: str, addresses: Iterable[str], known: dict[str, str | None]
) -> None:
    """Adds to `known` the contact each address is of, None where there is none; asks for those alone
    that are not in it.

    HubSpot keeps an address at one contact only, and says by `idProperty` which.
    """
    unknown = sorted({address for address in addresses if address not in known})
    for asked in batched(unknown, READ_PAGE):
        body = {
            "idProperty": "email",
            "properties": ["email"],
            "inputs": [{"id": address} for address in asked],
        }
        known.update(dict.fromkeys(asked))
        for contact in _read_batch(http, f"crm/objects/{version}/contacts/batch/read", body):
            known[str(contact["properties"].get("email") or "").lower()] = str(contact["id"])


def _completed(http: Session, version: str, kind: str, page: list[Extracted]) -> list[Extracted]:
    """The records of a search with what a search does not tell."""
    added: dict[str, dict[str, Any]] = {row.record_id: {} for row in page}
    if kind in HISTORY:
        for asked in batched(added, HISTORY_PAGE):
            body = {
                "properties": ["hs_object_id"],
                "propertiesWithHistory": list(HISTORY[kind]),
                "inputs": [{"id": record_id} for record_id in asked],
            }
            for record in _read_batch(http, f"crm/objects/{version}/{kind}/batch/read", body):
                # A record merged away meanwhile answers as the one it became.
                if str(record["id"]) in added:
                    history = record.get("propertiesWithHistory", {})
                    added[str(record["id"])]["propertiesWithHistory"] = history
    for other in ASSOCIATED.get(kind, ()):
        for record_id, found in _associations(http, version, kind, other, list(added)).items():
            if found and record_id in added:
                added[record_id].setdefault("associations", {})[other] = {"results": found}
    return [
        Extracted(row.record_id, row.updated_at, row.is_deleted, row.payload | added[row.record_id])
        for row in page
    ]


def _associations(
    http: Session, version: str, kind: str, other: str, record_ids: list[str]
) -> dict[str, list[dict[str, str]]]:
    """The records of `other` that go with each record, the primary one first."""
    found: dict[str, dict[str, bool]] = {}
    inputs: list[dict[str, str]] = [{"id": record_id} for record_id in record_ids]
    while inputs:
        asked, inputs = inputs[:ASSOCIATIONS_PAGE], inputs[ASSOCIATIONS_PAGE:]
        path = f"crm/associations/{version}/{kind}/{other}/batch/read"
        for row in _read_batch(http, path, {"inputs": asked}):
            record_id = str(row["from"]["id"])
            for to in row["to"]:
                labels = {each.get("label") for each in to.get("associationTypes", ())}
                found.setdefault(record_id, {})[str(to["toObjectId"])] = "Primary" in labels
            if following := row.get("paging", {}).get("next", {}).get("after"):
                inputs.append({"id": record_id, "after": str(following)})
    return {
        record_id: [
            {"id": other_id, "type": f"{kind}_to_{other}"}
            for other_id in sorted(others, key=lambda each: (not others[each], int(each)))
        ]
        for record_id, others in found.items()
    }


def _read_batch(http: Session, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The results of a batch; what HubSpot does not find is left out, by its own words.

    A 207 with any other error is no answer: the records would look as if they had no history and no
    contacts.
    """
    answer = http.request("POST", path, json=body)
    for error in answer.get("errors", ()):
        if error.get("category") != "OBJECT_NOT_FOUND":
            raise HandoffError(
                "UPSTREAM_UNAVAILABLE",
                f"hubspot: POST {path}: a part of the batch failed: {error.get('category')}: "
                f"{str(error.get('message'))[:200]}",
            )
    results: list[dict[str, Any]] = answer["results"]
    return results


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
    filters = [] if after is None else [_filter(name, "GTE", milliseconds(after))]
    offset = "0"
    while int(offset) + SEARCH_PAGE <= SEARCH_CAP:
        answer = _searched(http, version, kind, filters, name, offset)
        if answer["results"]:
            yield [as_extracted(record) for record in answer["results"]]
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
            _filter(MODIFIED[kind], "EQ", milliseconds(instant)),
            _filter("hs_object_id", "GT", last_id),
        ]
        answer = _searched(http, version, kind, filters, "hs_object_id", "0")
        if not answer["results"]:
            return
        yield [as_extracted(record) for record in answer["results"]]
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
    if kind in ASSOCIATED:
        params["associations"] = ",".join(ASSOCIATED[kind])
    rows = map(as_extracted, listed(http, f"crm/objects/{version}/{kind}", params))
    return by_time(row for row in rows if after is None or row.updated_at >= after)


def _filter(name: str, operator: str, value: int) -> dict[str, str]:
    return {"propertyName": name, "operator": operator, "value": str(value)}


def milliseconds(instant: datetime) -> int:
    """Milliseconds since 1970, as HubSpot counts."""
    return (instant - _EPOCH) // timedelta(milliseconds=1)
