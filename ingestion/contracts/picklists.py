"""The enumerations' mappings against the picklists a system has now; reads no system itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ingestion.connectors.picklist import Picklist
from ingestion.contracts.registry import enum_document

Finding = Literal["unmapped", "inactive", "gone", "unreadable"]


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One word of a system's that our mapping and the live system see differently.

    `unmapped`: records can have it and we have no meaning for it. `inactive`: mapped, and no record can get it any more.
    `gone`: mapped, and the live field has it no more (the registry may know it from another org). `unreadable`: the field cannot be seen.
    """

    finding: Finding
    enum: str
    field: str
    value: str
    words: str

    @property
    def is_failure(self) -> bool:
        """Whether something would be decided wrongly: a word without a meaning, or a field nobody could check."""
        return self.finding in ("unmapped", "unreadable")

    def as_dict(self) -> dict[str, Any]:
        """The mismatch as JSON values."""
        return {**asdict(self), "is_failure": self.is_failure}


def mismatches(system: str, live: Sequence[Picklist]) -> list[Mismatch]:
    """Where the mapping of `system` and its live picklists differ, failures first."""
    found: list[Mismatch] = []
    for picklist in live:
        if picklist.missing is not None:
            found.append(
                Mismatch("unreadable", picklist.enum, picklist.field, "", picklist.missing)
            )
            continue
        mapped = enum_document(picklist.enum).get("systems", {}).get(system, {})
        for option in picklist.values:
            if option.value not in mapped:
                words = f"{option.value!r} ({option.label}) has no meaning of ours: map it in enums/{picklist.enum}.json"
                if option.is_active:
                    found.append(
                        Mismatch("unmapped", picklist.enum, picklist.field, option.value, words)
                    )
            elif not option.is_active:
                words = f"{option.value!r} means {mapped[option.value]!r}, and no new record can have it"
                found.append(
                    Mismatch("inactive", picklist.enum, picklist.field, option.value, words)
                )
    for enum in dict.fromkeys(picklist.enum for picklist in live):
        of_enum = [picklist for picklist in live if picklist.enum == enum]
        if any(picklist.missing is not None for picklist in of_enum):
            continue
        present = {option.value for picklist in of_enum for option in picklist.values}
        fields = ", ".join(picklist.field for picklist in of_enum)
        for value, ours in enum_document(enum).get("systems", {}).get(system, {}).items():
            if value not in present:
                words = f"{value!r} means {ours!r}, and {fields} does not have it"
                found.append(Mismatch("gone", enum, fields, value, words))
    return sorted(found, key=lambda row: not row.is_failure)
