"""Normal form of a telephone number, E.164, and why a value has none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ingestion.normalize.countries import country_code

if TYPE_CHECKING:
    import pyarrow as pa


def normalize_phone(value: str | None, region: str | None) -> str | None:
    """E.164 form of `value` read as dialled in `region` (a country, as `country_code` reads it), or None when it is no valid number there.

    Numbering plans are libphonenumber's. Without a region only numbers with an international prefix can be read.
    """
    number = _parsed(value, region)
    if number is None or isinstance(number, str):
        return None
    import phonenumbers

    if not phonenumbers.is_valid_number(number):
        return None
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))


def phone_refusal(value: str | None, region: str | None) -> str | None:
    """Why `value` has no normal form in `region`, as one word; None for a number and for no value.

    `empty`, `no_number` (letters, or fewer digits than any number has), `region_unknown` (no international prefix, and no country it could
    be read in), `too_short`, `too_long`, `not_in_plan` (of a length there is, but no range of the country's plan has it).
    """
    if value is None:
        return None
    number = _parsed(value, region)
    if number is None or isinstance(number, str):
        return number
    import phonenumbers

    if phonenumbers.is_valid_number(number):
        return None
    length = phonenumbers.ValidationResult
    return {
        length.TOO_SHORT: "too_short",
        length.TOO_LONG: "too_long",
    }.get(phonenumbers.is_possible_number_with_reason(number), "not_in_plan")


def normalize_phones(
    values: pa.ChunkedArray | pa.Array, regions: pa.ChunkedArray | pa.Array
) -> pa.Array:
    """`normalize_phone` of each pair of `values` and `regions` (strings)."""
    import pyarrow as pa

    pairs = zip(values.to_pylist(), regions.to_pylist(), strict=True)
    return pa.array([normalize_phone(value, region) for value, region in pairs], pa.string())


def phone_refusals(
    values: pa.ChunkedArray | pa.Array, regions: pa.ChunkedArray | pa.Array
) -> pa.Array:
    """`phone_refusal` of each pair of `values` and `regions` (strings)."""
    import pyarrow as pa

    pairs = zip(values.to_pylist(), regions.to_pylist(), strict=True)
    return pa.array([phone_refusal(value, region) for value, region in pairs], pa.string())


def _parsed(value: str | None, region: str | None) -> Any:
    """The library's number, or why it reads none, or None for no value."""
    if value is None:
        return None
    if not value.strip():
        return "empty"
    import phonenumbers

    try:
        return phonenumbers.parse(value, country_code(region))
    except phonenumbers.NumberParseException as error:
        return {
            error.INVALID_COUNTRY_CODE: "region_unknown",
            error.TOO_LONG: "too_long",
            error.TOO_SHORT_NSN: "too_short",
            error.TOO_SHORT_AFTER_IDD: "too_short",
        }.get(error.error_type, "no_number")
