"""Hides personal values in what is read back, for callers without `pii:read`; knows no routes."""

from __future__ import annotations

import re
from typing import Any

# Names under which records, events and marts keep what identifies a person.
PERSONAL = frozenset(
    {
        "email", "phone", "mobile_phone", "mobilephone", "first_name", "firstname", "last_name", "lastname",
        "full_name", "name", "birth_date", "date_of_birth", "street_address", "address", "postal_code", "zip",
        "anonymous_id", "ip_address", "identifier_value", "custom", "rep_email", "rep_name", "external_ids",
    }
)  # fmt: skip
_EMAIL = re.compile(r"[^\s@\"'<>:/\\]+@([^\s@\"'<>:/\\]+\.[^\s@\"'<>:/\\]+)")
_PHONE = re.compile(r"\+?\d[\d \-()./]{6,}\d")
MASK = "***"


def masked(value: Any, name: str = "") -> Any:
    """A copy of a JSON value in which personal values are masked, and addresses in any text besides.

    Of an address the domain stays, of a number its last two digits: enough to recognise one's own.
    """
    if name.lower() in PERSONAL:
        return _hidden(value)
    if isinstance(value, dict):
        return {key: masked(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [masked(item) for item in value]
    if isinstance(value, str):
        return _EMAIL.sub(rf"{MASK}@\1", value)
    return value


def masked_text(text: str) -> str:
    """Free text with addresses and long numbers masked: for what could not be taken apart."""
    return _PHONE.sub(MASK, _EMAIL.sub(rf"{MASK}@\1", text))


def _hidden(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, dict):
        return {key: _hidden(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_hidden(item) for item in value]
    text = str(value)
    if _EMAIL.fullmatch(text):
        return f"{MASK}@{text.rpartition('@')[2]}"
    digits = re.sub(r"\D", "", text)
    if _PHONE.fullmatch(text) and len(digits) >= 7:
        return f"{MASK}{digits[-2:]}"
    return MASK
