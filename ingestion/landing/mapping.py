"""Mapping files: how the columns of somebody's CSV or Parquet become the fields of a record; reads
no data files."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable
from collections.abc import Mapping as MappingABC
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import orjson

from ingestion import time_zones
from ingestion.connectors import catalog
from ingestion.contracts import columns, registry
from ingestion.errors.catalog import HandoffError

Row = MappingABC[str, Any]

# The field that identifies a record, the last part of an event's subject.
KEY_FIELDS = {
    "activity": "activity_id",
    "meeting": "meeting_id",
    "merge": "surviving_id",
    "stage_change": "contact_id",
    "receipt": "operation_id",
    "erasure": "erasure_id",
}
# The target of the rule for the event's own time, which is no field of any record.
TIME = "/time"
UNMAPPED = ("refuse", "custom", "ignore")
INVALID = ("refuse", "custom", "omit")
TOP_LEVEL = {
    "type", "system", "new_system", "columns", "occurred_at", "record_id", "unmapped", "ignore",
    "empty", "delimiter", "time_zone", "description", "beside",
}  # fmt: skip
OPTIONS = {
    "column", "constant", "template", "format", "time_zone", "values", "split", "system", "invalid",
    "optional", "when", "gather",
}  # fmt: skip
BESIDE = ("table", "instead_of", "key", "columns")
_TRUE = {"true", "t", "yes", "y", "1"}
_FALSE = {"false", "f", "no", "n", "0"}
_LOOSE_INSTANT = re.compile(
    r"(\d{4})-(\d{1,2})-(\d{1,2})[T ](\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?"
    r"\s*(Z|z|UTC|[+-]\d{2}:?\d{2})?"
)
_LOOSE_DAY = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})")
_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")


class RowError(Exception):
    """One value of one row that cannot become what the contract asks for; the row goes to
    quarantine."""

    def __init__(self, code: str, path: str, message: str, remedy: str | None = None) -> None:
        """Name the catalog code and the JSON pointer into the event that would have been; a
        `remedy` where the code's own would mislead."""
        super().__init__(message)
        self.code = code
        self.path = path
        self.message = message
        self.remedy = remedy


class _ImpossibleDate(ValueError):
    """Written as a date should be, but no calendar or clock has it: another format would not help."""


@dataclass(frozen=True, slots=True)
class FieldRule:
    """How one field is filled: from the first non-empty of `columns`, a `constant` or a
    `template`; where a part of the template is empty, from the first non-empty of `fallback`.

    With `when` (values by column) only in rows where one of the columns has one of its values; in
    others the field is empty, which an absent field would not say of a record that had it before.
    With `gather` a list holds what all rows of the same record say, the earliest first.
    """

    target: str
    columns: tuple[str, ...] = ()
    constant: Any = None
    template: str | None = None
    fallback: tuple[str, ...] = ()
    format: str | None = None
    time_zone: str | None = None
    values: MappingABC[str, Any] = field(default_factory=dict)
    split: str | None = None
    system: str | None = None
    invalid: str = "refuse"
    optional: bool = False
    when: MappingABC[str, frozenset[str]] = field(default_factory=dict)
    gather: bool = False

    @property
    def read_columns(self) -> tuple[str, ...]:
        """Source columns the rule reads."""
        return (*self.columns, *self.when)

    def applies(self, row: Row) -> bool:
        """Whether the row is one of those `when` speaks of."""
        return not self.when or any(
            str(row.get(name, "")).strip().lower() in values for name, values in self.when.items()
        )


@dataclass(frozen=True, slots=True)
class Beside:
    """Another table, exported beside this one, whose rows with the same `key` say more (`columns`)
    of a row; the names of the two files differ only in the table."""

    table: str
    instead_of: str
    key: str
    columns: tuple[str, ...]

    def file_of(self, path: Path) -> Path | None:
        """The file beside `path`; None when the name of `path` does not say which table it is."""
        before, found, after = path.name.rpartition(self.instead_of)
        return path.with_name(f"{before}{self.table}{after}") if found else None


@dataclass(frozen=True, slots=True)
class Whole:
    """What all rows of one record say together: its newest `time`, and the lists by field."""

    time: str
    lists: dict[str, list[Any]]


@dataclass(frozen=True, slots=True)
class Mapping:
    """One mapping file, checked against the contract of `record`; `name` says where it came
    from."""

    name: str
    record: str
    system: str
    new_system: bool
    rules: tuple[FieldRule, ...]
    occurred_at: FieldRule
    unmapped: str
    ignore: frozenset[str]
    empty: frozenset[str]
    delimiter: str | None
    beside: Beside | None = None

    @property
    def gathers(self) -> bool:
        """Whether several rows make up one record."""
        return any(rule.gather for rule in self.rules)

    @property
    def used_columns(self) -> frozenset[str]:
        """Source columns that some field reads."""
        return frozenset(
            name for rule in (*self.rules, self.occurred_at) for name in rule.read_columns
        )

    def check_header(self, header: list[str], path: Path) -> None:
        """Refuse the file when a mapped column is missing or a column of it has no place; nothing
        was read yet."""
        present = set(header)
        for rule in (*self.rules, self.occurred_at):
            missing = [name for name in rule.columns if name not in present]
            if missing and not rule.optional and len(missing) == len(rule.columns):
                raise _missing_column(self, rule, missing[0], header, path)
            if rule.when and not present & rule.when.keys() and not rule.optional:
                raise _missing_column(self, rule, next(iter(rule.when)), header, path)
        if self.unmapped != "refuse":
            return
        unknown = [name for name in header if name not in self.used_columns | self.ignore]
        if unknown:
            raise HandoffError(
                "COLUMN_UNKNOWN",
                f"{path}: line 1: unknown column {unknown[0]!r}; {self.record} has: "
                f"{', '.join(_field_names(self.record))}"
                + (f"; also unknown: {', '.join(map(repr, unknown[1:]))}" if unknown[1:] else ""),
                remedy=f"Map {unknown[0]!r} under `columns:` in a mapping file, "
                "or set `unmapped: custom` or `unmapped: ignore` there.",
                path=str(path),
            )

    def gather(self, rows: Iterable[Row]) -> dict[str, Whole]:
        """What the rows of each record say together, by the record's key; rows that cannot be read
        have no part in it."""
        times: dict[str, tuple[datetime, str]] = {}
        said: dict[tuple[str, str], dict[bytes, datetime]] = {}
        for row in rows:
            try:
                key, time = self._key(row), str(self._value(self.occurred_at, row) or "")
                lists = {
                    rule.target: self._value(rule, row) or []
                    for rule in self.rules
                    if rule.gather and rule.applies(row)
                }
                instant = datetime.fromisoformat(time)
            except (RowError, ValueError):
                continue
            times[str(key)] = max(times.get(str(key), (instant, time)), (instant, time))
            for target, items in lists.items():
                known = said.setdefault((str(key), target), {})
                for item in items:
                    name = orjson.dumps(item, option=orjson.OPT_SORT_KEYS)
                    known[name] = min(known.get(name, instant), instant)
        # Ordered by what they are, not by where they stand: the same rows in another order are the
        # same record.
        found = {key: Whole(time, {}) for key, (_, time) in times.items()}
        for (key, target), known in said.items():
            by_age = sorted(known.items(), key=lambda entry: (entry[1], entry[0]))
            found[key].lists[target] = [orjson.loads(name) for name, _ in by_age]
        return found

    def to_event(self, row: Row, wholes: MappingABC[str, Whole] | None = None) -> dict[str, Any]:
        """The CloudEvent of one row; its id is a hash of its content. RowError when a value cannot
        be read.

        With `wholes` (see `gather`) it is the event of the row's record: the same for each of its rows.
        """
        data: dict[str, Any] = {}
        for rule in self.rules:
            if not rule.applies(row):
                _place(data, rule.target, None)
                continue
            value = self._value(rule, row)
            if value is not None:
                _place(data, rule.target, value)
        if self.system and "system" in _properties(self.record):
            data.setdefault("system", self.system)
        if self.unmapped == "custom":
            taken = self.used_columns | self.ignore
            rest = {
                name: _plain(value)
                for name, value in row.items()
                if name not in taken and not self._is_empty(value)
            }
            if rest:
                data["custom"] = {**rest, **data.get("custom", {})}
        time = self._value(self.occurred_at, row)
        if time is None:
            raise RowError(
                "DATE_UNPARSABLE",
                "/time",
                f"{self._origin(self.occurred_at)} is empty: no occurred_at",
                "Fill it in: every row says when it happened.",
            )
        whole = wholes.get(str(self._key(row))) if wholes else None
        if whole is not None:
            data.update({name: items for name, items in whole.lists.items() if items})
            time = whole.time
        return self.event(data, str(time))

    def event(self, data: dict[str, Any], time: str) -> dict[str, Any]:
        """Wrap `data` as a CloudEvent whose id depends on its content alone."""
        key = str(data.get(KEY_FIELDS.get(self.record, "record_id")) or _consent_key(data))
        system = str(data.get("system") or self.system)
        try:
            content = orjson.dumps(
                [self.record, system, key, time, data], option=orjson.OPT_SORT_KEYS
            )
        except TypeError as error:
            raise RowError(
                "FIELD_MISMATCH", "/data", f"the row cannot be stored as JSON: {error}"
            ) from error
        return {
            "specversion": "1.0",
            "id": hashlib.blake2b(content, digest_size=16).hexdigest(),
            "source": f"urn:handoff:file:{system}",
            "type": registry.event_type(self.record),
            "subject": f"{self.record}/{system}/{key}",
            "time": time,
            "data": data,
        }

    def set_aside(self, event: dict[str, Any], fields: list[str]) -> dict[str, Any] | None:
        """The event without the `fields` its contract refused: `invalid: custom` keeps them there,
        `omit` does not.

        None when the mapping does not allow that for one of them.
        """
        rules = {rule.target: rule for rule in self.rules if rule.invalid != "refuse"}
        if any(name not in rules for name in fields):
            return None
        data = dict(event["data"])
        custom = dict(data.get("custom", {}))
        for name in dict.fromkeys(fields):
            refused = data.pop(name)
            if rules[name].invalid == "custom":
                custom[rules[name].columns[0]] = refused
        if custom:
            data["custom"] = custom
        return self.event(data, event["time"])

    def _key(self, row: Row) -> Any:
        name = KEY_FIELDS.get(self.record, "record_id")
        rule = next((rule for rule in self.rules if rule.target == name), None)
        return None if rule is None else self._value(rule, row)

    def _value(self, rule: FieldRule, row: Row) -> Any:
        raw = self._raw(rule, row)
        if raw is not None and rule.values:
            raw = rule.values.get(str(raw).strip(), raw)
        if self._is_empty(raw):
            raw = rule.constant
        if raw is None:
            return None
        kind, types, enum = _shape(self.record, rule.target)
        try:
            if "array" in types:
                return self._array(rule, raw)
            if enum is not None and isinstance(raw, str):
                return _enum_value(enum, self.system, raw.strip())
            return _convert(raw, kind, rule)
        except ValueError as error:
            code = "DATE_UNPARSABLE" if kind in ("instant", "date") else "FIELD_MISMATCH"
            pointer = TIME if rule.target == TIME else f"/data/{rule.target}"
            # The parser names what is wrong with a date, not the date.
            told = (
                f"{raw!r}: {error}" if kind == "instant" and str(raw) not in str(error) else error
            )
            remedy = (
                "Correct the value in the file; no calendar or clock has it."
                if isinstance(error, _ImpossibleDate)
                else None
            )
            raise RowError(code, pointer, f"{self._origin(rule)}: {told}", remedy) from error

    def _raw(self, rule: FieldRule, row: Row) -> Any:
        names = rule.columns
        if rule.template is not None:
            text = self._filled(rule.template, row)
            if text is not None:
                return text
            names = rule.fallback
        filled = (row.get(name) for name in names)
        return next((value for value in filled if not self._is_empty(value)), None)

    def _array(self, rule: FieldRule, raw: Any) -> list[Any]:
        if isinstance(raw, str) and raw.lstrip().startswith("["):
            items = orjson.loads(raw)
        elif isinstance(raw, str):
            items = raw.split(rule.split) if rule.split else [raw]
            items = [item.strip() for item in items if item.strip()]
        else:
            items = list(raw) if isinstance(raw, list | tuple) else [raw]
        if rule.target == "external_ids":
            system = rule.system or self.system
            return [
                item if isinstance(item, dict) else {"system": system, "record_id": str(item)}
                for item in items
            ]
        item_type = _properties(self.record)[rule.target].get("items", {}).get("type")
        return [_text(item) if item_type == "string" else _plain(item) for item in items]

    def _filled(self, template: str, row: Row) -> str | None:
        parts = {name: row.get(name) for name in _PLACEHOLDER.findall(template)}
        if any(self._is_empty(part) for part in parts.values()):
            return None
        return _PLACEHOLDER.sub(lambda match: str(parts[match.group(1)]).strip(), template)

    def _is_empty(self, value: Any) -> bool:
        if isinstance(value, str):
            return value.strip() in self.empty
        # pandas writes missing numbers to Parquet as NaN.
        return value is None or (isinstance(value, float) and math.isnan(value))

    def _origin(self, rule: FieldRule) -> str:
        named = " or ".join(map(repr, rule.columns))
        return f"column {named}" if named else "occurred_at" if rule.target == TIME else rule.target


def resolve(name: str) -> Path:
    """The file a mapping name means: a path, or `<system>/<mapping>` shipped with a connector."""
    path = Path(name)
    if path.is_file():
        return path
    shipped = catalog.mapping_file(name)
    if shipped is not None:
        return shipped
    raise HandoffError(
        "MAPPING_INVALID",
        f"no mapping file {name!r}",
        remedy=f"Give the path of a YAML file, or one of: {', '.join(catalog.mapping_names())}.",
        path=name,
    )


def read_mapping(path: Path, record_type: str | None = None, system: str | None = None) -> Mapping:
    """Read and check a mapping file; MAPPING_INVALID names the file, the line and what is wrong
    there."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        document = YAML(typ="rt").load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise HandoffError("FILE_UNREADABLE", f"{path}: {error}", path=str(path)) from error
    except YAMLError as error:
        raise HandoffError("MAPPING_INVALID", f"{path}: {error}", path=str(path)) from error
    if not isinstance(document, dict):
        raise _invalid(path, None, None, "a mapping file holds keys such as `type:` and `columns:`")
    for key in document:
        if key not in TOP_LEVEL:
            raise _invalid(
                path, document, key, f"unknown key {key!r}; known: {', '.join(sorted(TOP_LEVEL))}"
            )
    record = record_type or document.get("type")
    if record not in registry.RECORD_TABLES:
        raise _invalid(path, document, "type", f"type {record!r} is no record; known: {_records()}")
    named_system = system or document.get("system")
    if not isinstance(named_system, str) or not named_system:
        raise _invalid(path, document, "system", "`system:` must name the system of the records")
    unmapped = document.get("unmapped", "refuse")
    if unmapped not in UNMAPPED:
        raise _invalid(
            path, document, "unmapped", f"unmapped {unmapped!r}; known: {', '.join(UNMAPPED)}"
        )
    if unmapped == "custom" and "custom" not in _properties(record):
        raise _invalid(
            path,
            document,
            "unmapped",
            f"{record} has no `custom` field; list the columns under `ignore:`",
        )
    zone = _time_zone(path, document) or "UTC"
    targets = document.get("columns") or {}
    if not isinstance(targets, dict):
        raise _invalid(path, document, "columns", "`columns:` must be `field: source column` pairs")
    rules = [_rule(path, targets, name, record, zone) for name in targets]
    if document.get("record_id") is not None:
        key = KEY_FIELDS.get(record, "record_id")
        rules.insert(0, _rule(path, document, "record_id", record, zone, target=key))
    if document.get("occurred_at") is None:
        raise _invalid(
            path,
            document,
            "occurred_at",
            "`occurred_at:` must name the column that says when it happened",
        )
    return Mapping(
        name=str(path),
        record=str(record),
        system=named_system,
        new_system=bool(document.get("new_system", False)),
        rules=tuple(rules),
        occurred_at=_rule(path, document, "occurred_at", record, zone, target=TIME),
        unmapped=unmapped,
        ignore=frozenset(document.get("ignore") or ()),
        empty=frozenset({"", *(str(value) for value in document.get("empty") or ())}),
        delimiter=document.get("delimiter"),
        beside=_beside(path, document),
    )


def _beside(path: Path, document: Any) -> Beside | None:
    spec = document.get("beside")
    if spec is None:
        return None
    is_whole = isinstance(spec, dict) and set(spec) == set(BESIDE)
    if not is_whole or not isinstance(spec["columns"], list):
        raise _invalid(
            path,
            document,
            "beside",
            f"`beside:` needs {', '.join(f'`{name}:`' for name in BESIDE)}; `columns:` is a list",
        )
    return Beside(
        str(spec["table"]), str(spec["instead_of"]), str(spec["key"]), tuple(spec["columns"])
    )


def plain_mapping(record: str | None, system: str | None, header: list[str], path: Path) -> Mapping:
    """The mapping of a file whose columns already bear the contract's names; `custom.x` fills
    custom."""
    if record is None:
        raise HandoffError(
            "FILE_UNREADABLE",
            f"{path}: which record its rows are is not said",
            remedy=f"Give --type (one of: {_records()}) or --mapping.",
            path=str(path),
        )
    if record not in registry.RECORD_TABLES:
        raise HandoffError("SCHEMA_UNKNOWN", f"unknown record type {record!r}; known: {_records()}")
    known = set(_properties(record))
    names = [name for name in header if name in known or name.startswith("custom.")]
    rules = [FieldRule(target=name, columns=(name,), optional=True) for name in names]
    if "occurred_at" not in header:
        raise HandoffError(
            "COLUMN_UNKNOWN",
            f"{path}: line 1: no column 'occurred_at', so when each row happened is unknown",
            remedy="Add the column, or name the one that says so as `occurred_at:` in a mapping.",
            path=str(path),
        )
    if system is None and "system" not in header:
        raise HandoffError(
            "COLUMN_UNKNOWN",
            f"{path}: line 1: no column 'system', so whose ids these are is unknown",
            remedy="Add the column, give --system, or name it as `system:` in a mapping file.",
            path=str(path),
        )
    return Mapping(
        name="--type",
        record=record,
        system=system or "",
        new_system=False,
        rules=tuple(rules),
        occurred_at=FieldRule(target=TIME, columns=("occurred_at",), time_zone="UTC"),
        unmapped="refuse",
        ignore=frozenset(),
        empty=frozenset({""}),
        delimiter=None,
    )


def _rule(
    path: Path, block: Any, key: str, record: str, zone: str, target: str | None = None
) -> FieldRule:
    name = target or key
    if name != TIME:
        _check_target(path, block, key, record, name)
    spec = block[key]
    if isinstance(spec, str):
        return FieldRule(target=name, columns=(spec,), time_zone=zone)
    if not isinstance(spec, dict):
        raise _invalid(
            path, block, key, f"{key!r} must be a column name or options such as `column:`"
        )
    for option in spec:
        if option not in OPTIONS:
            raise _invalid(
                path,
                spec,
                option,
                f"unknown option {option!r}; known: {', '.join(sorted(OPTIONS))}",
            )
    if not {"column", "constant", "template"} & spec.keys():
        raise _invalid(path, block, key, f"{key!r} needs `column:`, `constant:` or `template:`")
    column = spec.get("column", ())
    template = spec.get("template")
    names = (column,) if isinstance(column, str) else tuple(column)
    fallback = names if template is not None else ()
    if template is not None:
        names = (*names, *_PLACEHOLDER.findall(template))
    invalid = spec.get("invalid", "refuse")
    if invalid not in INVALID or (invalid == "custom" and "custom" not in _properties(record)):
        allowed = [name for name in INVALID if name != "custom" or "custom" in _properties(record)]
        raise _invalid(path, spec, "invalid", f"`invalid:` must be one of {', '.join(allowed)}")
    if spec.get("gather") and "array" not in _shape(record, name)[1]:
        raise _invalid(path, spec, "gather", f"{name!r} is no list: one row says all of it")
    return FieldRule(
        target=name,
        columns=names,
        constant=spec.get("constant"),
        template=template,
        fallback=fallback,
        format=spec.get("format"),
        time_zone=_time_zone(path, spec) or zone,
        values={str(theirs): ours for theirs, ours in (spec.get("values") or {}).items()},
        split=spec.get("split"),
        system=spec.get("system"),
        invalid=invalid,
        optional=bool(spec.get("optional", False)),
        when=_conditions(path, spec),
        gather=bool(spec.get("gather", False)),
    )


def _conditions(path: Path, spec: Any) -> dict[str, frozenset[str]]:
    given = spec.get("when") or {}
    if not isinstance(given, dict):
        raise _invalid(path, spec, "when", "`when:` must be `column: value` or `column: [values]`")
    return {
        str(name): frozenset(
            str(value).lower() for value in (values if isinstance(values, list) else [values])
        )
        for name, values in given.items()
    }


def _check_target(path: Path, block: Any, key: str, record: str, name: str) -> None:
    root, _, rest = name.partition(".")
    if root not in _properties(record) or (rest and root != "custom"):
        raise _invalid(
            path,
            block,
            key,
            f"{record} has no field {name!r}; it has: {', '.join(_field_names(record))}",
        )


def _invalid(path: Path, block: Any, key: Any, message: str) -> HandoffError:
    line = ""
    position = getattr(block, "lc", None)
    if position is not None and position.data and key in position.data:
        line = f" line {position.data[key][0] + 1}:"
    return HandoffError("MAPPING_INVALID", f"{path}:{line} {message}", path=str(path))


def _missing_column(
    mapping: Mapping, rule: FieldRule, name: str, header: list[str], path: Path
) -> HandoffError:
    return HandoffError(
        "COLUMN_UNKNOWN",
        f"{path}: line 1: no column {name!r}, which {mapping.name} maps to {rule.target!r}; "
        f"the file has: {', '.join(header)}",
        remedy=f"Correct the column's name in {mapping.name}, or mark it `optional: true`.",
        path=str(path),
    )


def _properties(record: str) -> dict[str, Any]:
    schema = registry.schema(record, registry.newest_version(record))
    properties: dict[str, Any] = schema["properties"]
    return properties


def _field_names(record: str) -> list[str]:
    return [*_properties(record), "occurred_at"]


def _records() -> str:
    return ", ".join(registry.RECORD_TABLES)


def _shape(record: str, target: str) -> tuple[str, tuple[str, ...], str | None]:
    """Column kind, JSON types and enum name of a field; custom fields are taken as they come."""
    if target == TIME:
        return "instant", ("string",), None
    if target.startswith("custom."):
        return "any", (), None
    shape = _SHAPES.get((record, target))
    if shape is None:
        schema = _properties(record)[target]
        kind = columns.column_kind(target, schema)
        types = schema.get("type", ())
        names = (types,) if isinstance(types, str) else tuple(types)
        shape = (kind, names, registry.enum_of(schema))
        _SHAPES[record, target] = shape
    return shape


_SHAPES: dict[tuple[str, str], tuple[str, tuple[str, ...], str | None]] = {}


def _enum_value(enum: str, system: str, value: str) -> str:
    if value in registry.enum_values(enum):
        return value
    # An unknown value stays as it is: the contract then refuses it, naming it and the allowed ones.
    return registry.system_value(enum, system, value) or value


def _convert(raw: Any, kind: str, rule: FieldRule) -> Any:
    if kind == "any":
        return _plain(raw)
    if kind == "instant":
        return _instant(raw, rule)
    if kind == "date":
        return _day(raw, rule)
    if kind == "boolean":
        return _boolean(raw)
    if kind == "integer":
        return _integer(raw)
    if kind in ("number", "money"):
        return _number(raw)
    if kind == "json":
        if isinstance(raw, str) and raw.lstrip()[:1] in ("{", "["):
            return orjson.loads(raw)
        return _plain(raw)
    text = _plain(raw)
    if isinstance(text, bool):
        return "true" if text else "false"
    return text.strip() if isinstance(text, str) else str(text)


def _time_zone(path: Path, block: Any) -> str | None:
    name = block.get("time_zone")
    try:
        return time_zones.zone(str(name)).key if name else None
    except ValueError as error:
        raise _invalid(path, block, "time_zone", str(error)) from error


def _instant(raw: Any, rule: FieldRule) -> str:
    zone = time_zones.zone(rule.time_zone or "UTC")
    if isinstance(raw, datetime):
        return _rfc3339(raw if raw.tzinfo else raw.replace(tzinfo=zone))
    if isinstance(raw, date):
        return _rfc3339(datetime(raw.year, raw.month, raw.day, tzinfo=zone))
    text = str(raw).strip()
    if rule.format:
        parsed = _formatted(text, rule.format)
        return _rfc3339(parsed if parsed.tzinfo else parsed.replace(tzinfo=zone))
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        parsed = _loose_instant(text)
    return _rfc3339(parsed if parsed.tzinfo else parsed.replace(tzinfo=zone))


def _formatted(text: str, format: str) -> datetime:
    try:
        return datetime.strptime(text, format)
    except ValueError as error:
        if "out of range" in str(error):
            raise _ImpossibleDate(f"{text!r}: {error}") from None
        raise ValueError(f"{text!r} is no date in the format {format!r}") from None


def _loose_instant(text: str) -> datetime:
    """ISO 8601 as exports write it: a space for T, hours of one digit, nanoseconds."""
    match = _LOOSE_INSTANT.fullmatch(text)
    if match is None:
        if dated := _LOOSE_DAY.fullmatch(text):
            _existing(text, *map(int, dated.groups()))
        raise ValueError(
            f"{text!r} is no ISO 8601 date; give `format:` for the column in the mapping file"
        )
    year, month, day, hour, minute, second, fraction, offset = match.groups()
    micro = int((fraction or "0")[:6].ljust(6, "0"))
    parsed = _existing(
        text, int(year), int(month), int(day), int(hour), int(minute), int(second or 0), micro
    )
    if offset is None:
        return parsed
    if offset.upper() in ("Z", "UTC"):
        return parsed.replace(tzinfo=UTC)
    digits = offset[1:].replace(":", "")
    shift = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return (parsed - shift if offset[0] == "+" else parsed + shift).replace(tzinfo=UTC)


def _existing(
    text: str,
    year: int,
    month: int,
    day: int,
    hour: int = 0,
    minute: int = 0,
    second: int = 0,
    micro: int = 0,
) -> datetime:
    try:
        return datetime(year, month, day, hour, minute, second, micro)
    except ValueError as error:
        raise _ImpossibleDate(f"{text!r}: {error}") from None


def _rfc3339(instant: datetime) -> str:
    try:
        return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
    except OverflowError:
        raise ValueError(f"{instant} is outside the years 1 to 9999") from None


def _day(raw: Any, rule: FieldRule) -> str:
    if isinstance(raw, datetime):
        return raw.date().isoformat()
    if isinstance(raw, date):
        return raw.isoformat()
    text = str(raw).strip()
    if rule.format:
        return _formatted(text, rule.format).date().isoformat()
    try:
        return datetime.fromisoformat(text).date().isoformat()
    except ValueError:
        return _loose_instant(text).date().isoformat()


def _boolean(raw: Any) -> bool:
    if isinstance(raw, bool):
        return raw
    text = str(raw).strip().lower()
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(f"{raw!r} is neither true nor false")


def _integer(raw: Any) -> int:
    try:
        number = Decimal(str(raw).strip())
    except InvalidOperation:
        raise ValueError(f"{raw!r} is no whole number") from None
    if not number.is_finite() or number != number.to_integral_value():
        raise ValueError(f"{raw!r} is no whole number")
    return int(number)


def _number(raw: Any) -> int | float:
    try:
        number = Decimal(str(raw).strip())
    except InvalidOperation:
        raise ValueError(
            f"{raw!r} is no number; thousands separators and currency signs are not read"
        ) from None
    if not number.is_finite():
        raise ValueError(f"{raw!r} is no finite number")
    return int(number) if number == number.to_integral_value() else float(number)


def _text(item: Any) -> Any:
    """An id in a list as text: exports write lists of ids as numbers, [1286861]."""
    plain = _plain(item)
    is_number = isinstance(plain, int | float) and not isinstance(plain, bool)
    return str(_number(plain)) if is_number else plain


def _plain(value: Any) -> Any:
    """A JSON value: what Parquet holds as dates, decimals and bytes becomes text or a number."""
    if isinstance(value, datetime):
        return _rfc3339(value if value.tzinfo else value.replace(tzinfo=UTC))
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return _number(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    return str(value)


def _place(data: dict[str, Any], target: str, value: Any) -> None:
    root, _, rest = target.partition(".")
    if rest:
        data.setdefault(root, {})[rest] = value
    else:
        data[root] = value


def _consent_key(data: dict[str, Any]) -> str:
    return str(data.get("contact_id") or data.get("email") or "?")
