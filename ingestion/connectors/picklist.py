"""What a connector's optional `picklists.py` gives: the values a field of the live system may have."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PicklistValue:
    """One value as the API says it, what people see of it, and whether new records may have it."""

    value: str
    label: str
    is_active: bool = True


@dataclass(frozen=True, slots=True)
class Picklist:
    """The values of one field, and the enumeration of ours that its words are mapped by.

    `missing` says why there are none: the system has no such field, or the credentials may not see it.
    """

    enum: str
    field: str
    values: tuple[PicklistValue, ...] = ()
    missing: str | None = None
