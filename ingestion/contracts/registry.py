"""The contracts as data: which records, versions and enums exist; does an event keep to them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import orjson

from ingestion import time_zones
from ingestion.contracts.instants import is_instant
from ingestion.contracts.violations import (
    Violation,
    endless_array,
    explain,
    misnamed_attribute,
)
from ingestion.errors.catalog import HandoffError
from ingestion.log.interface import ERASURE_SOURCE

if TYPE_CHECKING:
    from jsonschema_rs import Validator

FOLDER = Path(__file__).parent
Version = tuple[int, int, int]

# Named here and not found by folder, so that importing reads no disk; a test compares the two.
RECORD_TABLES: dict[str, str] = {
    "contact": "contacts",
    "account": "accounts",
    "opportunity": "opportunities",
    "activity": "activities",
    "consent": "consents",
    "rep": "reps",
    "campaign": "campaigns",
    "meeting": "meetings",
    "merge": "merges",
    "stage_change": "stage_changes",
    "receipt": "receipts",
    "erasure": "erasures",
}

# The field of `data` that an event's subject ends in. Consents and stage changes have no id of their
# own: there the sender chooses.
_SUBJECT_FIELDS = dict.fromkeys(RECORD_TABLES, "record_id") | {
    "activity": "activity_id",
    "meeting": "meeting_id",
    "merge": "surviving_id",
    "receipt": "operation_id",
    "consent": None,
    "stage_change": None,
    "erasure": "erasure_id",
}

# What these say is believed for who says it: no door takes them.
OWN_SOURCES = frozenset({ERASURE_SOURCE})

_TYPE_PREFIX = "com.handoff."
_SCHEMA_PREFIX = "urn:handoff:contract:"
_ENUM_PREFIX = "urn:handoff:enum:"
_VERSION = re.compile(r"\d+\.\d+\.\d+", re.ASCII)
# A body of a million unknown fields must not become a million violations.
_MOST_VIOLATIONS = 100
# The validator builds every error before it hands out the first, so what one event can get wrong
# is bounded before it is asked: the envelope has a dozen attributes, and contracts end an array at
# 10,000 entries.
_MOST_ATTRIBUTES = 64
_MOST_ENTRIES = 10_000


@dataclass(frozen=True, slots=True)
class Contract:
    """Name of one contract: `record` such as contact, `version` such as 1.0.0."""

    record: str
    version: str


def event_type(record: str) -> str:
    """CloudEvents `type` of a record: contact → com.handoff.contact."""
    _require_record(record)
    return _TYPE_PREFIX + record


def record_of(event_type: str) -> str:
    """Record of a CloudEvents `type`; HandoffError SCHEMA_UNKNOWN for any other type."""
    record = event_type.removeprefix(_TYPE_PREFIX)
    if not event_type.startswith(_TYPE_PREFIX) or record not in RECORD_TABLES:
        known = ", ".join(_TYPE_PREFIX + name for name in RECORD_TABLES)
        raise HandoffError(
            "SCHEMA_UNKNOWN",
            f"unknown type {event_type[:200]!r}; known: {known}",
            path="/type",
        )
    return record


@cache
def versions(record: str) -> tuple[str, ...]:
    """Versions of a record's contract (or of `envelope`), oldest first."""
    found = (file.stem for file in (FOLDER / record).glob("*.json"))
    return tuple(sorted(filter(_VERSION.fullmatch, found), key=parse_version))


def newest_version(record: str) -> str:
    """The newest 1.x version: what an event without `dataschema` is held to."""
    _require_record(record)
    return [version for version in versions(record) if version.startswith("1.")][-1]


@cache
def table_version(record: str) -> str:
    """The newest version of all: what the raw table's columns are, and what older events are brought up to."""
    _require_record(record)
    return versions(record)[-1]


def schema_name(contract: Contract) -> str:
    """What an event names in `dataschema` to be held to a contract."""
    return f"{_SCHEMA_PREFIX}{contract.record}:{contract.version}"


@cache
def schema(record: str, version: str) -> dict[str, Any]:
    """The JSON Schema of a record's `data` (or of `envelope`), as in its file; never change it.

    HandoffError SCHEMA_UNKNOWN when there is no such contract.
    """
    if record != "envelope":
        _require_record(record)
    if version not in versions(record):
        known = ", ".join(versions(record))
        raise HandoffError(
            "SCHEMA_UNKNOWN",
            f"unknown version {version[:200]!r} of the {record} contract; known: {known}",
            path="/dataschema",
        )
    return _read(FOLDER / record / f"{version}.json")


@cache
def enum_names() -> tuple[str, ...]:
    """Names of the enumerations, sorted."""
    return tuple(sorted(file.stem for file in (FOLDER / "enums").glob("*.json")))


@cache
def enum_document(name: str) -> dict[str, Any]:
    """The registry file of an enumeration; KeyError when there is none."""
    if name not in enum_names():
        raise KeyError(f"unknown enumeration {name!r}; known: {', '.join(enum_names())}")
    return _read(FOLDER / "enums" / f"{name}.json")


@cache
def enum_values(name: str) -> tuple[str, ...]:
    """Our values of an enumeration, in the order of the registry."""
    return tuple(option["const"] for option in enum_document(name)["oneOf"])


def system_value(enum: str, system: str, value: str) -> str | None:
    """Our value for a system's own picklist `value`; None when the registry does not know it."""
    found = enum_document(enum)["systems"].get(system, {}).get(value)
    return cast("str | None", found)


def enum_of(field: Mapping[str, Any]) -> str | None:
    """Name of the enumeration a property of a contract refers to, None for any other property."""
    for option in (field, *field.get("anyOf", ())):
        reference = option.get("$ref", "")
        if reference.startswith(_ENUM_PREFIX):
            return cast("str", reference.removeprefix(_ENUM_PREFIX))
    return None


def event_schema(record: str, version: str) -> dict[str, Any]:
    """The JSON Schema of a whole event that keeps to a contract, every reference in place; a copy."""
    schema(record, version)
    document = deepcopy(_compound_schema(Contract(record, version)))
    document["title"] = event_type(record)
    document["properties"]["type"] = {"const": event_type(record)}
    return document


def contract_of(event: Mapping[str, Any]) -> Contract:
    """The contract an event is held to, from its `type` and `dataschema`.

    HandoffError SCHEMA_UNKNOWN when they name none, or two different ones.
    """
    type_name, schema_name = event.get("type"), event.get("dataschema")
    if not isinstance(type_name, str):
        raise HandoffError("SCHEMA_UNKNOWN", "the event names no type", path="/type")
    if not isinstance(schema_name, str | None):
        raise HandoffError("SCHEMA_UNKNOWN", "dataschema must be text", path="/dataschema")
    return _contract(type_name, schema_name)


def validate_event(event: dict[str, Any], known_systems: Collection[str]) -> list[Violation]:
    """All that is wrong with a CloudEvent in structured JSON; empty means it may be accepted.

    `known_systems` are the names `data.system` may have. Every breach is listed, up to 100.
    """
    if not isinstance(event, dict):
        return [Violation("SCHEMA_INVALID", "", "the event must be a JSON object")]
    try:
        # A Python caller can pass values that no JSON document, hence no log, can hold.
        orjson.dumps(event, option=orjson.OPT_PASSTHROUGH_DATETIME)
    except TypeError as error:
        return [Violation("SCHEMA_INVALID", "", f"the event is not JSON: {error}")]
    if len(event) > _MOST_ATTRIBUTES:
        message = f"the event has {len(event)} attributes; expected at most {_MOST_ATTRIBUTES}"
        return [Violation("SCHEMA_INVALID", "", f"{message}, with the record's fields under data")]
    if event.get("source") in OWN_SOURCES:
        message = (
            f"{event['source']!r} is a name of Handoff's own; whoever sends an event needs another"
        )
        return [Violation("FIELD_MISMATCH", "/source", message)]
    try:
        contract = contract_of(event)
    except HandoffError as error:
        named = isinstance(event.get("type"), str) and isinstance(event.get("dataschema", ""), str)
        unknown = [Violation(error.code, error.path or "", error.message)] if named else []
        return unknown + _breaches(event, None)
    data = event.get("data")
    system = data.get("system") if isinstance(data, dict) else None
    known = not isinstance(system, str) or system == "" or system in known_systems
    also = [] if known else [_unknown_system(str(system), known_systems)]
    also += _contradictions(event, contract.record, is_system_known=known)
    custom = data.get("custom") if isinstance(data, dict) else None
    if custom and isinstance(custom, dict) and (check := _custom_check(contract.record)):
        also += check(contract.record, custom)
    if not _validator(contract).is_valid(event):
        return _breaches(event, contract) + also
    if not also and contract.version != table_version(contract.record):
        return not_brought_up(event, contract)
    return also


@cache
def _custom_check(record: str) -> Callable[[str, Mapping[str, Any]], list[Violation]] | None:
    """What checks the custom fields of a record; None where none is defined."""
    # Not at import: the registry of custom fields reads this module's folder.
    from ingestion.contracts.custom_fields import custom_breaches, custom_fields_of

    return custom_breaches if custom_fields_of(record) else None


def not_brought_up(event: dict[str, Any], contract: Contract) -> list[Violation]:
    """What keeps the data of a valid event of an older version from being that of the newest: it could not land."""
    from ingestion.contracts.upcasts import steps, upcast

    if not steps(contract):
        return []
    target = Contract(contract.record, table_version(contract.record))
    document, judged = {"data": upcast(event["data"], contract)}, _data_schema(target)
    why = f"valid as {contract.version}, but not as {target.version}, which it is brought up to: "
    breaches = chain.from_iterable(
        explain(error, judged) for error in _data_validator(target).iter_errors(document)
    )
    return [
        Violation(found.code, found.path, why + found.message)
        for found in islice(breaches, _MOST_VIOLATIONS)
    ]


@cache
def _data_schema(contract: Contract) -> dict[str, Any]:
    """A contract where it stands in an event, without the envelope."""
    data = resolved(schema(contract.record, contract.version))
    return {"type": "object", "properties": {"data": data}}


@cache
def _data_validator(contract: Contract) -> Validator:
    return _compiled(_data_schema(contract))


def _contradictions(
    event: Mapping[str, Any], record: str, *, is_system_known: bool
) -> list[Violation]:
    """Where the subject is about something else than type and data: the order of events, which
    follows the subject, would then be another record's."""
    subject, data = event.get("subject"), event.get("data")
    parts = subject.split("/", 2) if isinstance(subject, str) else []
    if len(parts) < 3 or parts[0] not in RECORD_TABLES or not isinstance(data, dict):
        return []
    field = _SUBJECT_FIELDS[record]
    expected = [
        (record, "type"),
        (data.get("system") if is_system_known else None, "'system'"),
        (data.get(field) if field else None, repr(field)),
    ]
    for said, (meant, named) in zip(parts, expected, strict=True):
        if isinstance(meant, str) and meant and said != meant:
            message = f"'subject' says {said[:80]!r} where {named} says {meant[:80]!r}"
            return [Violation("FIELD_MISMATCH", "/subject", message)]
    return []


def _unknown_system(system: str, known_systems: Collection[str]) -> Violation:
    known: Iterable[str] = known_systems
    if isinstance(known_systems, set | frozenset):
        known = sorted(known_systems)
    message = f"unknown system {system[:200]!r}; known: {', '.join(known)}"
    return Violation("ENUM_UNKNOWN", "/data/system", message)


def _breaches(event: dict[str, Any], contract: Contract | None) -> list[Violation]:
    """The first 100 breaches, each once; without a contract the envelope alone is judged."""
    if contract is not None and (endless := _endless_arrays(event.get("data"))):
        return endless
    judged = _compound_schema(contract)
    errors = _explaining_validator(contract).iter_errors(event)
    misnamed = (name for name in event if not _attribute_name().fullmatch(name))
    every = chain(
        map(misnamed_attribute, misnamed),
        chain.from_iterable(explain(error, judged) for error in errors),
    )
    return list(dict.fromkeys(islice(every, _MOST_VIOLATIONS)))


def _endless_arrays(data: object) -> list[Violation]:
    """Arrays longer than any contract allows; half a million wrong entries took a gigabyte."""
    found: list[Violation] = []
    for name, value in data.items() if isinstance(data, dict) else ():
        # Nothing under custom is judged, so nothing there can go wrong many times.
        nested = value.items() if isinstance(value, dict) and name != "custom" else ()
        for path, item in [((name,), value), *(((name, key), item) for key, item in nested)]:
            if isinstance(item, list) and len(item) > _MOST_ENTRIES:
                found.append(endless_array(("data", *path), len(item), _MOST_ENTRIES))
    return found[:_MOST_VIOLATIONS]


@cache
def _attribute_name() -> re.Pattern[str]:
    return re.compile(schema("envelope", versions("envelope")[-1])["propertyNames"]["pattern"])


@lru_cache(maxsize=256)
def _contract(type_name: str, schema_name: str | None) -> Contract:
    record = record_of(type_name)
    if schema_name is None:
        return Contract(record, newest_version(record))
    named_record, _, version = schema_name.removeprefix(_SCHEMA_PREFIX).partition(":")
    if not schema_name.startswith(_SCHEMA_PREFIX) or named_record != record:
        raise HandoffError(
            "SCHEMA_UNKNOWN",
            f"dataschema {schema_name[:200]!r} is no contract of {type_name}; "
            f"expected {_SCHEMA_PREFIX}{record}:<version>, or none for the newest",
            path="/dataschema",
        )
    schema(record, version)
    return Contract(record, version)


@cache
def _validator(contract: Contract) -> Validator:
    return _compiled(_compound_schema(contract))


@cache
def _explaining_validator(contract: Contract | None) -> Validator:
    # Every error about a name carries a copy of the whole event: 60 names of a megabyte took a
    # gigabyte.
    kept = {key: rule for key, rule in _compound_schema(contract).items() if key != "propertyNames"}
    return _compiled(kept)


def _compiled(document: dict[str, Any]) -> Validator:
    from jsonschema_rs import Draft202012Validator

    return Draft202012Validator(
        document,
        validate_formats=True,
        formats={"date-time": is_instant, "time-zone": _is_time_zone},
        offline=True,
    )


@cache
def _compound_schema(contract: Contract | None) -> dict[str, Any]:
    """Envelope and record as one schema without references: one call judges a whole event."""
    envelope = resolved(schema("envelope", versions("envelope")[-1]))
    if contract is not None:
        envelope["properties"]["data"] = resolved(schema(contract.record, contract.version))
    return cast("dict[str, Any]", envelope)


def resolved(node: Any, enum: Callable[[str], Mapping[str, Any]] = enum_document) -> Any:
    """A copy of a schema in which every enumeration it refers to stands in place, as `enum` has it."""
    if isinstance(node, list):
        return [resolved(item, enum) for item in node]
    if not isinstance(node, dict):
        return node
    # Two embedded documents with an $id each would start scopes of their own; `examples` are data.
    kept = {key: value for key, value in node.items() if key not in ("$id", "$schema", "examples")}
    if name := enum_of(kept):
        nullable = [None] if "anyOf" in kept else []
        rest = {key: value for key, value in kept.items() if key not in ("$ref", "anyOf")}
        document = enum(name)
        values = [option["const"] for option in document["oneOf"]]
        return rest | {"enum": [*values, *nullable], "x-systems": document["systems"]}
    return {key: resolved(value, enum) for key, value in kept.items()}


def _is_time_zone(name: str) -> bool:
    return name in time_zones.names()


def _require_record(record: str) -> None:
    if record not in RECORD_TABLES:
        known = ", ".join(RECORD_TABLES)
        raise HandoffError("SCHEMA_UNKNOWN", f"unknown record {record!r}; known: {known}")


def parse_version(version: str) -> Version:
    """1.2.3 as (1, 2, 3), so that 1.10.0 comes after 1.9.0; ValueError for anything else."""
    if not _VERSION.fullmatch(version):
        raise ValueError(f"{version!r} is no version; expected x.y.z")
    major, minor, patch = version.split(".")
    return int(major), int(minor), int(patch)


def _read(file: Path) -> dict[str, Any]:
    return cast("dict[str, Any]", orjson.loads(file.read_bytes()))
