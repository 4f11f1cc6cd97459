"""Addresses in bulk have the normal form each has alone, however they are spelled."""

from __future__ import annotations

import random

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from email_validator import SPECIAL_USE_DOMAIN_NAMES
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion.normalize import emails
from ingestion.normalize.emails import normalize_email, normalize_emails

# What makes an address plain or not, in any order.
PIECES = st.sampled_from(
    ["a", "B", "9", ".", "-", "--", "_", "+", "@", " ", "\t", "\u00a0", "\n", "\x00", "é", "İ", "ß", "com", "de", "xn--", "xn--mnchen-3ya", "co.uk",
     "x" * 63, "y" * 65, "'", '"', "(a)", "\u200b", "\uff11", *SPECIAL_USE_DOMAIN_NAMES]
)  # fmt: skip
NEAR = st.builds(
    lambda local, domain: "".join(local) + "@" + "".join(domain),
    st.lists(PIECES, min_size=1, max_size=5),
    st.lists(PIECES, min_size=1, max_size=6),
)
MATCHING = st.from_regex(emails.PLAIN_ADDRESS, fullmatch=True)
SPELLINGS = st.one_of(st.none(), st.text(max_size=12), NEAR, MATCHING, MATCHING.map(str.upper))


@settings(max_examples=300, deadline=None)
@given(st.lists(SPELLINGS, max_size=8))
def test_in_bulk_as_alone(spelled: list[str | None]) -> None:
    alone = [normalize_email(value) for value in spelled]
    values = pa.array(spelled, pa.string())
    assert normalize_emails(values).to_pylist() == alone
    assert (
        normalize_emails(pa.chunked_array([values[:3], values[3:]], pa.string())).to_pylist()
        == alone
    )


def test_a_pattern_that_lets_too_much_through_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emails, "PLAIN_ADDRESS", r"^[a-z0-9._-]+@[a-z0-9.-]+$")
    with pytest.raises(AssertionError):
        test_in_bulk_as_alone()


def test_nearly_every_address_of_a_company_is_plain() -> None:
    """Or the way through C++ saves nothing."""
    chance = random.Random(1)
    names = ["ada.lovelace", "a-b", "j_smith", "sales+eu", "x9"]
    usual = pa.array([f"{chance.choice(names)}@Example-{n}.co.uk" for n in range(100)])
    plain = pc.match_substring_regex(pc.ascii_lower(usual), emails.PLAIN_ADDRESS)
    assert pc.all(plain).as_py()
