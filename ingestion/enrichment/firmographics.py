"""Reads firmographics as files and services write them; a value that is none of its kind is refused, not guessed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from decimal import Decimal, InvalidOperation
from typing import Any

from ingestion.enrichment.answers import Company

NAMES = tuple(field.name for field in fields(Company))


def company_of(told: Mapping[str, Any]) -> Company | None:
    """The company of a CSV row or a JSON object, None when it says nothing of it; ValueError names the value that cannot be read."""
    values: dict[str, Any] = {}
    for name in NAMES:
        text = str(told[name]).strip() if told.get(name) is not None else ""
        if text:
            values[name] = _value(name, text)
    return Company(**values) if values else None


def _value(name: str, text: str) -> Any:
    if name == "employee_count":
        if not text.isascii() or not text.isdigit() or len(text) > 15:
            raise ValueError(f"employee_count {text!r} is no whole number")
        return int(text)
    if name == "annual_revenue_usd":
        try:
            amount = Decimal(text)
        except InvalidOperation:
            raise ValueError(f"annual_revenue_usd {text!r} is no number") from None
        if not amount.is_finite() or abs(amount) >= Decimal(10) ** 15:
            raise ValueError(f"annual_revenue_usd {text!r} is no amount")
        return amount.quantize(Decimal("0.01"))
    if name == "country":
        if len(text) != 2 or not text.isascii() or not text.isalpha():
            raise ValueError(f"country {text!r} is no ISO 3166-1 alpha-2 code")
        return text.upper()
    return text[:255]
