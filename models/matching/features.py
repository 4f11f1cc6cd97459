"""Normal forms of what is compared, as SQL: one expression for each column of `int_identity__features`."""

from __future__ import annotations

from collections.abc import Iterator

from models.policies.documents import FieldComparison, Matching

# Everything but letters and digits of any script becomes a space.
_WORDS = "trim(regexp_replace(lower(strip_accents({})), '[^\\pL\\pN]+', ' ', 'g'))"
_CODE = "regexp_replace(lower(strip_accents({})), '[^\\pL\\pN]+', '', 'g')"
# Directions and kinds of street are written in many ways, or left out: 27 Washington, 27 W Washington St.
_STREET_WORDS = (
    "n|s|e|w|north|south|east|west|st|street|ave|av|avenue|rd|road|blvd|boulevard|dr|drive|pl|place|ct|court|pkwy|parkway|"
    "ln|lane|hwy|highway|floor|fl|suite|ste|unit|apt|strasse|str"
)


def column_of(field: str) -> str:
    """Name of the compared column of a contact's field: `custom.tax_id` is custom_tax_id."""
    return field.replace(".", "_").lower()


def feature_expressions(matching: Matching) -> dict[str, str]:
    """SQL over a row of `int_contacts__current` for each compared column, all text or null, in the policy's order."""
    expressions: dict[str, str] = {}
    for comparison in matching.comparisons:
        for column, expression in _columns(comparison):
            expressions[column] = f"nullif({expression}, '')"
    for field in matching.guard.distinct:
        expressions.setdefault(column_of(field), f"nullif({_CODE.format(_value(field))}, '')")
    return expressions


def _value(field: str) -> str:
    if field.startswith("custom."):
        return f"json_extract_string(custom, '$.\"{field.removeprefix('custom.')}\"')"
    return f"cast({field} as varchar)"


def _columns(comparison: FieldComparison) -> Iterator[tuple[str, str]]:
    for field in comparison.fields:
        column, value = column_of(field), _value(field)
        match comparison.kind:
            case "email":
                yield column, f"lower(trim({value}))"
                yield f"{column}_local", f"split_part(lower(trim({value})), '@', 1)"
            case "code":
                yield column, _CODE.format(value)
            case "phone":
                yield column, f"regexp_replace({value}, '[^0-9]', '', 'g')"
            case "date":
                yield column, f"left(regexp_replace({value}, '[^0-9]', '', 'g'), 8)"
            case "street":
                words = _WORDS.format(value)
                rest = f"regexp_replace({words}, '^[0-9]+|\\b({_STREET_WORDS}|[0-9]{{5,}})\\b', ' ', 'g')"
                yield column, words
                yield f"{column}_number", f"regexp_extract({words}, '^[0-9]+')"
                yield f"{column}_name", f"trim(regexp_replace({rest}, ' +', ' ', 'g'))"
            case _:
                yield column, _WORDS.format(value)


def blocking_keys(matching: Matching) -> list[tuple[int, str]]:
    """Of each blocking rule, from 1, the SQL of its keys over columns named as `feature_expressions` names them.

    A rule that has alternatives (`first_name|last_name`) gives several keys under one number, which is how values that stand in
    each other's place meet. An expression is null where a column is.
    """
    keys: list[tuple[int, str]] = []
    for number, rule in enumerate(matching.blocking, start=1):
        texts = [""]
        for part in rule:
            names, _, length = part.partition(":")
            parts = [part_expression(name, length) for name in names.split("|")]
            texts = [
                f"{text} || '|' || {part}" if text else part for text in texts for part in parts
            ]
        keys += [(number, text) for text in texts]
    return keys


def part_expression(column: str, length: str) -> str:
    """SQL of a column, or of its first (3) or last (-3) characters."""
    if not length:
        return column
    count = int(length)
    return f"left({column}, {count})" if count > 0 else f"right({column}, {-count})"
