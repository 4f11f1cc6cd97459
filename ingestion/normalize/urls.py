"""The one spelling of a web page's address: what two visits to one page have in common."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from ingestion.normalize.batches import each_distinct
from ingestion.normalize.domains import host_of

if TYPE_CHECKING:
    import pyarrow as pa

# Parameters that say who clicked on what, and never which page it is: Google, Meta, Microsoft, LinkedIn, TikTok, X, Pinterest, Yandex,
# HubSpot, Marketo, Mailchimp, and the campaign parameters of Google and Matomo.
_TRACKING = re.compile(
    r"(utm_[a-z_]+|(mtm|pk)_[a-z]+|gclid|gclsrc|dclid|gbraid|wbraid|srsltid|gad_[a-z]+|_g[al]|fbclid|igshid|msclkid|li_fat_id|trk"
    r"|ttclid|twclid|epik|yclid|ysclid|_openstat|_hsenc|_hsmi|__hs(tc|sc|fp)|hsctatracking|mkt_tok|mc_[ce]id|vero_(id|conv)|oly_(anon|enc)_id)"
)
# mailto:, javascript: and the like; acme.com:8080 is a host with its port.
_OTHER_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:(?!//|[0-9])", re.IGNORECASE)


def canonical_url(value: str | None) -> str | None:
    """Canonical form of the web address `value`, or None when it is none (no http, no host name).

    Scheme and host in lower case and ASCII, no default port, no dot segments, percent-encoding as RFC 3986 has it (url-normalize);
    parameters of trackers, the fragment and user names are taken off. Without a scheme https is meant. The order of parameters and a
    slash at the end stay: servers may heed them.
    """
    text = (value or "").strip()
    if _OTHER_SCHEME.match(text):
        return None
    if "://" not in text:
        text = f"https://{text.removeprefix('//')}"
    from url_normalize import url_normalize

    try:
        parts = urlsplit(text)
        if parts.scheme.lower() not in ("http", "https") or not host_of(parts.hostname):
            return None
        # A port that is no number raises ValueError when it is asked for.
        if "." not in (parts.hostname or "") or parts.port == 0:
            return None
        query = "&".join(
            pair
            for pair in parts.query.split("&")
            if not _TRACKING.fullmatch(pair.partition("=")[0].lower())
        )
        address = parts.netloc.rpartition("@")[2]
        normal = url_normalize(urlunsplit((parts.scheme, address, parts.path, query, "")))
    except (UnicodeError, ValueError):
        return None
    return str(normal) if normal else None


def canonical_urls(values: pa.ChunkedArray | pa.Array) -> pa.Array:
    """`canonical_url` of each of `values` (strings)."""
    return each_distinct(values, canonical_url)
