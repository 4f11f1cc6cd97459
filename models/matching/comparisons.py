"""What the kinds of comparison of the identity policy are in Splink's terms: levels of agreement, best first, each an SQL condition.

A level is a plain dictionary, which is what Splink reads and writes; nothing here imports Splink.
"""

from __future__ import annotations

from typing import Any

from models.matching.features import column_of
from models.policies.documents import FieldComparison, Matching

Level = dict[str, Any]

_SIMILAR = 0.88


def splink_comparisons(matching: Matching) -> list[dict[str, Any]]:
    """Splink's `comparisons` setting for the policy's comparisons."""
    return [
        {
            "output_column_name": comparison.name,
            "comparison_levels": comparison_levels(comparison),
        }
        for comparison in matching.comparisons
    ]


def comparison_levels(comparison: FieldComparison) -> list[Level]:
    """Levels of agreement of one comparison: the null level first, "anything else" last."""
    columns = [column_of(field) for field in comparison.fields]
    column = columns[0]
    if comparison.kind == "full_name":
        first, last = columns
        return [
            _level(
                f'("{first}_l" is null or "{first}_r" is null) and ("{last}_l" is null or "{last}_r" is null)',
                "unknown",
                is_null_level=True,
            ),
            *_full_name(first, last),
            _level("ELSE", "different"),
        ]
    exact = _level(f'"{column}_l" = "{column}_r"', "same")
    if comparison.term_frequencies:
        exact["tf_adjustment_column"] = column
    kinds = {
        "exact": lambda _: [],
        "text": _text,
        "date": _date,
        "email": _email,
        "organisation": _organisation,
        "street": _street,
        "code": _code,
        "phone": _phone,
    }
    return [
        _level(f'"{column}_l" is null or "{column}_r" is null', "unknown", is_null_level=True),
        exact,
        *kinds[comparison.kind](column),
        _level("ELSE", "different"),
    ]


def _level(condition: str, label: str, **further: Any) -> Level:
    return {"sql_condition": condition, "label_for_charts": label, **further}


def _similar(left: str, right: str, least: float = _SIMILAR) -> str:
    return f'jaro_winkler_similarity("{left}_l", "{right}_r") > {least}'


def _full_name(first: str, last: str) -> list[Level]:
    return [
        _level(f'"{first}_l" = "{first}_r" and "{last}_l" = "{last}_r"', "both the same"),
        _level(f'"{first}_l" = "{last}_r" and "{last}_l" = "{first}_r"', "swapped"),
        _level(f"{_similar(first, first)} and {_similar(last, last)}", "both similar"),
        _level(f'"{last}_l" = "{last}_r"', "same last name"),
        _level(f'"{first}_l" = "{first}_r"', "same first name"),
        _level(
            f"{_similar(last, last)} or {_similar(last, first)} or {_similar(first, last)}",
            "similar last name, or swapped",
        ),
        _level(_similar(first, first), "similar first name"),
    ]


def _text(column: str) -> list[Level]:
    return [
        _level(_similar(column, column, 0.92), "nearly the same"),
        _level(_similar(column, column, 0.85), "similar"),
    ]


def _date(column: str) -> list[Level]:
    days = (
        f"abs(datediff('day', try_cast(try_strptime(\"{column}_l\", '%Y%m%d') as date), "
        f"try_cast(try_strptime(\"{column}_r\", '%Y%m%d') as date)))"
    )
    return [
        _level(f'damerau_levenshtein("{column}_l", "{column}_r") <= 1', "one digit off"),
        _level(f"{days} <= 31", "within a month"),
        _level(f"{days} <= 370", "within a year"),
        _level(f"{days} <= 3653", "within ten years"),
    ]


def _email(column: str) -> list[Level]:
    letters = [f"regexp_replace(\"{column}_{side}\", '[^\\pL]', '', 'g')" for side in ("l", "r")]
    return [
        _level(f'"{column}_local_l" = "{column}_local_r"', "same before the @"),
        _level(_similar(column, column, 0.92), "nearly the same"),
        _level(f"jaro_winkler_similarity({letters[0]}, {letters[1]}) > 0.85", "similar letters"),
    ]


def _organisation(column: str) -> list[Level]:
    words = [f"string_split(\"{column}_{side}\", ' ')" for side in ("l", "r")]
    shared = f"len(list_intersect({words[0]}, {words[1]}))"
    fewest = f"least(len(list_distinct({words[0]})), len(list_distinct({words[1]})))"
    return [
        _level(_similar(column, column, 0.92), "nearly the same"),
        _level(f"{shared} >= {fewest}", "one name within the other"),
        _level(f"{shared} * 2 >= {fewest}", "half of the words"),
        _level(f"{shared} >= 1", "a word"),
    ]


def _street(column: str) -> list[Level]:
    number = f'"{column}_number_l" = "{column}_number_r"'
    name = f"{column}_name"
    near = (
        f'({_similar(name, name, 0.85)} or starts_with("{name}_l", "{name}_r") '
        f'or starts_with("{name}_r", "{name}_l"))'
    )
    return [
        _level(f'{number} and "{name}_l" = "{name}_r"', "same number and street"),
        _level(f"{number} and {near}", "same number, similar street"),
        _level(
            f'"{name}_l" = "{name}_r" and damerau_levenshtein("{column}_number_l", "{column}_number_r") <= 1',
            "same street, number one digit off",
        ),
        _level(_similar(column, column, 0.92), "nearly the same"),
        _level(f'"{name}_l" = "{name}_r"', "same street"),
        _level(number, "same number"),
    ]


def _code(column: str) -> list[Level]:
    return [
        _level(f'damerau_levenshtein("{column}_l", "{column}_r") <= 1', "one character off"),
        _level(f'damerau_levenshtein("{column}_l", "{column}_r") <= 2', "two characters off"),
    ]


def _phone(column: str) -> list[Level]:
    # What is before the last four digits is the exchange: often one organisation's, or one place's.
    exchange = [f'left("{column}_{side}", -4)' for side in ("l", "r")]
    return [
        _level(f'damerau_levenshtein("{column}_l", "{column}_r") <= 1', "one digit off"),
        _level(f"{exchange[0]} = {exchange[1]}", "same but the last four digits"),
    ]
