"""Names of people as they are compared. What is shown stays as it was typed, and a name alone says nothing of who is whom."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

from ingestion.normalize.batches import each_distinct
from ingestion.normalize.folding import fold

if TYPE_CHECKING:
    import pyarrow as pa
    from nameparser.config import Constants
    from nicknames import NickNamer

# Two words of letters: what nearly every name is, and what nameparser needs a millisecond to say.
_PLAIN = re.compile(r"([^\W\d_]{2,}) ([^\W\d_]{2,})")
_MARKS = re.compile(r"[^\w]+")
# Honorifics nameparser 2.6 does not know.
_TITLES = {"frau", "herrn", "ing", "dipl", "dipl-ing", "monsieur", "madame", "mademoiselle", "signor", "signora", "senor", "senora"}  # fmt: skip


def name_key(value: str | None) -> str | None:
    """Key of the person called `value` (a full name, in either order with a comma): given and family name, folded, one space between.

    Honorifics (Dr., Frau), suffixes (Jr., PhD), middle names and a nickname in brackets or quotes are left out. None for what has no letter.
    Parts are nameparser's; names that are not written in Latin letters stay whole where it does not know their order.
    """
    if not value or not (text := " ".join(value.split())):
        return None
    if (plain := _PLAIN.fullmatch(text)) and not _affixes().intersection(
        word.lower() for word in plain.groups()
    ):
        return fold(text)
    from nameparser import HumanName

    name = HumanName(text, constants=_constants())
    return _bare(f"{name.first} {name.last}") or _bare(text)


def given_name_keys(value: str | None) -> str | None:
    """Every formal name `value` (a given name) can stand for and itself, folded, sorted, joined by `|`; None for what has no letter.

    Two given names may be one person's when they share one: "bill" gives bill, robert, will, william, willis. Pairs are those of nicknames.
    """
    if not value or not (name := _bare(value.split(",")[0])):
        return None
    # "K.C." is listed with its points.
    formal = _nicknames().canonicals_of(name) | _nicknames().canonicals_of(value)
    return "|".join(sorted({name, *map(fold, formal)}))


def name_keys(values: pa.ChunkedArray | pa.Array) -> pa.Array:
    """`name_key` of each of `values` (strings)."""
    return each_distinct(values, name_key)


def given_names(values: pa.ChunkedArray | pa.Array) -> pa.Array:
    """`given_name_keys` of each of `values` (strings)."""
    return each_distinct(values, given_name_keys)


def _bare(text: str) -> str | None:
    return _MARKS.sub(" ", fold(text)).strip("_ ") or None


@functools.cache
def _constants() -> Constants:
    from nameparser.config import Constants

    constants = Constants()
    constants.titles.add(*_TITLES)
    return constants


@functools.cache
def _affixes() -> frozenset[str]:
    """Words that may be no name beside one."""
    constants = _constants()
    kinds = ("titles", "suffix_acronyms", "suffix_not_acronyms", "conjunctions", "prefixes")
    return frozenset(word for kind in kinds for word in getattr(constants, kind))


@functools.cache
def _nicknames() -> NickNamer:
    from nicknames import NickNamer

    return NickNamer()
