"""Normal and canonical form of an e-mail address, and why a value is none; deliverability is never asked for."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingestion.normalize.batches import each_distinct

if TYPE_CHECKING:
    import pyarrow as pa

# Lower case, of letters, digits and single marks between them, short enough for every limit: email-validator gives it back as it is, as
# tests/property/test_normalize_emails.py holds against it.
PLAIN_ADDRESS = r"^[a-z0-9]+([._+-][a-z0-9]+)*@([a-z0-9]+(-[a-z0-9]+)*\.)+[a-z]{2,24}$"
_PLAIN_LENGTH = 64


def normalize_email(value: str | None) -> str | None:
    """Lower-case address with an ASCII domain, or None when `value` is no address.

    Syntax is email-validator's (RFC 5321/5322/6531). The local part is lower-cased: no provider in use treats two spellings as two people.
    Quotes around it are taken off where it needs none, and refused where it does. Special-use domains are accepted: test systems send them
    and they hurt nobody.
    """
    if not value or "@" not in value:
        return None
    from email_validator import EmailNotValidError, validate_email

    try:
        result = validate_email(
            value.strip(),
            check_deliverability=False,
            test_environment=True,
            strict=True,
            allow_quoted_local=True,
        )
    except EmailNotValidError:
        return None
    if result.local_part.startswith('"'):
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


def email_refusal(value: str | None) -> str | None:
    """Why `value` has no normal form, as one word; None for an address and for no value.

    `empty`, `no_at_sign`, `display_name` (more than an address: "Ada <ada@acme.com>"), `too_long` (RFC 5321, 4.5.3.1), `domain_invalid`,
    `local_part_invalid`.
    """
    if value is None or normalize_email(value) is not None:
        return None
    text = value.strip()
    local, at, domain = text.rpartition("@")
    if not text:
        return "empty"
    if not at:
        return "no_at_sign"
    if text.endswith(">"):
        return "display_name"
    # The library judges either side with a partner that is beyond doubt.
    if normalize_email(f"a@{domain}") is None:
        return "too_long" if len(domain) > 253 else "domain_invalid"
    if normalize_email(f"{local}@a.example") is None:
        return "too_long" if len(local) > 64 else "local_part_invalid"
    return "too_long"


def email_refusals(values: pa.ChunkedArray | pa.Array) -> pa.Array:
    """`email_refusal` of each of `values` (strings)."""
    return each_distinct(values, email_refusal)


@dataclass(frozen=True, slots=True)
class EmailRule:
    """What a provider says of the addresses of one of its domains: which other spellings come to the same mailbox."""

    canonical_domain: str
    ignores_dots: bool = False
    tag_separator: str | None = None
    has_subdomains: bool = False


@functools.lru_cache(maxsize=8)
def email_rules(text: str) -> Mapping[str, EmailRule]:
    """Rules by domain, from a JSON object of them: `{"gmail.com": {"canonical_domain": "gmail.com", "ignores_dots": true, …}}`."""
    return {domain: EmailRule(**rule) for domain, rule in json.loads(text).items()}


def canonical_email(address: str, rules: Mapping[str, EmailRule]) -> str:
    """The one spelling of all that come to the mailbox of `address` (a normal form), by `rules`; itself where no rule is about it.

    It tells who is whom. Nobody is written to by it: the tag says what for they gave the address.
    """
    local, _, domain = address.rpartition("@")
    if (rule := rules.get(domain)) is None:
        # anything@ada.fastmail.com is ada's.
        owner, _, provider = domain.partition(".")
        rule = rules.get(provider)
        if rule is None or not rule.has_subdomains:
            return address
        local = owner
    if rule.tag_separator:
        local = local.partition(rule.tag_separator)[0] or local
    if rule.ignores_dots:
        local = local.replace(".", "")
    return f"{local}@{rule.canonical_domain}"


def canonical_emails(values: pa.ChunkedArray | pa.Array, rules: pa.Array) -> pa.Array:
    """`canonical_email` of each of `values` (normal forms, strings); `rules` is the same JSON text in every row."""
    import pyarrow as pa
    import pyarrow.compute as pc

    strings = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    strings = strings.cast(pa.string())
    if not len(strings):
        return strings
    by_domain = email_rules(rules[0].as_py())
    if not by_domain:
        return strings
    domains = "|".join(re.escape(domain) for domain in by_domain)
    is_ruled = pc.fill_null(pc.match_substring_regex(strings, rf"[@.]({domains})$"), False)
    ruled = pc.filter(strings, is_ruled).to_pylist()
    canonical = pa.array([canonical_email(value, by_domain) for value in ruled], pa.string())
    return pc.replace_with_mask(strings, is_ruled, canonical)


@functools.cache
def _special_domains() -> str:
    """Domains email-validator accepts no address of, as a pattern of their ends."""
    from email_validator import SPECIAL_USE_DOMAIN_NAMES

    return rf"[@.]({'|'.join(map(re.escape, SPECIAL_USE_DOMAIN_NAMES))})$"
