"""What a raw column holds of a value that JSON gives otherwise, whichever way an event is parsed."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import orjson

_CENT = Decimal("0.01")


def money(amount: Any) -> Decimal:
    """To the cent, by the digits that were written; half a cent goes to the even one."""
    return Decimal(str(amount)).quantize(_CENT, ROUND_HALF_EVEN)


def json_text(value: Any) -> str:
    """A nested value as JSON text."""
    return orjson.dumps(value).decode()


def null_fields(fields: dict[str, Any]) -> str:
    """Names of the fields that are stated as null, as a JSON array."""
    if None not in fields.values():
        return "[]"
    return json_text([name for name, value in fields.items() if value is None])
