"""Normal form of an e-mail address; deliverability is never asked for."""

from __future__ import annotations


def normalize_email(value: str | None) -> str | None:
    """Lower-case address with an ASCII domain, or None when `value` is no address.

    Syntax is email-validator's (RFC 5321/5322/6531 without quoted local parts). The local part is lower-cased: no provider in use treats
    two spellings as two people. Special-use domains are accepted: test systems send them and they hurt nobody.
    """
    if not value or "@" not in value:
        return None
    from email_validator import EmailNotValidError, validate_email

    try:
        result = validate_email(
            value.strip(), check_deliverability=False, test_environment=True, strict=True
        )
    except EmailNotValidError:
        return None
    return f"{result.local_part.lower()}@{(result.ascii_domain or result.domain).lower()}"
