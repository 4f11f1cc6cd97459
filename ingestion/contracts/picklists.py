"""The enumerations' mappings of systems' words: those in use, those of a folder that tries others, and how they compare with the picklists a
system has now; reads no system itself."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

from ingestion.connectors.picklist import Picklist
from ingestion.contracts.registry import enum_document, enum_names, enum_values
from ingestion.errors.catalog import HandoffError

Picklists = dict[str, dict[str, dict[str, str]]]
"""Our value by enumeration, system and the system's own word."""

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


def picklists() -> Picklists:
    """The mappings in use."""
    return {name: enum_document(name).get("systems", {}) for name in enum_names()}


def picklists_of(folder: Path) -> Picklists:
    """The mappings in use, with those of the files in `folder` (named and written as in `ingestion/contracts/enums`; `systems` is read) in their
    place. Raises NOT_FOUND for a file that is no enumeration's or a folder without any, ENUM_UNKNOWN for a word that would mean a value we do
    not have."""
    told = picklists()
    files = sorted(folder.glob("*.json"))
    if not files:
        raise HandoffError(
            "NOT_FOUND",
            f"{folder} has no enumeration (*.json)",
            remedy="Copy ingestion/contracts/enums/<name>.json there and change what its words mean.",
        )
    for file in files:
        if file.stem not in told:
            near = difflib.get_close_matches(file.stem, told, n=1)
            meant = f"; did you mean {near[0]}.json?" if near else ""
            raise HandoffError(
                "NOT_FOUND",
                f"{file}: there is no enumeration '{file.stem}'{meant}",
                remedy=f"Name one of {', '.join(told)}.",
            )
        systems = _systems(file)
        for system, words in systems.items():
            for word, ours in words.items():
                if ours not in enum_values(file.stem):
                    raise HandoffError(
                        "ENUM_UNKNOWN",
                        f"{file}: {system}'s {word!r} would mean {ours!r}, which {file.stem} does not have",
                        remedy=f"Use one of {', '.join(enum_values(file.stem))}.",
                    )
        told[file.stem] = systems
    return told


def _systems(file: Path) -> dict[str, dict[str, str]]:
    try:
        systems: dict[str, dict[str, str]] = orjson.loads(file.read_bytes())["systems"]
        pairs = [pair for words in systems.values() for pair in words.items()]
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise HandoffError(
            "BAD_REQUEST",
            f"{file} is no enumeration: {error}",
            remedy='Write {"systems": {"hubspot": {"their word": "ours"}}}.',
        ) from error
    if not all(isinstance(ours, str) for _, ours in pairs):
        raise HandoffError("BAD_REQUEST", f"{file}: a word means one value, a text")
    return systems


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
