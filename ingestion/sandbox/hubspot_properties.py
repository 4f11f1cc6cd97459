"""Definitions of the simulated portal's enumeration properties, as HubSpot's properties API gives them; values of records stand elsewhere.

Source: developers.hubspot.com, "CRM API | Properties"; default options as a new portal has them.
"""

from __future__ import annotations

from typing import Any

# Object → property → value of each option and its label.
OPTIONS: dict[str, dict[str, dict[str, str]]] = {
    "contacts": {
        "lifecyclestage": {
            "subscriber": "Subscriber",
            "lead": "Lead",
            "marketingqualifiedlead": "Marketing Qualified Lead",
            "salesqualifiedlead": "Sales Qualified Lead",
            "opportunity": "Opportunity",
            "customer": "Customer",
            "evangelist": "Evangelist",
            "other": "Other",
        },
        "hs_legal_basis": {
            name: name
            for name in (
                "Legitimate interest – prospect/lead",
                "Legitimate interest – existing customer",
                "Legitimate interest - other",
                "Performance of a contract",
                "Freely given consent from contact",
                "Not applicable",
            )
        },
    },
}
# Options that records may have and nobody can choose any more.
HIDDEN: set[tuple[str, str, str]] = set()


def property_of(kind: str, name: str) -> dict[str, Any] | None:
    """The definition of one property; None when the portal has none with options."""
    options = OPTIONS.get(kind, {}).get(name)
    if options is None:
        return None
    return {
        "name": name,
        "label": name,
        "type": "enumeration",
        "fieldType": "select",
        "hubspotDefined": True,
        "options": [
            {
                "value": value,
                "label": label,
                "displayOrder": order,
                "hidden": (kind, name, value) in HIDDEN,
            }
            for order, (value, label) in enumerate(options.items())
        ],
    }
