"""Reads forms and what was submitted by them.

Forms stand in the dated API, submissions still under form-integrations/v1: newest first for each
form, at most 50 a page, without a filter by time.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from ingestion.connectors.extracted import Extracted
from ingestion.connectors.hubspot.crm_objects import contacts_of_addresses, milliseconds
from ingestion.connectors.hubspot.pages import as_extracted, listed
from ingestion.connectors.pages import batched, by_time
from ingestion.connectors.polling import Session

FORM_PAGE, SUBMISSION_PAGE = 50, 50
OUT_PAGE = 200


def forms(http: Session, version: str) -> Iterator[list[Extracted]]:
    """Every form, archived ones included, oldest change first."""
    rows = [
        as_extracted(form)
        for archived in ("false", "true")
        for form in listed(
            http, f"marketing/forms/{version}", {"limit": FORM_PAGE, "archived": archived}
        )
    ]
    yield from batched(by_time(rows), FORM_PAGE)


def form_submissions(
    http: Session, version: str, after: datetime | None
) -> Iterator[list[Extracted]]:
    """Submissions of every form, oldest first, each with `formId` and `contactId`, the contact the
    submitted address is of (null: HubSpot knows none)."""
    since = None if after is None else milliseconds(after)
    of_forms = [
        _submissions(http, str(form.record_id), since)
        for page in forms(http, version)
        for form in page
    ]
    known: dict[str, str | None] = {}
    merged = heapq.merge(*of_forms, key=lambda row: row["submittedAt"])
    for page in batched(merged, OUT_PAGE):
        yield _extracted(http, version, page, known)


def _submissions(http: Session, form_id: str, since: int | None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    path = f"form-integrations/v1/submissions/forms/{form_id}"
    for submission in listed(http, path, {"limit": SUBMISSION_PAGE}):
        if since is not None and submission["submittedAt"] < since:
            break
        found.append({**submission, "formId": form_id})
    return found[::-1]


def _extracted(
    http: Session, version: str, page: list[dict[str, Any]], known: dict[str, str | None]
) -> list[Extracted]:
    contacts_of_addresses(http, version, filter(None, map(_address, page)), known)
    return [
        Extracted(
            record_id=_identity(submission),
            updated_at=datetime.fromtimestamp(submission["submittedAt"] / 1_000, tz=UTC),
            is_deleted=False,
            payload={
                **submission,
                "email": _address(submission),
                "contactId": known.get(_address(submission) or ""),
            },
        )
        for submission in page
    ]


def _identity(submission: dict[str, Any]) -> str:
    """HubSpot's id; submissions from before it gave any are told apart by form, instant and
    address."""
    given = submission.get("conversionId")
    if given:
        return str(given)
    return f"{submission['formId']}/{submission['submittedAt']}/{_address(submission) or ''}"


def _address(submission: dict[str, Any]) -> str | None:
    for field in submission.get("values", ()):
        if field.get("name") == "email" and field.get("value"):
            return str(field["value"]).strip().lower()
    return None
