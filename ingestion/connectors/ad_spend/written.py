"""How money, counts and days are written in exports of any language; a value that could mean two
things is refused unless its file tells which."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal

MARKS = (".", ",")
# Blanks and apostrophes group digits in some languages and never mark decimals.
_GROUPING = re.compile(r"(?<=\d)[\s\u00a0\u2009\u202f'\u2019](?=\d{3}(?!\d))")
_MONEY = re.compile(
    r"(?P<sign>[-+\u2212]?)\s*(?:[A-Z]{2,3}\$?|[$€£¥₹])?\s*(?P<late>[-+\u2212]?)"
    r"(?P<number>[\d.,]+)\s*(?:[A-Z]{3}|[$€£¥₹])?"
)
_DAY_FORMATS = ("%Y-%m-%d", "%Y/%m/%d", "%b %d, %Y", "%B %d, %Y", "%d %b %Y", "%d %B %Y")
_ISO = re.compile(r"\d{4}(-\d{2}-\d{2}|\d{4})([T ]00:00|$)", re.ASCII)
_NUMBERED = re.compile(r"(\d{1,2})([./-])(\d{1,2})\2(\d{4})")


def decimal_mark(amounts: Iterable[str], counts: Iterable[str] = ()) -> str | None:
    """The mark before decimals in a file, by those of its values that can be read in one way only;
    None when none can, or when they disagree.

    `counts` are whole numbers: what stands in them groups digits.
    """
    found = {mark for text in amounts if (mark := _evident_mark(_digits(text)[1])) is not None}
    for text in counts:
        number = _digits(text)[1]
        found |= {
            other
            for mark, other in (MARKS, MARKS[::-1])
            if mark in number and other not in number and _is_grouped(number, mark)
        }
    return found.pop() if len(found) == 1 else None


def amount(text: str, mark: str | None) -> Decimal:
    """The money `text` says, without its currency; ValueError says why not."""
    sign, number = _digits(text)
    if not number:
        raise ValueError("is no amount")
    if mark is None:
        mark = _evident_mark(number)
        if mark is None and any(one in number for one in MARKS):
            raise ValueError(
                "could be read in two ways, and nothing in the file says whether , or ."
                " stands before decimals"
            )
    mark = mark or "."
    group = MARKS[1 - MARKS.index(mark)]
    whole, _, decimals = number.partition(mark)
    if (
        not (whole or decimals)
        or (decimals and not decimals.isdigit())
        or number.endswith(mark)
        or (group in whole and not _is_grouped(whole, group))
        or not (whole.replace(group, "") or "0").isdigit()
    ):
        raise ValueError(f"is no amount with {mark!r} before decimals")
    return Decimal(f"{sign}{whole.replace(group, '') or '0'}.{decimals or '0'}")


def count(text: str) -> int:
    """The whole number `text` says; ValueError says why not."""
    number = _GROUPING.sub("", text.strip())
    for mark in MARKS:
        if mark in number and _is_grouped(number, mark):
            number = number.replace(mark, "")
    if not (number.isascii() and number.isdigit()):
        raise ValueError("is no whole number")
    return int(number)


def day_first(days: Iterable[str]) -> bool | None:
    """Whether the day stands before the month in a file's dates of digits; None when every one of
    them could be either, or when they disagree."""
    found: set[bool] = set()
    for text in days:
        if told := _NUMBERED.fullmatch(text.strip()):
            first, second = int(told[1]), int(told[3])
            if told[2] == "." or first > 12:
                found.add(True)
            elif second > 12:
                found.add(False)
    return found.pop() if len(found) == 1 else None


def day(text: str, is_day_first: bool | None, form: str = "") -> date:
    """The day `text` says, in the strptime format `form` if there is one; ValueError says why not."""
    given = text.strip()
    if form:
        return datetime.strptime(given, form).date()
    if _ISO.match(given):
        # A sheet may have midnight beside it.
        given = re.split(r"[T ]", given)[0]
        if given.isdigit():
            given = f"{given[:4]}-{given[4:6]}-{given[6:]}"
    for known in _DAY_FORMATS:
        try:
            return datetime.strptime(given, known).date()
        except ValueError:
            continue
    told = _NUMBERED.fullmatch(given)
    if told is None:
        raise ValueError("is no date in a known format")
    first, second, year = int(told[1]), int(told[3]), int(told[4])
    if is_day_first is None and told[2] != "." and first <= 12 and second <= 12 and first != second:
        raise ValueError("could be read in two ways, and nothing in the file says which")
    if told[2] == "." or is_day_first or first > 12:
        first, second = second, first
    return date(year, first, second)


def _digits(text: str) -> tuple[str, str]:
    """Sign, and digits with marks; no digits when it is no number."""
    given = _GROUPING.sub("", text.strip())
    is_negative = given.startswith("(") and given.endswith(")")
    found = _MONEY.fullmatch(given[1:-1] if is_negative else given)
    if found is None or not any(one.isascii() and one.isdigit() for one in found["number"]):
        return "", ""
    signs = found["sign"] + found["late"]
    is_negative = is_negative or any(one in signs for one in "-\u2212")
    number = found["number"]
    return "-" if is_negative else "", number if number.isascii() else ""


def _evident_mark(number: str) -> str | None:
    """The mark before decimals of a number that can be read in one way only."""
    dots, commas = number.count("."), number.count(",")
    if dots and commas:
        return max(MARKS, key=number.rfind)
    mark = "." if dots else ","
    if dots + commas > 1:
        return MARKS[1 - MARKS.index(mark)]
    if dots + commas == 1:
        whole, _, rest = number.partition(mark)
        if len(rest) != 3 or not whole or whole.startswith("0") or len(whole) > 3:
            return mark
    return None


def _is_grouped(number: str, mark: str) -> bool:
    """Groups of three, or as in India of two before the last."""
    first, *groups = number.split(mark)
    return (
        1 <= len(first) <= 3
        and len(groups[-1]) == 3
        and all(len(group) in (2, 3) for group in groups)
        and all(part.isdigit() for part in (first, *groups))
    )
