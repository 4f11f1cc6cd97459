"""Reads the values of the Salesforce picklists that are mapped to enumerations of ours.

Source: REST API Developer Guide, "sObject Describe" (`picklistValues` with `value`, `label`, `active`).
"""

from __future__ import annotations

from typing import Any

from ingestion.connectors.picklist import Picklist, PicklistValue
from ingestion.connectors.salesforce.client import connected
from ingestion.errors.catalog import HandoffError
from ingestion.settings import Settings

FIELDS: tuple[tuple[str, str, str], ...] = (
    ("Lead", "Status", "lifecycle_stage"),
    ("Opportunity", "StageName", "opportunity_stage"),
    ("Task", "TaskSubtype", "activity_type"),
)


def read(settings: Settings) -> list[Picklist]:
    """Every picklist that is mapped; SYSTEM_NOT_CONFIGURED without an address and credentials."""
    if not settings.salesforce_url:
        raise HandoffError("SYSTEM_NOT_CONFIGURED", "HANDOFF_SALESFORCE_URL is not set")
    described = _describe(settings, sorted({sobject for sobject, _, _ in FIELDS}))
    return [_picklist(described[sobject], sobject, name, enum) for sobject, name, enum in FIELDS]


def _describe(settings: Settings, sobjects: list[str]) -> dict[str, dict[str, Any]]:
    with connected(settings) as client:
        return {name: client.get(f"sobjects/{name}/describe") for name in sobjects}


def _picklist(described: dict[str, Any], sobject: str, name: str, enum: str) -> Picklist:
    field = f"{sobject}.{name}"
    found = [entry for entry in described["fields"] if entry["name"] == name]
    if not found:
        return Picklist(enum, field, missing=f"{sobject} has no field {name} for these credentials")
    return Picklist(
        enum,
        field,
        tuple(
            PicklistValue(str(entry["value"]), str(entry["label"]), bool(entry["active"]))
            for entry in found[0].get("picklistValues", ())
        ),
    )
