"""What a referring page was: its medium, its name and what was searched for there. The list is referrers.json, whose origins stand in README.md."""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from ingestion.normalize.batches import each_distinct
from ingestion.normalize.domains import host_of, public_suffix

if TYPE_CHECKING:
    import pyarrow as pa

LIST_FILE = Path(__file__).with_name("referrers.json")

# Servers of a farm: webmail1m.orange.fr, lightmailer-bap.gmx.net.
_NUMBERED = re.compile(r"([0-9]+[a-z]?|-[a-z0-9]+)$")
_PATH_DEPTH = 2


@dataclass(frozen=True, slots=True)
class Site:
    """A site people come from. `medium` is search, social, email, paid, chatbot, referral or unknown (a service of a search engine that is
    no search); `terms` are the parameters of its URLs that hold what was searched for."""

    medium: str
    source: str
    terms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Referrer:
    """A referring URL as far as it is known; `term` is what was searched for, where the site still tells."""

    medium: str
    source: str
    term: str | None


def site_of(url: str | None) -> Site | None:
    """The known site `url` (a URL or a host) is a page of, or None.

    Of several entries the one of the longest name counts: a path before a host, a host before its domain.
    """
    host = host_of(url)
    if not host:
        return None
    sites = _sites()
    address = url if "//" in (url or "") else f"//{url}"
    try:
        segments = [part for part in urlsplit(str(address).strip()).path.split("/") if part]
    except ValueError:
        segments = []
    paths = ["/".join(segments[:depth]) for depth in range(min(_PATH_DEPTH, len(segments)), 0, -1)]
    suffix = public_suffix(host) or ""
    name = host.removeprefix("www.")
    while "." in name:
        for form in _forms(name, suffix):
            for path in paths:
                if site := sites.get(f"{form}/{path.lower()}"):
                    return site
            if site := sites.get(form):
                return site
        if name == suffix:
            break
        name = name.partition(".")[2]
    return None


def referrer_of(url: str | None) -> Referrer | None:
    """What is known of the referring page `url`; None where the site is not known."""
    site = site_of(url)
    if site is None:
        return None
    term = None
    if site.terms:
        try:
            given = parse_qs(urlsplit(str(url).strip()).query, keep_blank_values=False)
        except ValueError:
            given = {}
        term = next((given[name][0] for name in site.terms if name in given), None)
    return Referrer(site.medium, site.source, term)


def referrer_media(values: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Medium of each of `values` (referring URLs), null for what is not known."""
    return each_distinct(values, lambda url: found.medium if (found := site_of(url)) else None)


def referrer_sources(values: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Name of the site of each of `values` (referring URLs), null for what is not known."""
    return each_distinct(values, lambda url: found.source if (found := site_of(url)) else None)


def referrer_terms(values: pa.ChunkedArray | pa.Array) -> pa.Array:
    """What was searched for, of each of `values` (referring URLs), null where nothing says."""
    return each_distinct(values, lambda url: found.term if (found := referrer_of(url)) else None)


def _forms(name: str, suffix: str) -> list[str]:
    """Spellings under which the list can have `name`: itself, in any top-level domain, and as one server of a farm."""
    label, dot, rest = name.partition(".")
    farm = f"{_NUMBERED.sub('*', label)}{dot}{rest}"
    names = [name] if farm == name else [name, farm]
    anywhere = [f"{one[: -len(suffix)]}{{}}" for one in names if suffix and one != suffix]
    return names + anywhere


@functools.cache
def _sites() -> dict[str, Site]:
    listed = json.loads(LIST_FILE.read_text(encoding="utf-8"))
    return {
        host: Site(medium, source, tuple(known.get("terms", ())))
        for medium, sources in listed.items()
        for source, known in sources.items()
        for host in known["hosts"]
    }
