"""Queries of many rows as jobs of Bulk API 2.0: made, waited for, read page by page, deleted; the
values are those that the REST API would give.

Sources: Bulk API 2.0 and Bulk API Developer Guide, "Create a Query Job", "Get Information About a
Query Job", "Get Results for a Query Job", "Abort a Query Job", "Delete a Query Job".
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ingestion.connectors.polling import parse_time
from ingestion.errors.catalog import HandoffError

if TYPE_CHECKING:
    from ingestion.connectors.salesforce.client import Client

# Rows of one page of results: what is held in memory at a time.
PAGE_ROWS = 10_000
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 1.0, 30.0
# Salesforce ends a query that takes longer than a day by itself.
RUNNING = ("UploadComplete", "InProgress")
# A cell may be as long as a long text area; Python's own limit is 131,072 characters.
LONGEST_CELL = 4_000_000


def query(client: Client, soql: str, kinds: Mapping[str, str]) -> Iterator[list[dict[str, Any]]]:
    """Pages of `soql`, deleted records included, in the order it asks for.

    However it ends, also when the caller stops or is interrupted, the job is gone afterwards.

    Args:
        client: An open connection.
        soql: The query; its ORDER BY is kept.
        kinds: Describe type (boolean, currency, datetime, …) of each field it selects.

    Raises:
        HandoffError: UPSTREAM_REJECTED when the job fails, UPSTREAM_UNAVAILABLE when fewer rows come
            than it found; what the client raises.
    """
    made = client.request("POST", "jobs/query", json={"operation": "queryAll", "query": soql})
    path = f"jobs/query/{made['id']}"
    state = str(made["state"])
    try:
        wait = FIRST_WAIT_SECONDS
        job: dict[str, Any] = made
        while state in RUNNING:
            client.pause(wait)
            wait = min(wait * 2, LONGEST_WAIT_SECONDS)
            job = client.get(path)
            state = str(job["state"])
        if state != "JobComplete":
            said = job.get("errorMessage") or "no reason given"
            raise HandoffError(
                "UPSTREAM_REJECTED",
                f"salesforce: bulk query {made['id']} ended as {state}: {said}",
                remedy="Setup > Bulk Data Load Jobs shows it. With HANDOFF_SALESFORCE_BULK_ROWS=0 "
                "everything is read by the REST API.",
            )
        yield from _pages(client, path, job, kinds)
    finally:
        _discard(client, path, state)


def _pages(
    client: Client, path: str, job: Mapping[str, Any], kinds: Mapping[str, str]
) -> Iterator[list[dict[str, Any]]]:
    params: dict[str, Any] = {"maxRecords": PAGE_ROWS}
    count = 0
    while True:
        answer = client.answer(
            "GET", f"{path}/results", params=params, headers={"accept": "text/csv"}
        )
        page = _rows(answer.content.decode("utf-8"), kinds)
        count += len(page)
        if page:
            yield page
        locator = answer.headers.get("sforce-locator", "")
        if locator in ("", "null"):
            break
        params = {"maxRecords": PAGE_ROWS, "locator": locator}
    # Something between us and the org may drop the header that says there is more.
    found = job.get("numberRecordsProcessed")
    if isinstance(found, int) and count < found:
        raise HandoffError(
            "UPSTREAM_UNAVAILABLE",
            f"salesforce: {path} found {found} rows and gave {count}: is the header Sforce-Locator "
            "removed on the way?",
        )


def _discard(client: Client, path: str, state: str) -> None:
    """Abort what still runs, and delete the job with its results; a job that stays is deleted by
    Salesforce after seven days."""
    with suppress(HandoffError):
        if state in RUNNING:
            client.request("PATCH", path, json={"state": "Aborted"})
        client.answer("DELETE", path)


def _rows(text: str, kinds: Mapping[str, str]) -> list[dict[str, Any]]:
    """The rows of one page; each page has the header."""
    csv.field_size_limit(LONGEST_CELL)
    reader = csv.reader(io.StringIO(text, newline=""))
    names = next(reader, [])
    readers = [_READERS.get(kinds[name], str) for name in names]
    return [
        {
            # Salesforce knows no empty text: an empty cell is null.
            name: None if cell == "" else read(cell)
            for name, read, cell in zip(names, readers, row, strict=True)
        }
        for row in reader
    ]


def _boolean(cell: str) -> bool:
    return cell == "true"


def _whole(cell: str) -> int:
    return int(float(cell))


def _instant(cell: str) -> str:
    """As the REST API writes it, `2026-01-31T09:00:00.000+0000`; here it ends with `Z`."""
    at = parse_time(cell)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}+0000"


_READERS: Mapping[str, Callable[[str], Any]] = {
    "boolean": _boolean,
    "int": _whole,
    "long": _whole,
    "double": float,
    "currency": float,
    "percent": float,
    "datetime": _instant,
}
