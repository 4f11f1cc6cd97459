"""What changed from one version of a contract to the next, judged by named rules; it reads no file and knows no version.

Two directions count. Backward: what a sender of the old version sends must be valid under the new one. Readers: the columns of the
raw table keep their names and types. A rule that cannot prove a change harmless calls it breaking: of "compatible" a property test
shows that every document of the old schema is one of the new.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any, Literal

import orjson

from ingestion.contracts.columns import column_kind

Bump = Literal["patch", "minor", "major"]
BUMPS: tuple[Bump, ...] = ("patch", "minor", "major")
Hurts = Literal["senders", "readers", "nobody"]
Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Rule:
    """One way a contract can change: the least `bump` it needs and whom it `hurts`."""

    bump: Bump
    hurts: Hurts
    meaning: str


RULES: dict[str, Rule] = {
    # what senders of the old version would run into
    "field_removed": Rule("major", "senders", "A field is gone: who sends it is refused, and its column ends."),
    "required_field_added": Rule("major", "senders", "A field that was not there must be given."),
    "field_became_required": Rule("major", "senders", "A field that could be left out must be given."),
    "null_refused": Rule("major", "senders", "A field that could be emptied with null cannot any more."),
    "type_narrowed": Rule("major", "senders", "A type that was taken is refused."),
    "enum_added": Rule("major", "senders", "Free values became a list."),
    "enum_value_removed": Rule("major", "senders", "A value of a list is refused."),
    "format_added": Rule("major", "senders", "Text that was free must have a format."),
    "format_changed": Rule("major", "senders", "Text must have another format."),
    "pattern_added": Rule("major", "senders", "Text that was free must match a pattern."),
    "pattern_changed": Rule("major", "senders", "Text must match another pattern; whether it takes more is not judged."),
    "bound_tightened": Rule("major", "senders", "A length, count or number has less room."),
    "uniqueness_added": Rule("major", "senders", "Entries must differ from each other."),
    "additional_properties_refused": Rule("major", "senders", "Fields that are not named are refused."),
    "field_claimed": Rule("major", "senders", "A free name became a field with rules that others may have used otherwise."),
    "alternative_required": Rule("major", "senders", "One of several forms must be met that need not be before."),
    "unjudged_keyword": Rule("major", "senders", "A keyword of JSON Schema changed that no rule judges."),
    # what readers of the warehouse would run into
    "column_type_changed": Rule("major", "readers", "The column of the field gets another type."),
    "column_renamed": Rule("major", "readers", "The column of the field gets another name."),
    "field_became_optional": Rule("major", "readers", "A column that was never null can be."),
    "enum_lifted": Rule("major", "readers", "A column that kept to a list holds any text."),
    "default_changed": Rule("major", "readers", "Leaving the field out means something else."),
    "protection_lowered": Rule("major", "readers", "Personal data is no longer marked as such: erasure and masking would miss it."),
    # what hurts nobody
    "optional_field_added": Rule("minor", "nobody", "A field that may be left out."),
    "null_taken": Rule("minor", "nobody", "A field that may be left out can be emptied with null too."),
    "inner_field_became_optional": Rule("minor", "nobody", "A field inside a document may be left out; no column changes."),
    "type_widened": Rule("minor", "nobody", "A further type is taken inside a document; no column changes."),
    "enum_value_added": Rule("minor", "nobody", "A further value of a list."),
    "format_removed": Rule("minor", "nobody", "Text is free that had a format; the column stays text."),
    "pattern_removed": Rule("minor", "nobody", "Text is free that had a pattern."),
    "pattern_widened": Rule("minor", "nobody", "A further word is taken where the pattern begins with a list of them."),
    "bound_loosened": Rule("minor", "nobody", "A length, count or number has more room."),
    "uniqueness_removed": Rule("minor", "nobody", "Entries may repeat."),
    "additional_properties_taken": Rule("minor", "nobody", "Fields that are not named are taken."),
    "alternative_dropped": Rule("minor", "nobody", "One of several forms need not be met any more, or another one may."),
    "protection_raised": Rule("minor", "nobody", "The field is marked as personal data, or as more so."),
    "registry_changed": Rule("minor", "nobody", "Another picklist is named for the field's words; no value is refused for it."),
    "words_changed": Rule("patch", "nobody", "Titles, descriptions, examples: what is taken is the same."),
}  # fmt: skip

_WORDS_FIRST = re.compile(r"\^\((?P<words>[a-z_]+(?:\|[a-z_]+)*)\)(?P<rest>.*)")
_WORDS = ("$schema", "$id", "$comment", "title", "description", "examples", "x-expected")
_MARKS = ("x-pii", "x-column", "x-registry", "x-systems", "default")
_JUDGED = {
    "type", "enum", "const", "format", "pattern", "minLength", "maxLength", "minimum", "maximum",
    "exclusiveMinimum", "exclusiveMaximum", "minItems", "maxItems", "uniqueItems", "items",
    "required", "properties", "additionalProperties", "propertyNames", "anyOf",
}  # fmt: skip
_TYPES = frozenset({"null", "boolean", "object", "array", "string", "number", "integer"})
_NUMBERS = frozenset({"number", "integer"})
_PII = ("none", "indirect", "direct")


@dataclass(frozen=True, slots=True)
class Change:
    """One difference: the `rule` that judges it, where (a JSON pointer into the event, `*` for any entry), and in words."""

    rule: str
    path: str
    words: str

    @property
    def bump(self) -> Bump:
        """The least version bump it needs."""
        return RULES[self.rule].bump

    @property
    def is_breaking(self) -> bool:
        """Whether a new major version is needed."""
        return self.bump == "major"

    def as_dict(self) -> dict[str, str]:
        """The change as JSON values."""
        rule = RULES[self.rule]
        verdict = "breaking" if self.is_breaking else "compatible"
        return {
            "rule": self.rule,
            "path": self.path,
            "verdict": verdict,
            "hurts": rule.hurts,
            "needs": rule.bump,
            "words": self.words,
        }


def compare(old: Schema, new: Schema) -> list[Change]:
    """Changes from one contract to the next, both with their enumerations in place; in the order of the fields."""
    changes = [*accepts(old, new, "/data"), *_columns(old, new)]
    if not changes and plain(old) != plain(new):
        words = "the contract differs in a mark that no rule judges"
        changes.append(Change("unjudged_keyword", "/data", words))
    if not changes and old != new:
        changes.append(
            Change("words_changed", "", "only words differ: titles, descriptions, examples")
        )
    return list(dict.fromkeys(changes))


def needed_bump(changes: list[Change]) -> Bump | None:
    """The least bump of the version that all changes together need; None when there are none."""
    needed = {change.bump for change in changes}
    return max(needed, key=BUMPS.index) if needed else None


def plain(schema: Any) -> Any:
    """A schema without its words: two with an equal rest take the same and land the same."""
    return _stripped(schema, _WORDS)


def accepts(old: Schema | bool, new: Schema | bool, path: str = "") -> Iterator[Change]:
    """Changes of what is taken from `old` to `new`; when none is breaking, all that `old` takes `new` takes too."""
    if old is False or new is True or (isinstance(new, Mapping) and not _rules_of(new)):
        if _rules_of(old) != _rules_of(new):
            yield Change("additional_properties_taken", path, f"{_named(path)} may hold anything")
        return
    if new is False:
        yield Change("additional_properties_refused", path, f"{_named(path)} is not taken any more")
        return
    before: Schema = {} if old is True else old
    after: Schema = new
    if _rules_of(before) == _rules_of(after):
        return
    unjudged = (_rules_of(before).keys() | _rules_of(after).keys()) - _JUDGED
    if unjudged:
        words = f"{_named(path)} uses {', '.join(sorted(unjudged))}, which no rule judges"
        yield Change("unjudged_keyword", path, words)
        return
    yield from _types(before, after, path)
    types = _taken_types(before)
    yield from _values(before, after, path)
    if "string" in types:
        yield from _text(before, after, path)
        yield from _bounds(before, after, path, "minLength", "maxLength", "characters")
    if types & _NUMBERS:
        yield from _number_bounds(before, after, path)
    if "array" in types:
        yield from _bounds(before, after, path, "minItems", "maxItems", "entries")
        yield from _uniqueness(before, after, path)
        yield from accepts(before.get("items", True), after.get("items", True), f"{path}/*")
    if "object" in types:
        yield from _object(before, after, path)
    yield from _alternatives(before, after, path)


def _types(old: Schema, new: Schema, path: str) -> Iterator[Change]:
    before, after = _taken_types(old), _declared(new)
    lost = {t for t in before if t not in after and not (t == "integer" and "number" in after)}
    if "null" in lost:
        yield Change("null_refused", path, f"{_named(path)} can no longer be null")
    if lost - {"null"}:
        yield Change(
            "type_narrowed", path, f"{_named(path)} no longer takes {_list(lost - {'null'})}"
        )
    if "type" not in old and "type" not in new:
        return
    gained = _taken_types(new) - before - ({"integer"} if "number" in before else set())
    if "null" in gained:
        yield Change("null_taken", path, f"{_named(path)} may be null")
    if gained - {"null"}:
        yield Change("type_widened", path, f"{_named(path)} also takes {_list(gained - {'null'})}")


def _values(old: Schema, new: Schema, path: str) -> Iterator[Change]:
    before, after = _listed(old), _listed(new)
    if after is None:
        if before is not None:
            yield Change("enum_lifted", path, f"{_named(path)} takes values outside its list")
        return
    if before is None:
        yield Change("enum_added", path, f"{_named(path)} takes only {_shown(after.values())}")
        return
    removed = {key: value for key, value in before.items() if key not in after}
    if "null" in removed:
        del removed["null"]
        yield Change("null_refused", path, f"{_named(path)} can no longer be null")
    if removed:
        words = f"{_named(path)} no longer takes {_shown(removed.values())}"
        yield Change("enum_value_removed", path, words)
    added = {key: value for key, value in after.items() if key not in before}
    if "null" in added:
        del added["null"]
        yield Change("null_taken", path, f"{_named(path)} may be null")
    if added:
        yield Change(
            "enum_value_added", path, f"{_named(path)} also takes {_shown(added.values())}"
        )


def _text(old: Schema, new: Schema, path: str) -> Iterator[Change]:
    for keyword in ("format", "pattern"):
        before, after = old.get(keyword), new.get(keyword)
        if before == after:
            continue
        if after is None:
            words = f"{_named(path)} needs no {keyword} {before} any more"
            yield Change(f"{keyword}_removed", path, words)
        elif before is None:
            yield Change(
                f"{keyword}_added", path, f"{_named(path)} must have the {keyword} {after}"
            )
        elif keyword == "pattern" and (words_gained := _further_words(before, after)):
            yield Change(
                "pattern_widened", path, f"{_named(path)} also takes {_shown(words_gained)}"
            )
        else:
            words = f"{_named(path)} must have the {keyword} {after} instead of {before}"
            yield Change(f"{keyword}_changed", path, words)


def _further_words(before: str, after: str) -> list[str]:
    """What `after` takes beyond `before` where both are `^(a|b|...)` and the same rest; nothing where that cannot be said."""
    old, new = _WORDS_FIRST.fullmatch(before), _WORDS_FIRST.fullmatch(after)
    if old is None or new is None or old["rest"] != new["rest"]:
        return []
    known, taken = old["words"].split("|"), new["words"].split("|")
    return [word for word in taken if word not in known] if set(known) < set(taken) else []


def _bounds(
    old: Schema, new: Schema, path: str, least: str, most: str, unit: str
) -> Iterator[Change]:
    yield from _bound(old.get(least, 0), new.get(least, 0), path, f"at least {{}} {unit}", 1)
    yield from _bound(old.get(most, inf), new.get(most, inf), path, f"at most {{}} {unit}", -1)


def _number_bounds(old: Schema, new: Schema, path: str) -> Iterator[Change]:
    # A bound and whether it is itself allowed, so that "above 0" is tighter than "at least 0".
    for inclusive, exclusive, sign, words in (
        ("minimum", "exclusiveMinimum", 1, "a lowest value of {}"),
        ("maximum", "exclusiveMaximum", -1, "a highest value of {}"),
    ):
        before, after = (
            max(
                (sign * schema.get(inclusive, -sign * inf), 0),
                (sign * schema.get(exclusive, -sign * inf), 1),
            )
            for schema in (old, new)
        )
        if before != after:
            rule = "bound_tightened" if after > before else "bound_loosened"
            limit = "none" if after[0] == -inf else f"{sign * after[0]}{' (excluded)' * after[1]}"
            yield Change(rule, path, f"{_named(path)} has {words.format(limit)}")


def _bound(before: float, after: float, path: str, words: str, sign: int) -> Iterator[Change]:
    if before == after:
        return
    rule = "bound_tightened" if sign * after > sign * before else "bound_loosened"
    limit = "any number of" if after == inf else after
    yield Change(rule, path, f"{_named(path)} takes {words.format(limit)}")


def _uniqueness(old: Schema, new: Schema, path: str) -> Iterator[Change]:
    before, after = bool(old.get("uniqueItems")), bool(new.get("uniqueItems"))
    if before != after:
        rule = "uniqueness_added" if after else "uniqueness_removed"
        words = "must differ from each other" if after else "may repeat"
        yield Change(rule, path, f"entries of {_named(path)} {words}")


def _object(old: Schema, new: Schema, path: str) -> Iterator[Change]:
    before, after = old.get("properties", {}), new.get("properties", {})
    was, now = set(old.get("required", ())), set(new.get("required", ()))
    old_rest, new_rest = (
        old.get("additionalProperties", True),
        new.get("additionalProperties", True),
    )
    for name in sorted(now - was):
        rule = "field_became_required" if name in before else "required_field_added"
        yield Change(rule, f"{path}/{name}", f"{name!r} must be given")
    for name in sorted(was - now):
        if name not in after:
            continue
        if path == "/data":
            words = f"{name!r} may be left out: its column can be null"
            yield Change("field_became_optional", f"{path}/{name}", words)
        else:
            words = f"{name!r} may be left out"
            yield Change("inner_field_became_optional", f"{path}/{name}", words)
    for name, schema in before.items():
        if name in after:
            yield from accepts(schema, after[name], f"{path}/{name}")
        else:
            words = f"field {name!r} is gone"
            yield Change("field_removed", f"{path}/{name}", words)
    for name, schema in after.items():
        if name in before:
            continue
        if any(change.is_breaking for change in accepts(old_rest, schema)):
            words = f"{name!r} was free for the sender's own use and has rules now"
            yield Change("field_claimed", f"{path}/{name}", words)
        elif name not in now:
            yield Change("optional_field_added", f"{path}/{name}", f"optional field {name!r}")
    yield from accepts(old_rest, new_rest, f"{path}/*")
    yield from accepts(old.get("propertyNames", True), new.get("propertyNames", True), f"{path}/*")


def _alternatives(old: Schema, new: Schema, path: str) -> Iterator[Change]:
    before, after = old.get("anyOf"), new.get("anyOf")
    if plain(before) == plain(after):
        return
    if after is None:
        yield Change(
            "alternative_dropped", path, f"{_named(path)} need not be one of several forms"
        )
        return

    def is_met(option: Schema) -> bool:
        return any(not any(c.is_breaking for c in accepts(option, wanted)) for wanted in after)

    if before is not None and all(map(is_met, before)):
        yield Change("alternative_dropped", path, f"{_named(path)} may have another form")
    else:
        yield Change("alternative_required", path, f"{_named(path)} must be one of other forms")


def _columns(old: Schema, new: Schema) -> Iterator[Change]:
    """What readers of the raw table see; only the fields of `data` itself have columns."""
    after = new.get("properties", {})
    for name, field in old.get("properties", {}).items():
        if name not in after:
            continue
        path, changed = f"/data/{name}", after[name]
        kinds = _column_kind(name, field), _column_kind(name, changed)
        if kinds[0] != kinds[1]:
            words = f"the column of {name!r} becomes {kinds[1]} instead of {kinds[0]}"
            yield Change("column_type_changed", path, words)
        if field.get("x-column", name) != changed.get("x-column", name):
            words = f"the column of {name!r} is called {changed.get('x-column', name)!r}"
            yield Change("column_renamed", path, words)
        if field.get("default", ...) != changed.get("default", ...):
            words = f"leaving {name!r} out means {changed.get('default', 'nothing')!r}"
            yield Change("default_changed", path, words)
        if field.get("x-registry") != changed.get("x-registry"):
            words = f"{name!r} takes its words from {changed.get('x-registry', 'no picklist')}"
            yield Change("registry_changed", path, words)
        before_pii, after_pii = (
            _PII.index(schema.get("x-pii", "none")) for schema in (field, changed)
        )
        if before_pii != after_pii:
            rule = "protection_raised" if after_pii > before_pii else "protection_lowered"
            yield Change(rule, path, f"{name!r} counts as {_PII[after_pii]} personal data")
        if name in old.get("required", ()) and not _is_null(field) and _is_null(changed):
            words = f"{name!r} may be null: its column can be null"
            yield Change("field_became_optional", path, words)


def _column_kind(name: str, field: Schema) -> str:
    if "enum" in field:
        return "text"
    try:
        return column_kind(name, field)
    except (KeyError, ValueError):
        return "of no type a column has"


def _is_null(field: Schema) -> bool:
    return "null" in _taken_types(field)


def _taken_types(schema: Schema) -> frozenset[str]:
    """Types a value may have; with a list of values, those of the values."""
    declared = _declared(schema)
    listed = _listed(schema)
    if listed is None:
        return declared
    of_values = {_type_of(value) for value in listed.values()}
    return frozenset(t for t in of_values if t in declared or (t == "integer" and "number" in declared))  # fmt: skip


def _declared(schema: Schema) -> frozenset[str]:
    declared = schema.get("type", _TYPES)
    return frozenset([declared] if isinstance(declared, str) else declared)


def _type_of(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
    return "object"


def _listed(schema: Schema) -> dict[str, Any] | None:
    """Values of `enum` or `const` by their JSON, so that 1 and true are two."""
    if "const" not in schema and "enum" not in schema:
        return None
    values = schema.get("enum", [schema.get("const")])
    listed = {orjson.dumps(value).decode(): value for value in values}
    if "const" not in schema:
        return listed
    only = orjson.dumps(schema["const"]).decode()
    return {only: schema["const"]} if only in listed else {}


def _rules_of(schema: Schema | bool) -> Any:
    """What of a schema decides whether a value is taken."""
    if isinstance(schema, bool):
        return {} if schema else False
    return _stripped(schema, (*_WORDS, *_MARKS))


def _stripped(node: Any, dropped: tuple[str, ...]) -> Any:
    if isinstance(node, list):
        return [_stripped(item, dropped) for item in node]
    if not isinstance(node, Mapping):
        return node
    kept: dict[str, Any] = {}
    for key, value in node.items():
        if key in dropped:
            continue
        if key == "properties":
            # Names of fields, not keywords: a field may be called description.
            kept[key] = {name: _stripped(field, dropped) for name, field in value.items()}
        elif key in ("enum", "const"):
            kept[key] = value
        elif key in ("required", "type") and isinstance(value, list):
            kept[key] = sorted(value)
        else:
            kept[key] = _stripped(value, dropped)
    return kept


def _named(path: str) -> str:
    parts = path.removeprefix("/data").strip("/")
    return repr(parts.replace("/", ".")) if parts else "the record"


def _list(names: Iterable[str]) -> str:
    return " or ".join(sorted(names))


def _shown(values: Any) -> str:
    return ", ".join("null" if value is None else repr(value) for value in values)
