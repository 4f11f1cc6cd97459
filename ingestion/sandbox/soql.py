"""Parses and runs the part of SOQL a connector needs, and refuses the rest as Salesforce would.

SELECT fields | COUNT() FROM Object [WHERE … AND/OR/NOT, =, !=, <, <=, >, >=, LIKE, IN, NOT IN]
[ORDER BY f [ASC|DESC] [NULLS FIRST|LAST], …] [LIMIT n] [OFFSET n] — SOQL and SOSL Reference.
Relationship paths, sub-queries, aggregates and date literals such as LAST_N_DAYS are not
understood.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ingestion.sandbox.identifiers import extended_id
from ingestion.sandbox.salesforce_schema import SCHEMA, Field, field_name, sobject_name

Row = dict[str, Any]
Predicate = Callable[[Row], bool]


class SoqlError(Exception):
    """A query Salesforce would refuse; `code` is its errorCode, e.g. MALFORMED_QUERY or
    INVALID_FIELD."""

    def __init__(self, code: str, message: str) -> None:
        """Both as Salesforce would say them."""
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Query:
    """A parsed query: `matches` is the compiled WHERE; `order`: field, descending, nulls last."""

    sobject: str
    fields: tuple[str, ...]
    is_count: bool
    matches: Predicate
    order: tuple[tuple[str, bool, bool], ...]
    limit: int | None
    offset: int


_TOKEN = re.compile(
    r"""\s*(?:
      (?P<string>'(?:[^'\\]|\\.)*')
    | (?P<datetime>\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:Z|[+-]\d{2}:?\d{2}))
    | (?P<date>\d{4}-\d{2}-\d{2})
    | (?P<number>[+-]?\d+(?:\.\d+)?)
    | (?P<word>[A-Za-z_][A-Za-z0-9_.]*)
    | (?P<sign><=|>=|!=|<>|=|<|>|\(|\)|,)
    )""",
    re.VERBOSE,
)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "'": "'", '"': '"', "\\": "\\", "%": "\\%", "_": "\\_"}
_TIME_KINDS = ("datetime", "date")


def parse(text: str) -> Query:
    """The query in `text`; raises SoqlError with Salesforce's code."""
    return _Parser(text).query()


def run(query: Query, rows: Iterable[Row]) -> list[Row]:
    """Rows that match, ordered and cut; without ORDER BY they come in id order, which Salesforce
    leaves open."""
    found = [row for row in rows if query.matches(row)]
    # Stable sorts from the last key to the first give the order of the whole list.
    for name, descending, nulls_last in reversed(query.order):
        field = SCHEMA[query.sobject][name]
        known = [row for row in found if row.get(name) is not None]
        empty = [row for row in found if row.get(name) is None]
        known.sort(key=lambda row: _sort_key(field, row[name]), reverse=descending)
        found = known + empty if nulls_last else empty + known
    end = None if query.limit is None else query.offset + query.limit
    return found[query.offset : end]


def _sort_key(field: Field, value: Any) -> Any:
    if field.kind in ("boolean", "int", "double", "currency", "percent"):
        return float(value)
    # Ids order by code point; text by its folded form, close to the locale order Salesforce uses.
    return str(value) if field.kind in ("id", "reference", *_TIME_KINDS) else str(value).casefold()


def instant_text(text: str) -> str:
    """A date-time literal in the form records hold it, so that text order is time order."""
    at = datetime.fromisoformat(text).astimezone(UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}+0000"


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[tuple[str, str]] = []
        at = 0
        while at < len(text.rstrip()):
            match = _TOKEN.match(text, at)
            if match is None or match.lastgroup is None:
                raise SoqlError(
                    "MALFORMED_QUERY", f"unexpected token: '{text[at : at + 20].strip()}'"
                )
            self.tokens.append((match.lastgroup, match.group(match.lastgroup)))
            at = match.end()
        self.at = 0
        self.sobject = ""

    def peek(self) -> tuple[str, str]:
        return self.tokens[self.at] if self.at < len(self.tokens) else ("end", "<EOF>")

    def take(self, kind: str | None = None) -> str:
        found, text = self.peek()
        if found == "end" or (kind is not None and found != kind):
            raise SoqlError("MALFORMED_QUERY", f"unexpected token: '{text}'")
        self.at += 1
        return text

    def accept(self, *words: str) -> bool:
        for offset, word in enumerate(words):
            at = self.at + offset
            if at >= len(self.tokens) or self.tokens[at][1].upper() != word:
                return False
        self.at += len(words)
        return True

    def expect(self, word: str) -> None:
        if not self.accept(word):
            raise SoqlError("MALFORMED_QUERY", f"unexpected token: '{self.peek()[1]}'")

    def query(self) -> Query:
        self.expect("SELECT")
        names: list[str] = []
        is_count = self.accept("COUNT", "(", ")")
        if not is_count:
            names.append(self.take("word"))
            while self.accept(","):
                names.append(self.take("word"))
        self.expect("FROM")
        asked = self.take("word")
        sobject = sobject_name(asked)
        if sobject is None:
            raise SoqlError(
                "INVALID_TYPE",
                f"sObject type '{asked}' is not supported. If you are attempting to use a custom "
                "object, "
                "be sure to append the '__c' after the entity name.",
            )
        self.sobject = sobject
        fields = tuple(self.field(name).name for name in names)
        if len(set(fields)) != len(fields):
            raise SoqlError("INVALID_FIELD", "duplicate field selected: " + ", ".join(names))
        matches: Predicate = self.disjunction() if self.accept("WHERE") else (lambda row: True)
        order: list[tuple[str, bool, bool]] = []
        if self.accept("ORDER", "BY"):
            order.append(self.ordering())
            while self.accept(","):
                order.append(self.ordering())
        limit = int(self.take("number")) if self.accept("LIMIT") else None
        offset = int(self.take("number")) if self.accept("OFFSET") else 0
        if offset > 2_000:
            raise SoqlError("NUMBER_OUTSIDE_VALID_RANGE", "Maximum SOQL offset allowed is 2000")
        if self.peek()[0] != "end":
            raise SoqlError("MALFORMED_QUERY", f"unexpected token: '{self.peek()[1]}'")
        return Query(sobject, fields, is_count, matches, tuple(order), limit, offset)

    def field(self, name: str) -> Field:
        if "." in name:
            relation = name.split(".")[0]
            raise SoqlError(
                "INVALID_FIELD", f"Didn't understand relationship '{relation}' in field path."
            )
        known = field_name(self.sobject, name)
        if known is None:
            raise SoqlError(
                "INVALID_FIELD",
                f"No such column '{name}' on entity '{self.sobject}'. If you are attempting to "
                "use a custom "
                "field, be sure to append the '__c' after the custom field name.",
            )
        return SCHEMA[self.sobject][known]

    def ordering(self) -> tuple[str, bool, bool]:
        name = self.field(self.take("word")).name
        descending = self.accept("DESC")
        if not descending:
            self.accept("ASC")
        nulls_last = False
        if self.accept("NULLS", "LAST"):
            nulls_last = True
        else:
            self.accept("NULLS", "FIRST")
        return name, descending, nulls_last

    def disjunction(self) -> Predicate:
        parts, joins = [self.negation()], set[str]()
        while self.peek()[1].upper() in ("AND", "OR"):
            joins.add(self.take().upper())
            if len(joins) > 1:
                # SOQL has no precedence between AND and OR: it wants parentheses.
                raise SoqlError(
                    "MALFORMED_QUERY", f"unexpected token: '{self.tokens[self.at - 1][1]}'"
                )
            parts.append(self.negation())
        if joins == {"OR"}:
            return lambda row: any(part(row) for part in parts)
        return lambda row: all(part(row) for part in parts)

    def negation(self) -> Predicate:
        if self.accept("NOT"):
            inner = self.negation()
            return lambda row: not inner(row)
        if self.accept("("):
            inner = self.disjunction()
            self.expect(")")
            return inner
        return self.comparison()

    def comparison(self) -> Predicate:
        field = self.field(self.take("word"))
        name = field.name
        if self.accept("NOT", "IN"):
            kept = {_folded(field, value) for value in self.values(field)}
            return lambda row: _folded(field, row.get(name)) not in kept
        if self.accept("IN"):
            wanted = {_folded(field, value) for value in self.values(field)}
            return lambda row: _folded(field, row.get(name)) in wanted
        if self.accept("LIKE"):
            pattern = self.take("string")[1:-1]
            parts = re.findall(r"\\.|%|_|[^\\%_]+", pattern)
            regex = re.compile(
                "".join(
                    {"%": ".*", "_": "."}.get(part, re.escape(part.lstrip("\\"))) for part in parts
                ),
                re.IGNORECASE | re.DOTALL,
            )
            return lambda row: row.get(name) is not None and bool(regex.fullmatch(str(row[name])))
        sign = self.take("sign")
        value = self.value(field)
        if sign == "=":
            same = _folded(field, value)
            return lambda row: _folded(field, row.get(name)) == same
        if sign in ("!=", "<>"):
            other = _folded(field, value)
            return lambda row: _folded(field, row.get(name)) != other
        if sign not in ("<", "<=", ">", ">=") or value is None or field.kind == "boolean":
            raise SoqlError("INVALID_FIELD", f"invalid operator '{sign}' on field '{name}'")
        bound = _sort_key(field, value)
        match sign:
            case "<":
                return lambda row: row.get(name) is not None and _sort_key(field, row[name]) < bound
            case "<=":
                return lambda row: (
                    row.get(name) is not None and _sort_key(field, row[name]) <= bound
                )
            case ">":
                return lambda row: row.get(name) is not None and _sort_key(field, row[name]) > bound
            case _:
                return lambda row: (
                    row.get(name) is not None and _sort_key(field, row[name]) >= bound
                )

    def values(self, field: Field) -> list[Any]:
        self.expect("(")
        found = [self.value(field)]
        while self.accept(","):
            found.append(self.value(field))
        self.expect(")")
        return found

    def value(self, field: Field) -> Any:
        kind, text = self.peek()
        if kind not in ("string", "datetime", "date", "number", "word"):
            raise SoqlError("MALFORMED_QUERY", f"unexpected token: '{text}'")
        self.at += 1
        if kind == "word" and text.lower() == "null":
            return None
        expected = {
            "datetime": "datetime", "date": "date", "boolean": "word", "int": "number",
            "double": "number",
            "currency": "number",
            "percent": "number",
        }.get(field.kind, "string")  # fmt: skip
        if kind != expected or (expected == "word" and text.lower() not in ("true", "false")):
            quoted = "" if expected == "string" else "not "
            raise SoqlError(
                "INVALID_FIELD",
                f"value of filter criterion for field '{field.name}' must be of type {field.kind} "
                "and "
                f"should {quoted}be enclosed in quotes",
            )
        match kind:
            case "string":
                return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m.group(1), m.group(1)), text[1:-1])
            case "datetime":
                return instant_text(text)
            case "number":
                return float(text)
            case "word":
                return text.lower() == "true"
            case _:
                return text


def _folded(field: Field, value: Any) -> Any:
    """What equality compares: text without regard to case, ids in their 18-character form, numbers
    by value."""
    if not isinstance(value, str):
        return value
    return extended_id(value) if field.kind in ("id", "reference") else value.casefold()
