"""What an event breaks, in words a sender can act on; registry.py finds the breaches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jsonschema_rs import ValidationError

_JSON_NAMES = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "an array",
    "object": "an object",
}
_FORMATS = {
    "date-time": "an RFC 3339 instant with a zone, for example 2026-04-01T08:30:00Z",
    "date": "a date YYYY-MM-DD",
    "idn-email": "an e-mail address",
    "iri-reference": "a URI reference",
    "time-zone": "an IANA time zone, for example Europe/Berlin",
}
_SHOWN_CHARACTERS = 80


@dataclass(frozen=True, slots=True)
class Violation:
    """One breach: `code` of the error catalog, `path` a JSON pointer (RFC 6901) into the event."""

    code: str
    path: str
    message: str


def pointer(parts: Sequence[str | int]) -> str:
    """The JSON pointer of `parts`; the whole event is the empty string."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def misnamed_attribute(name: str) -> Violation:
    """An attribute of the envelope whose name CloudEvents does not allow."""
    shown = repr(name) if len(name) <= _SHOWN_CHARACTERS else repr(name[:_SHOWN_CHARACTERS]) + "…"
    message = f"attribute name {shown} is not CloudEvents: lower-case letters and digits only"
    return Violation("FIELD_MISMATCH", pointer([name]), message)


def endless_array(path: Sequence[str], entries: int, most: int) -> Violation:
    """An array at `path` too long for its entries to be looked at."""
    message = f"{_named(path)} is an array of {entries} entries; expected at most {most} entries"
    return Violation("FIELD_MISMATCH", pointer(path), message)


def explain(error: ValidationError, schema: Mapping[str, Any]) -> Iterator[Violation]:
    """The violations one validator error stands for; `schema` is the one it was compiled from."""
    path = list(error.instance_path)
    value = error.instance
    node, required = _subschema(schema, path)
    field = _named(path)
    keyword = error.kind.name
    limit = error.kind.value if keyword != "anyOf" else None

    def breach(code: str, message: str, *below: str) -> Violation:
        return Violation(code, pointer([*path, *below]), message)

    if keyword == "required":
        yield breach("SCHEMA_INVALID", f"required field {str(limit)!r} is missing", str(limit))
    elif keyword == "additionalProperties":
        for name in limit or []:
            yield breach("FIELD_MISMATCH", _unknown_field(str(name), node), str(name))
    elif value is None and required:
        message = f"required field {field} is null; give a value"
        yield breach("SCHEMA_INVALID", message)
    elif keyword == "enum":
        yield breach("ENUM_UNKNOWN", _unknown_value(field, value, node))
    elif keyword == "const":
        yield breach("ENUM_UNKNOWN", f"{field} is {_shown(value, node)}; allowed: {limit!r}")
    elif keyword == "type":
        expected = _expected_types(node, limit)
        yield breach("FIELD_MISMATCH", f"{field} is {_typed(value, node)}; expected {expected}")
    elif keyword == "format":
        expected = _FORMATS.get(str(limit), str(limit))
        yield breach("FIELD_MISMATCH", f"{field} is {_shown(value, node)}; expected {expected}")
    elif keyword == "pattern":
        expected = str(node.get("x-expected", f"text matching {limit}"))
        yield breach("FIELD_MISMATCH", f"{field} is {_shown(value, node)}; expected {expected}")
    elif keyword == "anyOf":
        names = [name for option in node.get("anyOf", []) for name in option.get("required", [])]
        yield breach("SCHEMA_INVALID", f"at least one of {_listed(names)} must be given")
    elif keyword == "minLength":
        advice = "give a value" if required else "send null to empty it, or leave it out"
        yield breach("FIELD_MISMATCH", f"{field} is empty text; {advice}")
    else:
        bound = {
            "maxLength": f"at most {limit} characters",
            "minItems": f"at least {limit} entries",
            "maxItems": f"at most {limit} entries",
            "uniqueItems": "entries that differ from each other",
            "minimum": f"a number of at least {limit}",
            "maximum": f"a number of at most {limit}",
            "exclusiveMinimum": f"a number above {limit}",
        }.get(keyword, keyword)
        shown = _shown(value, node) if isinstance(value, int | float) else _kind_of(value)
        yield breach("FIELD_MISMATCH", f"{field} is {shown}; expected {bound}")


def _subschema(schema: Mapping[str, Any], path: Sequence[str | int]) -> tuple[dict[str, Any], bool]:
    """The schema that judges the value at `path`, and whether that value must be given."""
    node: Mapping[str, Any] = schema
    required = True
    for part in path:
        if isinstance(part, int):
            # An array element cannot be left out or emptied: a null in it is the wrong type.
            node, required = node.get("items", {}), False
        else:
            required = part in node.get("required", ())
            extra = node.get("additionalProperties")
            node = node.get("properties", {}).get(part, extra if isinstance(extra, dict) else {})
    types = node.get("type", ())
    nullable = "null" in types or None in node.get("enum", ())
    return dict(node), required and not nullable


def _named(path: Sequence[str | int]) -> str:
    """How people call the place: the field's name, dotted and indexed below `data`."""
    parts = path[1:] if len(path) > 1 and path[0] == "data" else path
    name = ""
    for part in parts:
        name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else part
    return repr(name) if name else "the event"


def _kind_of(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return f"the boolean {str(value).lower()}"
        case str():
            return f"text of {len(value)} characters"
        case int() | float():
            return f"the number {value}"
        case list() | tuple():
            return f"an array of {len(value)} entries"
        case _:
            return "an object"


def _shown(value: object, node: Mapping[str, Any]) -> str:
    """The value for a message; its size only where it names a person: messages outlive erasure."""
    if node.get("x-pii") == "direct" or not isinstance(value, str | int | float):
        return f"{_kind_of(value)} (not shown: personal data)" if value else _kind_of(value)
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"


def _typed(value: object, node: Mapping[str, Any]) -> str:
    """The value's type, and the value too where it is text anybody may see."""
    if isinstance(value, str) and node.get("x-pii") != "direct":
        return f"the text {_shown(value, node)}"
    return _kind_of(value)


def _expected_types(node: Mapping[str, Any], limit: object) -> str:
    wanted = limit if isinstance(limit, list) else [limit]
    words = [_JSON_NAMES[name] for name in wanted if name in _JSON_NAMES]
    if not words:
        return "nothing: send JSON under data"
    return " or ".join(words) + (", or null to empty it" if "null" in wanted else "")


def _unknown_field(name: str, node: Mapping[str, Any]) -> str:
    known = list(node.get("properties", ()))
    if close := get_close_matches(name, known, n=1):
        return f"unknown field {name!r}; did you mean {close[0]!r}?"
    if "custom" in known:
        return f"unknown field {name!r}; put it under custom"
    return f"unknown field {name!r}; known: {', '.join(known)}"


def _unknown_value(field: str, value: object, node: Mapping[str, Any]) -> str:
    allowed = [str(option) for option in node.get("enum", ()) if option is not None]
    shown = _shown(value, node) if isinstance(value, str) else _kind_of(value)
    message = f"{field} is {shown}; allowed: {', '.join(allowed)}"
    for system, mapping in node.get("x-systems", {}).items():
        if isinstance(value, str) and value in mapping:
            return f"{message}; {value!r} is what {system} says for {mapping[value]!r}"
    if isinstance(value, str) and (close := get_close_matches(value.lower(), allowed, n=1)):
        return f"{message}; did you mean {close[0]!r}?"
    return message


def _listed(names: Sequence[str]) -> str:
    return " or ".join(repr(name) for name in names)
