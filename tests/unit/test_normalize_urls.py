"""Claims about addresses of pages: which are one page, and which are none."""

from __future__ import annotations

import pyarrow as pa
import pytest

from ingestion.normalize.urls import canonical_url, canonical_urls


@pytest.mark.parametrize(
    ("spelled", "canonical"),
    [
        ("HTTPS://WWW.Acme.COM:443/a/../b", "https://www.acme.com/b"),
        ("http://acme.com:80", "http://acme.com/"),
        ("http://acme.com:8080/", "http://acme.com:8080/"),
        ("acme.com/pricing", "https://acme.com/pricing"),
        ("//acme.com/pricing", "https://acme.com/pricing"),
        ("https://acme.com/?utm_source=x&plan=pro&gclid=1&UTM_Medium=y", "https://acme.com/?plan=pro"),
        ("https://acme.com/?mkt_tok=1", "https://acme.com/"),
        # What only looks like one is a parameter of the page.
        ("https://acme.com/?my_utm_source=x", "https://acme.com/?my_utm_source=x"),
        ("https://acme.com/#top", "https://acme.com/"),
        ("https://ada:secret@acme.com/", "https://acme.com/"),
        ("https://acme.com/%7Eada/%c3%a4", "https://acme.com/~ada/%C3%A4"),
        ("https://MÜNCHEN.de/ä", "https://xn--mnchen-3ya.de/%C3%A4"),
        ("https://acme.com/?b=1&a=2", "https://acme.com/?b=1&a=2"),
        ("https://acme.com/a b", "https://acme.com/a%20b"),
        ("mailto:ada@acme.com", None),
        ("javascript:alert(1)", None),
        ("ftp://acme.com/", None),
        ("/pricing", None),
        ("not a page", None),
        ("https://[::1", None),
        ("https://acme.com:port/", None),
        ("", None),
        (None, None),
    ],
)  # fmt: skip
def test_a_page_has_one_address(spelled: str | None, canonical: str | None) -> None:
    assert canonical_url(spelled) == canonical
    assert canonical_url(canonical) == canonical
    assert canonical_urls(pa.array([spelled, spelled], pa.string())).to_pylist() == [canonical] * 2
