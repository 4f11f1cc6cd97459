"""The simulated HubSpot's log of marketing e-mails, its forms and their submissions, told of the same
steps as its event occurrences."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any

from ingestion.sandbox.cast import SITE

Record = dict[str, Any]

PORTAL_ID = 62_515
APP_ID = 113
FORMS = {
    "demo_request": ("Demo request", "/demo"),
    "contact_sales": ("Contact sales", "/contact"),
    "ebook_download": ("E-book", "/blog"),
    "newsletter": ("Newsletter", "/blog"),
}
LOGGED = {"e_opened_email_v2": "OPEN", "e_clicked_link_in_email_v2": "CLICK"}
SUBMITTED = "e_submitted_form_v2"


def milliseconds(at: datetime) -> int:
    """Milliseconds since 1970."""
    return round(at.timestamp() * 1_000)


def forms(created: str) -> list[Record]:
    """The portal's forms, in id order."""
    return [
        {
            "id": form_id,
            "name": FORMS[form_id][0],
            "formType": "hubspot",
            "createdAt": created,
            "updatedAt": created,
            "archived": False,
            "fieldGroups": [
                {
                    "groupType": "default_group",
                    "fields": [{"name": "email", "fieldType": "email", "required": True}],
                }
            ],
        }
        for form_id in sorted(FORMS)
    ]


def told_again(event: Record, contact: Record) -> tuple[list[Record], Record | None]:
    """What the e-mail log and a form's submissions say of an event occurrence: log entries, and a
    submission or None."""
    at = datetime.fromisoformat(event["occurredAt"])
    email = str(contact["properties"]["email"] or "")
    kind = event["eventType"]
    if kind in LOGGED:
        return _logged(event, LOGGED[kind], at, email), None
    form_id = event["properties"].get("hs_form_id")
    if kind != SUBMITTED or form_id not in FORMS:
        return [], None
    properties = contact["properties"]
    return [], {
        "formId": form_id,
        "conversionId": _identity(event["id"], "submission"),
        "submittedAt": milliseconds(at),
        "values": [
            {"name": name, "value": properties[name], "objectTypeId": "0-1"}
            for name in ("email", "firstname", "lastname", "company")
            if properties.get(name)
        ],
        "pageUrl": event["properties"].get("hs_url", SITE + FORMS[form_id][1]),
    }


def status_change(contact: Record, at: datetime, is_subscribed: bool) -> Record:
    """The log's entry of a recipient who unsubscribed from everything, or subscribed again."""
    status = "SUBSCRIBED" if is_subscribed else "UNSUBSCRIBED"
    return _entry(
        _identity(f"{contact['id']}|{at.isoformat()}", status),
        "STATUSCHANGE",
        at,
        str(contact["properties"]["email"] or ""),
        source="SOURCE_RECIPIENT",
        portalSubscriptionStatus=status,
        requestedBy=str(contact["properties"]["email"] or ""),
        subscriptions=[],
    )


def bounce(contact: Record, at: datetime) -> Record:
    """The log's entry of an e-mail that did not arrive."""
    return _entry(
        _identity(f"{contact['id']}|{at.isoformat()}", "bounce"),
        "BOUNCE",
        at,
        str(contact["properties"]["email"] or ""),
        category="MAILBOX_FULL",
        status="5.2.2",
        response="552 5.2.2 mailbox full",
    )


def _logged(event: Record, kind: str, at: datetime, email: str) -> list[Record]:
    sent_at = at - timedelta(hours=2)
    sent_id = _identity(event["id"], "SENT")
    sent_by = {"id": sent_id, "created": milliseconds(sent_at)}
    opened = _entry(
        _identity(event["id"], kind), kind, at, email, sentBy=sent_by, filteredEvent=False
    )
    if kind == "CLICK":
        opened["url"] = event["properties"].get("hs_url", SITE)
        return [opened]
    return [
        _entry(sent_id, "SENT", sent_at, email),
        _entry(
            _identity(event["id"], "DELIVERED"), "DELIVERED", sent_at + timedelta(seconds=4), email,
            sentBy=sent_by,
        ),
        opened,
    ]  # fmt: skip


def _entry(entry_id: str, kind: str, at: datetime, email: str, **more: Any) -> Record:
    return {
        "id": entry_id,
        "created": milliseconds(at),
        "type": kind,
        "recipient": email,
        "portalId": PORTAL_ID,
        "appId": APP_ID,
        "appName": "Batch",
        "emailCampaignId": 201,
        **more,
    }


def _identity(key: str, kind: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"hubspot|{kind}|{key}"))
