"""What of a company's name tells it from others: no legal form, case, accents or punctuation."""

from __future__ import annotations

import functools
import re
import unicodedata
from typing import TYPE_CHECKING

from ingestion.normalize.batches import each_distinct

if TYPE_CHECKING:
    import pyarrow as pa

_NO_WORD = re.compile(r"[\W_]+")


@functools.lru_cache(maxsize=65_536)
def company_key(name: str | None) -> str | None:
    """`name` as it is compared: `Keller Optik GmbH & Co. KG` and `KELLER-OPTIK` are `keller optik`; None when nothing is left of it.

    Legal forms are those cleanco knows, of any country (https://github.com/psolin/cleanco).
    """
    if not name:
        return None
    from cleanco import basename  # type: ignore[import-untyped]

    folded = unicodedata.normalize("NFKD", basename(name) or name).casefold()
    kept = "".join(letter for letter in folded if not unicodedata.combining(letter))
    return _NO_WORD.sub(" ", kept).strip() or None


def company_keys(names: pa.ChunkedArray | pa.Array) -> pa.Array:
    """`company_key` of each of `names` (strings)."""
    return each_distinct(names, company_key)
