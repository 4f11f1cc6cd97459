"""Normal form of a telephone number: E.164."""

from __future__ import annotations


def normalize_phone(value: str | None, region: str | None) -> str | None:
    """E.164 form of `value` read as dialled in `region` (ISO 3166-1 alpha-2), or None when it is no valid number there.

    Numbering plans are libphonenumber's. Without a region only numbers with an international prefix can be read.
    """
    if not value or not value.strip():
        return None
    import phonenumbers

    code = region.strip().upper() if region else None
    try:
        number = phonenumbers.parse(value, code if code and len(code) == 2 else None)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
