"""What a changed record of Salesforce means in our records, as an outbound message or a change
event says it; knows nothing of who may send them.

Sources: "Change Event Structure" and "Gap Events" in the Change Data Capture Developer Guide; SOAP
API Developer Guide, "Outbound Messaging".
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from ingestion.connectors.delivered import (
    COUNTRY_CODE,
    Delivered,
    canonical_event,
    digest_of,
    from_milliseconds,
    read_object,
)
from ingestion.contracts.instants import is_instant
from ingestion.contracts.registry import system_value
from ingestion.errors.catalog import HandoffError

SYSTEM = "salesforce"
LEAD = {
    "Email": "email",
    "Phone": "phone",
    "FirstName": "first_name",
    "LastName": "last_name",
    "Company": "company",
    "Title": "job_title",
    "Street": "street_address",
    "City": "city",
    "State": "region",
    "PostalCode": "postal_code",
    "CountryCode": "country",
    "LeadSource": "original_source",
    "Status": "lifecycle_stage",
    "OwnerId": "owner_id",
}
CONTACT = {
    "Email": "email",
    "Phone": "phone",
    "FirstName": "first_name",
    "LastName": "last_name",
    "Title": "job_title",
    "MailingStreet": "street_address",
    "MailingCity": "city",
    "MailingState": "region",
    "MailingPostalCode": "postal_code",
    "MailingCountryCode": "country",
    "LeadSource": "original_source",
    "OwnerId": "owner_id",
}
ACCOUNT = {
    "Name": "name",
    "Website": "domain",
    "Industry": "industry",
    "NumberOfEmployees": "employee_count",
    "AnnualRevenue": "annual_revenue_usd",
    "BillingCountryCode": "country",
    "BillingState": "region",
    "OwnerId": "owner_id",
    "ParentId": "parent_id",
}
OPPORTUNITY = {
    "AccountId": "account_id",
    "StageName": "stage",
    "Amount": "amount_usd",
    "CreatedDate": "created_at",
    "OwnerId": "owner_id",
}
OBJECTS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "Lead": ("contact", LEAD),
    "Contact": ("contact", CONTACT),
    "Account": ("account", ACCOUNT),
    "Opportunity": ("opportunity", OPPORTUNITY),
    "Task": ("activity", {}),
}
# Of the record's keeping, said by the envelope or by nobody.
APART = ("type", "Id", "SystemModstamp", "LastModifiedDate", "LastModifiedById", "CreatedById")
NUMBERS = ("employee_count", "annual_revenue_usd", "amount_usd")
CHANGES = ("CREATE", "UPDATE", "DELETE", "UNDELETE")
GAPS = tuple(f"GAP_{change}" for change in CHANGES)
OVERFLOW = "GAP_OVERFLOW"
MOST_RECORDS = 1_000


def to_events(body: bytes, received_at: datetime) -> list[dict[str, Any]]:
    """CloudEvents of one notification of an outbound message, or of one change event with an event
    for each of its records.

    Equal for equal content. A HandoffError names what cannot be read by its path in the delivery.
    """
    delivery = read_object(body)
    if "NotificationId" in delivery.value:
        return [_notified(delivery)]
    return _changed(_change(delivery))


def _notified(delivery: Delivered) -> dict[str, Any]:
    organization = delivery.required_text("OrganizationId")
    notification = delivery.required_text("NotificationId")
    record = delivery.inside("sObject")
    kind = record.chosen("type", OBJECTS)
    record_id = record.required_text("Id")
    stamps = ("SystemModstamp", "LastModifiedDate")
    stamp = next((name for name in stamps if record.value.get(name) is not None), None)
    if stamp is None:
        raise record.error(
            stamps[0], f"select {stamps[0]} among the fields of the outbound message: it says when"
        )
    # A message that waits is sent with what the record holds by then, under the id it had.
    return canonical_event(
        OBJECTS[kind][0],
        _data(kind, record_id, record),
        event_id=f"{notification}-{digest_of(record.value)}",
        source=f"urn:salesforce:organization:{organization}",
        time=record.instant(stamp),
    )


def _change(delivery: Delivered) -> Delivered:
    """The change event itself, whichever relay wrapped it."""
    found = delivery
    for wrapper in ("detail", "data", "payload"):
        if "ChangeEventHeader" not in found.value and isinstance(found.value.get(wrapper), dict):
            found = found.inside(wrapper)
    return found


def _changed(change: Delivered) -> list[dict[str, Any]]:
    header = change.inside("ChangeEventHeader")
    kind = header.chosen("entityName", OBJECTS)
    what = header.chosen("changeType", (*CHANGES, *GAPS, OVERFLOW))
    if what == OVERFLOW:
        raise header.error(
            "changeType", "GAP_OVERFLOW names no single records; the next poll reads them"
        )
    commit = header.value.get("commitTimestamp")
    if not isinstance(commit, int) or isinstance(commit, bool) or not 0 < commit < 10**14:
        raise header.error(
            "commitTimestamp", f"must be milliseconds since 1970, not {commit!r:.80}"
        )
    name = f"{header.required_text('transactionKey')}-{header.identifier('sequenceNumber')}"
    fields = _fields(change, header, what)
    events = []
    for record_id in _record_ids(header):
        if what.endswith("UNDELETE"):
            data = _data(kind, record_id, fields) | {"is_deleted": False}
        elif what.endswith("DELETE"):
            data = {"system": SYSTEM, "record_id": record_id, "is_deleted": True}
        else:
            data = _data(kind, record_id, fields)
        if kind == "Task" and what.endswith("DELETE"):
            raise header.error("changeType", f"a Task's {what} is no activity", "SCHEMA_UNKNOWN")
        events.append(
            canonical_event(
                OBJECTS[kind][0],
                data,
                event_id=f"{name}-{record_id}",
                source="urn:salesforce:change-events",
                time=from_milliseconds(commit),
            )
        )
    return events


def _record_ids(header: Delivered) -> list[str]:
    ids = header.value.get("recordIds")
    if not isinstance(ids, list) or not ids or len(ids) > MOST_RECORDS:
        raise header.error("recordIds", f"must be an array of 1 to {MOST_RECORDS} record ids")
    for at, record_id in enumerate(ids):
        if not isinstance(record_id, str) or not record_id.isalnum():
            # A wildcard such as 001* stands for every record of an object.
            raise HandoffError(
                "SCHEMA_INVALID",
                f"{record_id!r:.40} is no record id; the next poll reads what it stands for",
                path=f"{header.path}/recordIds/{at}",
            )
    return list(dict.fromkeys(ids))


def _fields(change: Delivered, header: Delivered, what: str) -> Delivered:
    """The changed fields by their flat names: compound ones (Name, BillingAddress) in their parts,
    emptied ones as null. A gap event has none.
    """
    flat: dict[str, Any] = {}
    if what in GAPS:
        return Delivered(flat, change.path)
    for name, value in change.value.items():
        if isinstance(value, dict) and name != "ChangeEventHeader":
            flat |= {_flat(name, part): inner for part, inner in value.items()}
        elif name != "ChangeEventHeader":
            flat[name] = value
    if "nulledFields" in header.value:
        # By way of Avro what did not change is null as well, and the header lists what was emptied.
        flat = {name: value for name, value in flat.items() if value is not None}
        flat |= dict.fromkeys(_nulled(header))
    return Delivered(flat, change.path)


def _nulled(header: Delivered) -> list[str]:
    names = header.value["nulledFields"] or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise header.error("nulledFields", "must be an array of field names", "FIELD_MISMATCH")
    for at, name in enumerate(names):
        if "0x" in name:
            raise HandoffError(
                "FIELD_MISMATCH",
                f"{name!r:.40} is a bitmap: the relay must decode it to names by the event's schema",
                path=f"{header.path}/nulledFields/{at}",
            )
    parts = [name.rpartition(".") for name in names]
    return [_flat(compound, part) if compound else part for compound, _, part in parts]


def _flat(compound: str, part: str) -> str:
    """BillingAddress.City is BillingCity; Name.FirstName and a Lead's Address.City lose the first
    word.
    """
    return part if compound == "Name" else compound.removesuffix("Address") + part


def _data(kind: str, record_id: str, fields: Delivered) -> dict[str, Any]:
    if kind == "Task":
        return _task(record_id, fields)
    _, known = OBJECTS[kind]
    data: dict[str, Any] = {"system": SYSTEM, "record_id": record_id}
    custom: dict[str, Any] = {}
    for name, value in fields.value.items():
        if name in APART or (name == "Name" and kind != "Account"):
            continue
        field = known.get(name)
        converted = None if field is None else _converted(field, value)
        if name == "IsDeleted":
            data["is_deleted"] = _truth(value)
        elif name == "ConvertedContactId":
            linked = {"system": SYSTEM, "record_id": value}
            data["external_ids"] = None if value is None else [linked]
        elif field is None or (converted is None and value not in (None, "")):
            # Whatever is no field of ours, or no value of it, is kept where it claims nothing.
            custom[name] = value
        else:
            data[field] = converted
    if kind == "Opportunity" and "IsClosed" in fields.value:
        data |= _outcome(fields)
    return data | ({"custom": custom} if custom else {})


def _converted(field: str, value: Any) -> Any:
    """The value as our contract has it; None when it is empty or cannot be that."""
    if value is None or value == "":
        return None
    if field in NUMBERS:
        return _number(field, value)
    if field == "created_at":
        return _instant(value)
    if not isinstance(value, str):
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else None
    if field == "country":
        return value.upper() if COUNTRY_CODE.fullmatch(value) else None
    if field == "lifecycle_stage":
        return system_value("lifecycle_stage", SYSTEM, value)
    if field == "domain":
        return _domain(value)
    return value


def _number(field: str, value: Any) -> int | float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    if field == "employee_count":
        return int(number) if number.is_integer() else None
    return number if abs(number) < 1e15 else None


def _instant(value: Any) -> str | None:
    """Change events by way of Avro carry milliseconds, others RFC 3339."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**14:
        return from_milliseconds(value)
    return value if isinstance(value, str) and is_instant(value) else None


def _domain(website: str) -> str | None:
    try:
        host = urlsplit(website if "//" in website else f"//{website}").hostname
    except ValueError:
        return None
    return host.removeprefix("www.") if host else None


def _truth(value: Any) -> bool:
    return value is True or value in ("true", "1")


def _outcome(fields: Delivered) -> dict[str, Any]:
    """Of an open one Salesforce says when it is expected to close, and that it is not won: both
    are ours only once it is closed.
    """
    if not _truth(fields.value["IsClosed"]):
        return {"closed_at": None, "is_won": None}
    found: dict[str, Any] = {}
    if "IsWon" in fields.value:
        found["is_won"] = _truth(fields.value["IsWon"])
    day = fields.value.get("CloseDate")
    if isinstance(day, str) and is_instant(f"{day}T00:00:00Z"):
        found["closed_at"] = f"{day}T00:00:00Z"
    return found


def _task(record_id: str, fields: Delivered) -> dict[str, Any]:
    """A finished task of somebody: before, nobody has done anything."""
    done = _truth(fields.value.get("IsClosed")) or fields.value.get("Status") == "Completed"
    if not done:
        raise fields.error("IsClosed", "a Task that is not closed is no activity yet")
    if not isinstance(fields.value.get("WhoId"), str):
        raise fields.error(
            "WhoId", "the Task names nobody: select WhoId, in a change event as an enriched field"
        )
    subtype = fields.text("TaskSubtype") or "Task"
    data: dict[str, Any] = {
        "system": SYSTEM,
        "activity_id": record_id,
        "activity_type": system_value("activity_type", SYSTEM, subtype) or "task",
        "contact_id": fields.value["WhoId"],
    }
    said = ("Subject", "Status", "WhatId", "OwnerId")
    custom = {name: fields.value[name] for name in said if fields.value.get(name) is not None}
    return data | ({"custom": custom} if custom else {})
