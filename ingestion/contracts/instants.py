"""Reading the instants of contracts: RFC 3339 text to a UTC datetime, and nothing about schemas."""

from __future__ import annotations

import re
from datetime import UTC, datetime

# `fromisoformat` alone takes far more than RFC 3339: no zone, week dates, a blank instead of the T.
_RFC_3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)


def parse_instant(text: str) -> datetime:
    """The instant `text` names, in UTC with microseconds; further digits are cut.

    Raises ValueError for anything that is not RFC 3339 with a zone, or that no warehouse can hold:
    leap seconds, the year 0, and days beyond year 9999 once moved to UTC.
    """
    if not _RFC_3339.fullmatch(text):
        raise ValueError(f"{text!r} is not an RFC 3339 instant with a zone")
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{text!r} lies outside the years 1 to 9999 in UTC") from error


def is_instant(text: object) -> bool:
    """Whether `parse_instant` can read `text`."""
    try:
        parse_instant(str(text))
    except ValueError:
        return False
    return True
