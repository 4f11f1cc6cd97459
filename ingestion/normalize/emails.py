"""Normal form of an e-mail address; deliverability is never asked for."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

# Lower case, of letters, digits and single marks between them, short enough for every limit: email-validator gives it back as it is, as
# tests/property/test_normalize_emails.py holds against it.
PLAIN_ADDRESS = r"^[a-z0-9]+([._+-][a-z0-9]+)*@([a-z0-9]+(-[a-z0-9]+)*\.)+[a-z]{2,24}$"
_PLAIN_LENGTH = 64


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


def normalize_emails(values: pa.ChunkedArray | pa.Array) -> pa.Array:
    """`normalize_email` of each of `values` (strings); those that are plain beyond doubt are told by their pattern, in C++.

    A validation takes Python 26 microseconds, and nearly every address is a plain one.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    strings = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    lowered = pc.ascii_lower(pc.ascii_trim_whitespace(strings))
    is_plain = pc.and_(
        pc.match_substring_regex(lowered, PLAIN_ADDRESS),
        pc.less_equal(pc.binary_length(lowered), _PLAIN_LENGTH),
    )
    is_plain = pc.and_not(is_plain, pc.match_substring_regex(lowered, _special_domains()))
    is_doubtful = pc.invert(pc.fill_null(is_plain, False))
    doubtful = pc.filter(strings, is_doubtful).to_pylist()
    normal = pa.array([normalize_email(value) for value in doubtful], pa.string())
    return pc.replace_with_mask(lowered.cast(pa.string()), is_doubtful, normal)


@functools.cache
def _special_domains() -> str:
    """Domains email-validator accepts no address of, as a pattern of their ends."""
    from email_validator import SPECIAL_USE_DOMAIN_NAMES

    return rf"[@.]({'|'.join(map(re.escape, SPECIAL_USE_DOMAIN_NAMES))})$"
