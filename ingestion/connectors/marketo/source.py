"""Polls Marketo's leads, its activity log and its programs; what they mean is staging's business."""

from __future__ import annotations

import contextlib
import csv
import io
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO

import orjson

from ingestion.connectors.extracted import Extracted
from ingestion.connectors.marketo.client import Client, Row, opened
from ingestion.connectors.pages import batched, by_time
from ingestion.connectors.polling import parse_time
from ingestion.erasure.named import NOBODY, Named, itself
from ingestion.settings import Settings

RESOURCES: tuple[str, ...] = ("leads", "deleted_leads", "activities", "programs")
NAMED: Mapping[str, Named] = {
    "leads": itself("email"),
    "deleted_leads": itself("email"),
    "activities": Named((("record", "leadId"),)),
    "programs": NOBODY,
}

LEAD_PAGE, ASSET_PAGE, EXPORT_PAGE = 300, 200, 1_000
# An export spans 31 days at most.
EXPORT_DAYS = timedelta(days=31)
# What an export says where a field is empty.
EXPORT_EMPTY = "null"
# Fields a subscription does not have are left out: one unknown name refuses the call (1006).
LEAD_FIELDS = (
    "id", "createdAt", "updatedAt", "email", "firstName", "lastName", "phone", "mobilePhone",
    "company", "title", "address", "city", "state", "postalCode", "country", "dateOfBirth",
    "leadSource", "leadStatus", "leadScore", "unsubscribed", "unsubscribedReason", "doNotCall",
    "originalSourceType", "acquisitionProgramId", "sfdcLeadId", "sfdcContactId",
)  # fmt: skip
# Not changed by a data value change.
_OF_THE_SYSTEM = ("id", "createdAt", "updatedAt")
# A call takes ten types at most: Visit Webpage, Fill Out Form, Send Email, Email Delivered, Email
# Bounced, Unsubscribe Email, Open Email, Click Email, Merge Leads, Change Status in Progression.
ACTIVITY_TYPES = (1, 2, 6, 7, 8, 9, 10, 11, 32, 104)


def configured(settings: Settings) -> bool:
    """Whether HANDOFF_MARKETO_URL is set."""
    return bool(settings.marketo_url)


def extract(resource: str, since: str | None, settings: Settings) -> Iterator[list[Extracted]]:
    """Pages of `resource`, oldest change first.

    Args:
        resource: One of RESOURCES.
        since: ISO 8601; changes at or after it, None for all since HANDOFF_MARKETO_LOOKBACK_DAYS.
        settings: Address and credentials of the custom service.
    """
    now = datetime.now(UTC)
    after = None if since is None else parse_time(since)
    earliest = now - timedelta(days=settings.marketo_lookback_days)
    with opened(settings) as api:
        if resource == "leads" and after is None:
            yield from _exported_leads(api, earliest, now)
        elif resource == "leads":
            yield from _changed_leads(api, after or earliest)
        elif resource == "deleted_leads":
            for page in api.changes("rest/v1/activities/deletedleads.json", after or earliest, {}):
                yield from _page(_deleted(row) for row in page)
        elif resource == "activities":
            yield from _activities(api, after or earliest)
        else:
            yield from _programs(api, after)


def _exported_leads(api: Client, earliest: datetime, now: datetime) -> Iterator[list[Extracted]]:
    """Every lead made since `earliest`, by bulk extract: nothing else lists leads that have not
    changed. The files are in no order, and the cursor needs one, so all are sorted, on disk: a
    subscription may have millions of leads."""
    fields = _lead_fields(api)
    # SQLite deletes a database without a name when it is closed.
    with contextlib.closing(sqlite3.connect("")) as sorting:
        sorting.execute("create table leads (id integer primary key, changed text, lead blob)")
        start = earliest
        while start < now:
            end = min(start + EXPORT_DAYS, now)
            span = {"startAt": _stamp(start), "endAt": _stamp(end)}
            job = {"format": "CSV", "fields": list(fields), "filter": {"createdAt": span}}
            with api.exported(job) as file:
                leads = _exported(file, fields)
                # A lead of an early file may change before the last one is made. No version may
                # seem newer than the beginning, or the next poll would not ask for such a change.
                sorting.executemany(
                    "insert or replace into leads values (?, ?, ?)",
                    (
                        (
                            lead["id"],
                            _sorting(min(parse_time(lead["updatedAt"]), now)),
                            orjson.dumps(lead),
                        )
                        for lead in leads
                    ),
                )
            start = end
        ordered = sorting.execute("select changed, lead from leads order by changed, id")
        while found := ordered.fetchmany(EXPORT_PAGE):
            yield [_exported_lead(changed, orjson.loads(lead)) for changed, lead in found]


def _exported(file: BinaryIO, fields: Mapping[str, str]) -> Iterator[Row]:
    """The leads of one export, without what is empty."""
    for row in csv.DictReader(io.TextIOWrapper(file, "utf-8-sig", newline="")):
        yield {
            name: _as_rest_has_it(value, fields[name])
            for name, value in row.items()
            if value not in (None, "", EXPORT_EMPTY)
        }


def _sorting(instant: datetime) -> str:
    """An instant in UTC as text in whose order instants come."""
    return instant.isoformat(timespec="microseconds")


def _exported_lead(changed: str, lead: Row) -> Extracted:
    return Extracted(str(lead["id"]), datetime.fromisoformat(changed), False, lead)


def _changed_leads(api: Client, after: datetime) -> Iterator[list[Extracted]]:
    """Leads that were made or changed, as they are now. Their version is as old as the newest change
    the log told of, for what came while they were being read is told by the next poll."""
    fields = _lead_fields(api)
    watched = ",".join(name for name in fields if name not in _OF_THE_SYSTEM)
    changed: dict[int, datetime] = {}
    for page in api.changes("rest/v1/activities/leadchanges.json", after, {"fields": watched}):
        for row in page:
            told = parse_time(row["activityDate"])
            changed[row["leadId"]] = max(told, changed.get(row["leadId"], told))
    ordered = sorted(changed, key=lambda lead_id: (changed[lead_id], lead_id))
    for lead_ids in batched(ordered, LEAD_PAGE):
        asked = {
            "filterType": "id",
            "filterValues": ",".join(map(str, lead_ids)),
            "fields": ",".join(fields),
            "batchSize": LEAD_PAGE,
        }
        # One that was deleted or merged meanwhile is not there any more: the log says so too.
        yield from _page(
            Extracted(
                str(lead["id"]),
                changed[lead["id"]],
                False,
                {name: value for name, value in lead.items() if value is not None},
            )
            for lead in api.listed("rest/v1/leads.json", asked)
        )


def _lead_fields(api: Client) -> dict[str, str]:
    """Data type of each field that is wanted and there."""
    described = api.get("rest/v1/leads/describe.json")["result"]
    present = {field["rest"]["name"]: field["dataType"] for field in described if field.get("rest")}
    return {name: present[name] for name in LEAD_FIELDS if name in present}


def _as_rest_has_it(text: str, data_type: str) -> Any:
    """A cell of an export as the REST API would have said it, so that an unchanged lead is the same
    version by either way."""
    if data_type == "boolean":
        return text.lower() in ("true", "1")
    if data_type in ("integer", "score"):
        return int(text)
    return text


def _deleted(row: Row) -> Extracted:
    return Extracted(str(row["leadId"]), parse_time(row["activityDate"]), True, row)


def _activities(api: Client, after: datetime) -> Iterator[list[Extracted]]:
    """Activities with the name of their type and the program of their smart campaign, which Marketo
    tells elsewhere."""
    types = {row["id"]: row["name"] for row in api.get("rest/v1/activities/types.json")["result"]}
    wanted = ",".join(str(number) for number in ACTIVITY_TYPES if number in types)
    programs = {
        row["id"]: row["programId"]
        for row in api.listed("rest/v1/campaigns.json", {"batchSize": LEAD_PAGE})
        if row.get("programId")
    }
    for page in api.changes("rest/v1/activities.json", after, {"activityTypeIds": wanted}):
        yield from _page(
            Extracted(
                # `id` is on its way out in favour of the GUID; in every answer so far they are equal.
                str(row.get("marketoGUID") or row["id"]),
                parse_time(row["activityDate"]),
                False,
                {
                    **row,
                    "activityType": types[row["activityTypeId"]],
                    "programId": programs.get(row.get("campaignId")),
                },
            )
            for row in page
        )


def _programs(api: Client, after: datetime | None) -> Iterator[list[Extracted]]:
    """Programs with their costs, which only the program itself tells."""
    params = {} if after is None else {"earliestUpdatedAt": _stamp(after)}
    rows: list[Extracted] = []
    for row in api.assets("rest/asset/v1/programs.json", params, ASSET_PAGE):
        whole = api.get(f"rest/asset/v1/program/{row['id']}.json").get("result") or [row]
        # Asset times are written 2015-05-21T22:45:13Z+0000.
        told = parse_time(row["updatedAt"].replace("Z+0000", "Z"))
        rows.append(Extracted(str(row["id"]), told, False, {**row, **whole[0]}))
    yield from _page(rows)


def _page(rows: Iterable[Extracted]) -> Iterator[list[Extracted]]:
    if page := by_time(rows):
        yield page


def _stamp(instant: datetime) -> str:
    """Without fractions of a second, which Marketo does not read."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
