"""Claims about names of countries: a telephone number is read in the country its record states, however it is written."""

from __future__ import annotations

import phonenumbers
import pyarrow as pa
import pytest

from ingestion.normalize.countries import country_code, country_codes


@pytest.mark.parametrize(
    ("named", "code"),
    [
        ("DE", "DE"),
        (" de ", "DE"),
        ("DEU", "DE"),
        ("276", "DE"),
        ("Germany", "DE"),
        ("Deutschland", "DE"),
        ("Allemagne", "DE"),
        ("U.S.A.", "US"),
        ("the United States", "US"),
        ("United States of America", "US"),
        ("UK", "GB"),
        ("England", "GB"),
        ("The Netherlands", "NL"),
        ("Österreich", "AT"),
        ("日本", "JP"),
        # Two countries, and one that is no more.
        ("Kongo", None),
        ("SUN", None),
        ("Atlantis", None),
        ("n/a", None),
        ("", None),
        (None, None),
    ],
)
def test_a_country_has_one_code(named: str | None, code: str | None) -> None:
    assert country_code(named) == code
    assert country_codes(pa.array([named, named], pa.string())).to_pylist() == [code] * 2


def test_every_country_that_has_telephones_has_its_code() -> None:
    assert {country_code(code.lower()) for code in phonenumbers.SUPPORTED_REGIONS} == set(
        phonenumbers.SUPPORTED_REGIONS
    )
