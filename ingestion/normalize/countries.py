"""The code of a country as people and systems name it."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

from ingestion.normalize.batches import each_distinct
from ingestion.normalize.folding import fold

if TYPE_CHECKING:
    import pyarrow as pa

# Languages whose names of countries are known.
_LANGUAGES = (
    "en",
    "de",
    "fr",
    "es",
    "it",
    "nl",
    "pt",
    "pl",
    "sv",
    "da",
    "nb",
    "fi",
    "cs",
    "hu",
    "ro",
    "tr",
    "ja",
    "zh",
)
# What Unicode's names of countries have in other words only.
_ALSO = {
    "czech republic": "CZ", "england": "GB", "great britain": "GB", "holland": "NL", "hong kong": "HK", "macau": "MO",
    "northern ireland": "GB", "republic of ireland": "IE", "republic of korea": "KR", "russian federation": "RU", "scotland": "GB",
    "tschechische republik": "CZ", "u k": "GB", "u s": "US", "u s a": "US",
    "united states of america": "US", "viet nam": "VN", "wales": "GB",
}  # fmt: skip
_MARKS = re.compile(r"[^\w]+")


@functools.lru_cache(maxsize=10_000)
def country_code(value: str | None) -> str | None:
    """ISO 3166-1 alpha-2 code of the country `value` names: by that code, the one of three letters or digits, or its name in one of
    eighteen languages (Unicode CLDR, by Babel). None for what names none, or more than one (Kongo)."""
    if not value:
        return None
    text = _MARKS.sub(" ", fold(value)).strip()
    # As it stands: n/a is not Namibia.
    code = value.strip().upper()
    codes, names = _known()
    if code in codes:
        return code
    from babel.core import get_global

    # UK, DEU, 276; of what has been split up there are several.
    if code.isascii() and len(successors := get_global("territory_aliases").get(code, [])) == 1:
        return str(successors[0])
    return names.get(text.removeprefix("the ")) or _ALSO.get(text.removeprefix("the "))


def country_codes(values: pa.ChunkedArray | pa.Array) -> pa.Array:
    """`country_code` of each of `values` (strings)."""
    return each_distinct(values, country_code)


@functools.cache
def _known() -> tuple[frozenset[str], dict[str, str]]:
    """Codes of countries that have telephones, and their names."""
    import phonenumbers
    from babel import Locale

    codes = frozenset(phonenumbers.SUPPORTED_REGIONS)
    named: dict[str, set[str]] = {}
    for language in _LANGUAGES:
        for code, name in Locale.parse(language).territories.items():
            if code in codes:
                named.setdefault(_MARKS.sub(" ", fold(name)).strip(), set()).add(code)
    return codes, {name: next(iter(found)) for name, found in named.items() if len(found) == 1}
