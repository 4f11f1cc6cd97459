"""Claims about where visits come from: referring pages, and channels by Google Analytics' groups."""

from __future__ import annotations

import pyarrow as pa
import pytest

from ingestion.normalize.channels import (
    channel_group,
    source_category,
    visit_channel,
    visit_channels,
)
from ingestion.normalize.referrers import (
    referrer_media,
    referrer_of,
    referrer_sources,
    referrer_terms,
)
from tests.unit.test_normalize import vectors

# "alibaba" without a medium is expected to be paid; "Google Shopping" without one is not. Google's table asks both for a paid medium.
WRONG = ("alibaba", "", "")


def test_every_published_referrer_is_known() -> None:
    rows = vectors("referers.json")
    assert len(rows) == 74  # type: ignore[arg-type]
    wrong = {}
    for row in rows:  # type: ignore[attr-defined]
        found = referrer_of(row["uri"])
        told = found and (found.medium, found.source, found.term)
        if told != (row["medium"], row["source"], row["term"]):
            wrong[row["uri"]] = told
    assert wrong == {}
    column = pa.array([row["uri"] for row in rows])  # type: ignore[attr-defined]
    assert referrer_media(column).to_pylist() == [row["medium"] for row in rows]  # type: ignore[attr-defined]
    assert referrer_sources(column).to_pylist() == [row["source"] for row in rows]  # type: ignore[attr-defined]
    assert referrer_terms(column).to_pylist() == [row["term"] for row in rows]  # type: ignore[attr-defined]


def test_every_published_visit_has_its_channel_group() -> None:
    rows = vectors("channels.json")
    assert len(rows) == 15  # type: ignore[arg-type]
    told = {
        (row["source"], row["medium"], row["campaign"]): (
            channel_group(row["source"], row["medium"], row["campaign"]),
            row["expected_channel"].lower().replace(" ", "_"),
        )
        for row in rows  # type: ignore[attr-defined]
    }
    assert told.pop(WRONG) == ("organic_shopping", "paid_shopping")
    assert [row for row, (found, expected) in told.items() if found != expected] == []


@pytest.mark.parametrize(
    ("source", "medium", "campaign", "group"),
    [
        ("(direct)", "(none)", "", "direct"),
        ("google", "organic", "", "organic_search"),
        ("GOOGLE", "CPC", "", "paid_search"),
        ("www.google.de", "cpc", "", "paid_search"),
        ("linkedin", "cpc", "", "paid_social"),
        ("m.facebook.com", "referral", "", "organic_social"),
        ("youtube", "", "", "organic_video"),
        ("youtube", "paid", "", "paid_video"),
        ("amazon.co.uk", "cpc", "", "paid_shopping"),
        ("google", "cpc", "shopping-spring", "paid_shopping"),
        # A workshop is no shop, an e-shop is: of the letters, Google's pattern has e alone before it.
        ("newsletter", "email", "workshop", "email"),
        ("newsletter", "email", "eshop", "organic_shopping"),
        ("google", "cpc", "cross-network", "cross_network"),
        ("partner", "display", "", "display"),
        ("partner", "cpm", "", "display"),
        ("google", "cpm", "", "paid_search"),
        ("partner", "referral", "", "referral"),
        ("newsletter", "e-mail", "", "email"),
        ("email", "", "", "email"),
        ("partner", "affiliate", "", "affiliates"),
        ("app", "web-push", "", "mobile_push_notifications"),
        # A medium that names its channel is believed where nobody knows the source.
        ("partner", "paid_social", "", "paid_social"),
        ("", "", "spring", "unassigned"),
        ("", "", "", "direct"),
    ],
)
def test_a_visit_is_of_the_group_google_puts_it_in(
    source: str, medium: str, campaign: str, group: str
) -> None:
    assert channel_group(source, medium, campaign) == group


VISITS = [
    ((None, None, None, None, None), None),
    ((None, None, None, None, "https://acme.com/"), None),
    ((None, None, None, "https://www.google.com/search?q=acme", "https://acme.com/"), "organic_search"),
    ((None, None, None, "https://www.linkedin.com/feed", "https://acme.com/"), "organic_social"),
    ((None, None, None, "https://mail.google.com/mail/u/0", "https://acme.com/"), "email"),
    ((None, None, None, "https://chatgpt.com/c/1", "https://acme.com/"), "referral"),
    # A service of a search engine is no search.
    ((None, None, None, "https://support.google.com/", "https://acme.com/"), "referral"),
    ((None, None, None, "https://partner.example/", "https://acme.com/"), "referral"),
    # From one page of the site to the next.
    ((None, None, None, "https://www.acme.com/a", "https://shop.acme.com/b"), None),
    ((None, None, None, "not a page", "https://acme.com/"), None),
    (("google", "cpc", None, "https://partner.example/", "https://acme.com/"), "paid_search"),
    ((None, None, None, "https://partner.example/", "https://acme.com/?utm_source=bing&utm_medium=cpc"), "paid_search"),
    (("news\x1fletter", "email", None, None, None), "email"),
]  # fmt: skip


@pytest.mark.parametrize(("visit", "channel"), VISITS)
def test_a_visit_comes_by_its_parameters_or_its_referrer(
    visit: tuple[str | None, ...], channel: str | None
) -> None:
    assert visit_channel(*visit) == channel


def test_visits_in_bulk_have_the_channels_each_has_alone() -> None:
    columns = [pa.array(values, pa.string()) for values in zip(*(visit for visit, _ in VISITS), strict=True)]  # fmt: skip
    assert visit_channels(*columns).to_pylist() == [channel for _, channel in VISITS]
    chunked = [pa.chunked_array([column[:4], column[4:]]) for column in columns]
    assert visit_channels(*chunked).to_pylist() == [channel for _, channel in VISITS]
    assert visit_channels(*(column[:0] for column in columns)).to_pylist() == []


def test_a_source_is_a_site_by_name_or_host() -> None:
    assert source_category("Google") == source_category("google.co.uk") == "search"
    assert source_category("t.co") == source_category("twitter") == "social"
    assert source_category("www.amazon.de") == "shopping"
    assert source_category("newsletter") is None
    assert source_category("acme.com") is None
