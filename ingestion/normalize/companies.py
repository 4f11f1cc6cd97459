"""The name of a company as it is compared: without its legal form, accents, case and marks. What is shown stays as it was typed."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

from ingestion.normalize.batches import each_distinct
from ingestion.normalize.folding import fold

if TYPE_CHECKING:
    import pyarrow as pa

# Legal forms written out that cleanco 2.3 has the abbreviation of alone.
_WRITTEN_OUT = (
    "aktiengesellschaft",
    "gesellschaft mit beschrankter haftung",
    "societe anonyme",
    "sociedad anonima",
    "societa per azioni",
    "naamloze vennootschap",
    "public limited company",
    "limited liability company",
)
_IN_BRACKETS = re.compile(r"\s*[(\[][^()\[\]]*[)\]]")
_MARKS = re.compile(r"[^\w]+")


def company_key(value: str | None) -> str | None:
    """Key of the company called `value`: legal forms at the end taken off (cleanco's, of 60 countries), folded to lower case without
    accents, `&` as "and", a leading "the" and what stands in brackets left out. None for what has no letter or digit.

    Equal keys are a hint, not a proof: "Delta Inc." and "Delta GmbH" are two companies. A name that is nothing but a legal form keeps it.
    """
    if not value:
        return None
    folded = fold(_IN_BRACKETS.sub("", value) or value)
    words = _without_legal_forms(folded.replace("&", " & ").replace("+", " + ").split())
    key = _MARKS.sub(" ", " ".join("and" if word in "&+" else word for word in words)).strip("_ ")
    return key.removeprefix("the ") or None


def company_keys(values: pa.ChunkedArray | pa.Array) -> pa.Array:
    """`company_key` of each of `values` (strings)."""
    return each_distinct(values, company_key)


def _without_legal_forms(words: list[str]) -> list[str]:
    forms, longest = _legal_forms()
    bare = [re.sub(r"[.,\-]", "", word) for word in words]
    end = len(bare)
    while end and not _MARKS.sub("", bare[end - 1]):
        end -= 1
    for length in range(min(longest, end - 1), 0, -1):
        if tuple(bare[end - length : end]) in forms:
            return _without_legal_forms(words[: end - length])
    return words[:end] or words


@functools.cache
def _legal_forms() -> tuple[frozenset[tuple[str, ...]], int]:
    """Legal forms as words without marks, and how many words the longest has."""
    from cleanco import prepare_default_terms

    forms = {tuple(words) for _, words in prepare_default_terms() if words}
    forms |= {tuple(form.split()) for form in _WRITTEN_OUT}
    # "GmbH & Co. KG": the sign stands alone here.
    forms |= {tuple(" ".join(form).replace("&", " & ").split()) for form in forms}
    return frozenset(forms), max(map(len, forms))
