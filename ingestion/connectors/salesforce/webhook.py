"""Salesforce's webhooks: who may send them, and how an outbound message is taken apart and
answered; what a record means stands in changes.py.

Salesforce signs neither. An outbound message is taken from an organization of ours that also knows
the secret, which the endpoint's address carries; a change event from whoever relays it with the
secret. Source: SOAP API Developer Guide, "Outbound Messaging".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from ingestion.connectors.safe_xml import Element, read_xml
from ingestion.connectors.salesforce import changes
from ingestion.connectors.signature_schemes import SharedSecret, Verify
from ingestion.connectors.signed_request import SignedRequest
from ingestion.errors.catalog import HandoffError
from ingestion.settings import Settings

SYSTEM = "salesforce"
SHARED = SharedSecret(header="x-handoff-secret", query="secret", takes_basic=True)
verify = SHARED.verify
to_events = changes.to_events
XML = "text/xml"
# Salesforce sends a message again for a day until it hears exactly this.
ACKNOWLEDGEMENTS: Mapping[str, bytes] = {
    XML: (
        b'<?xml version="1.0" encoding="UTF-8"?>'
        b'<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/">'
        b'<soapenv:Body><notificationsResponse xmlns="http://soap.sforce.com/2005/09/outbound">'
        b"<Ack>true</Ack></notificationsResponse></soapenv:Body></soapenv:Envelope>"
    )
}


def verifier(settings: Settings) -> Verify:
    """The secret, and of an outbound message also the organization it names."""
    ours = {organization[:15] for organization in settings.salesforce_organizations}

    def verify_organization(
        request: SignedRequest, secrets: Sequence[str], now: datetime
    ) -> datetime | None:
        SHARED.verify(request, secrets, now)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() == XML:
            _require_ours(request.body, ours)
        else:
            _require_no_notification(request.body)
        return None

    return verify_organization


def _require_ours(body: bytes, ours: set[str]) -> None:
    try:
        named = _message(body).text_of("OrganizationId") or ""
    except HandoffError:
        # Its sender knows the secret: what it sent is kept with its reason by whoever reads it.
        return
    # The first 15 of an id's 18 characters name the record; the rest repeats their case.
    if named[:15] not in ours:
        raise HandoffError(
            "SIGNATURE_INVALID",
            f"the outbound message is from organization {named!r:.40}, which is none of ours",
            remedy="List the organization's id in HANDOFF_SALESFORCE_ORGANIZATION_IDS.",
        )


def _require_no_notification(body: bytes) -> None:
    """The JSON that `notifications` makes comes from nobody else: it would name any organization."""
    try:
        delivered = orjson.loads(body)
    except ValueError:
        return
    items = delivered if isinstance(delivered, list) else [delivered]
    if any(isinstance(item, dict) and "NotificationId" in item for item in items):
        raise HandoffError(
            "SIGNATURE_INVALID", f"an outbound message comes as {XML}, which names its organization"
        )


def notifications(body: bytes) -> list[bytes]:
    """Each notification of an outbound message as a JSON object of its own, ready for `to_events`.

    The session id of the message is a credential of the sender's user and goes nowhere.
    """
    message = _message(body)
    organization = message.text_of("OrganizationId")
    found = message.all("Notification")
    if not found:
        raise HandoffError(
            "SCHEMA_INVALID", "the outbound message has no Notification", path="/Notification"
        )
    return [
        orjson.dumps(
            {
                "OrganizationId": organization,
                "NotificationId": notification.text_of("Id"),
                "sObject": _record(notification.find("sObject"), f"/Notification/{at}/sObject"),
            }
        )
        for at, notification in enumerate(found)
    ]


MEDIA_TYPES: Mapping[str, Callable[[bytes], list[bytes]]] = {XML: notifications}


def _message(body: bytes) -> Element:
    envelope = read_xml(body)
    soap_body = envelope.find("Body") if envelope.name == "Envelope" else None
    message = soap_body.find("notifications") if soap_body is not None else None
    if message is None:
        raise HandoffError(
            "SCHEMA_INVALID",
            "the body is no outbound message: expected Envelope/Body/notifications",
            path="/Envelope/Body/notifications",
        )
    return message


def _record(record: Element | None, path: str) -> dict[str, Any] | None:
    """The fields of an sObject by name, and its `type` as Salesforce's JSON has it."""
    if record is None:
        return None
    names = [field.name for field in record.children]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise HandoffError(
            "DUPLICATE_KEY", f"the field {repeated[0]!r} occurs twice", path=f"{path}/{repeated[0]}"
        )
    kind = record.attributes.get("type", "").rpartition(":")[2]
    return {"type": kind} | {field.name: field.value for field in record.children}
