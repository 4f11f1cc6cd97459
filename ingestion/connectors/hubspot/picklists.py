"""Reads the options of the HubSpot properties whose values are mapped to enumerations of ours.

Source: developers.hubspot.com, "CRM API | Properties" (`GET /crm/properties/{version}/{objectType}/{propertyName}`).
"""

from __future__ import annotations

from ingestion.connectors.picklist import Picklist, PicklistValue
from ingestion.connectors.polling import Session, UpstreamRefusal, bearer, session
from ingestion.errors.catalog import HandoffError
from ingestion.settings import Settings

PROPERTIES: tuple[tuple[str, str, str], ...] = (
    ("contacts", "lifecyclestage", "lifecycle_stage"),
    ("contacts", "hs_legal_basis", "lawful_basis"),
    ("deals", "dealstage", "opportunity_stage"),
)


def read(settings: Settings) -> list[Picklist]:
    """Every picklist that is mapped; SYSTEM_NOT_CONFIGURED without an address and a token."""
    if not settings.hubspot_url:
        raise HandoffError("SYSTEM_NOT_CONFIGURED", "HANDOFF_HUBSPOT_URL is not set")
    with session(settings, "hubspot", bearer(settings, "hubspot")) as http:
        version = settings.hubspot_api_version
        return [_read(http, version, kind, name, enum) for kind, name, enum in PROPERTIES]


def _read(http: Session, version: str, kind: str, name: str, enum: str) -> Picklist:
    field = f"{kind}.{name}"
    try:
        found = http.get(f"crm/properties/{version}/{kind}/{name}")
    except UpstreamRefusal as error:
        if error.status not in (403, 404):
            raise
        return Picklist(enum, field, missing=error.message)
    # A hidden option stays on the records that have it; forms and people cannot choose it.
    return Picklist(
        enum,
        field,
        tuple(
            PicklistValue(str(option["value"]), str(option["label"]), not option.get("hidden"))
            for option in found.get("options", ())
        ),
    )
