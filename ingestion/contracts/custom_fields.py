"""The registry of fields under `custom`: what each is, who owns it, and whether a value fits it; undefined ones are nobody's business."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Any

from ingestion.contracts import registry
from ingestion.contracts.instants import is_instant
from ingestion.contracts.violations import Violation, pointer
from ingestion.errors.catalog import HandoffError

FILE = "custom_fields.yml"


def _is_day(value: object) -> bool:
    try:
        return isinstance(value, str) and len(value) == 10 and bool(date.fromisoformat(value))
    except ValueError:
        return False


def _is_whole(value: object) -> bool:
    return type(value) is int or (isinstance(value, float) and value.is_integer())


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_FITS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "text": (lambda value: isinstance(value, str), "text"),
    "integer": (_is_whole, "a whole number"),
    "number": (_is_number, "a number"),
    "boolean": (lambda value: isinstance(value, bool), "true or false"),
    "date": (_is_day, "a date YYYY-MM-DD"),
    "instant": (
        lambda value: isinstance(value, str) and is_instant(value),
        "an RFC 3339 instant with a zone",
    ),
    "list": (lambda value: isinstance(value, list), "an array"),
}
_REQUIRED = {"type", "owner", "description"}


@dataclass(frozen=True, slots=True)
class CustomField:
    """One field under `custom` of a record; `allowed` is empty where any value of the type may be."""

    record: str
    name: str
    type: str
    owner: str
    description: str
    allowed: tuple[Any, ...] = ()

    def breach(self, value: object) -> Violation | None:
        """Why a value does not fit, without the value: it may be personal data. Null fits any field."""
        if value is None:
            return None
        path = pointer(["data", "custom", self.name])
        fits, expected = _FITS[self.type]
        if not fits(value):
            message = f"custom field {self.name!r} of {self.record} must be {expected} ({self.owner} owns it)"
            return Violation("FIELD_MISMATCH", path, message)
        if self.allowed and value not in self.allowed:
            allowed = ", ".join(map(str, self.allowed))
            message = f"custom field {self.name!r} of {self.record} has a value {self.owner} does not have; allowed: {allowed}"
            return Violation("ENUM_UNKNOWN", path, message)
        return None


@cache
def custom_fields() -> tuple[CustomField, ...]:
    """Every field that is defined, in the order of the file."""
    file = registry.FOLDER / FILE
    return read_custom_fields(file.read_text(encoding="utf-8")) if file.is_file() else ()


@cache
def custom_fields_of(record: str) -> tuple[CustomField, ...]:
    """The fields defined for one record."""
    return tuple(field for field in custom_fields() if field.record == record)


def custom_breaches(record: str, custom: Mapping[str, Any]) -> list[Violation]:
    """What under `custom` does not fit its definition."""
    found = (
        field.breach(custom[field.name])
        for field in custom_fields_of(record)
        if field.name in custom
    )
    return [violation for violation in found if violation is not None]


def read_custom_fields(text: str) -> tuple[CustomField, ...]:
    """The definitions; CONTRACTS_UNREADABLE names the one that cannot be read."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        document = YAML(typ="safe").load(text) or {}
    except YAMLError as error:
        raise HandoffError("CONTRACTS_UNREADABLE", f"{FILE} is no YAML: {error}") from error
    if not isinstance(document, dict):
        raise HandoffError("CONTRACTS_UNREADABLE", f"{FILE}: expected records with their fields")
    return tuple(
        _field(str(record), str(name), entry)
        for record, fields in document.items()
        for name, entry in (fields.items() if isinstance(fields, dict) else [("", None)])
    )


def _field(record: str, name: str, entry: Any) -> CustomField:
    place = f"{FILE}: {record}.{name}"
    if record not in registry.RECORD_TABLES or not name:
        known = ", ".join(registry.RECORD_TABLES)
        raise HandoffError("CONTRACTS_UNREADABLE", f"{place}: unknown record; known: {known}")
    if not isinstance(entry, dict) or not _REQUIRED <= set(entry) <= {*_REQUIRED, "allowed"}:
        wanted = ", ".join(sorted(_REQUIRED))
        raise HandoffError("CONTRACTS_UNREADABLE", f"{place}: expected {wanted} and maybe allowed")
    if entry["type"] not in _FITS:
        raise HandoffError(
            "CONTRACTS_UNREADABLE",
            f"{place}: unknown type {entry['type']!r}; known: {', '.join(_FITS)}",
        )
    allowed = entry.get("allowed", [])
    if not isinstance(allowed, list) or not all(map(_FITS[entry["type"]][0], allowed)):
        raise HandoffError(
            "CONTRACTS_UNREADABLE", f"{place}: allowed must be a list of {entry['type']} values"
        )
    return CustomField(
        record, name, entry["type"], entry["owner"], entry["description"], tuple(allowed)
    )
