"""Claims about domains: what was registered and who may have a mailbox there."""

from __future__ import annotations

import idna
import pyarrow as pa
import pytest

from ingestion.normalize.domains import (
    domain_kind,
    domain_kinds,
    registrable_domain,
    registrable_domains,
)
from tests.unit.test_normalize import vectors


def in_ascii(name: str | None) -> str | None:
    return name and idna.encode(name, uts46=True).decode("ascii")


def test_every_published_suffix_is_told_from_what_was_registered() -> None:
    """The list of vectors spells its answer as its question; ours is always in ASCII, as one domain must be one key."""
    rows = vectors("public_suffix.json")
    assert len(rows) == 41  # type: ignore[arg-type]
    wrong = {
        spelled: (registrable_domain(spelled), expected)
        for spelled, expected in rows  # type: ignore[attr-defined]
        if registrable_domain(spelled) != in_ascii(expected)
    }
    assert wrong == {}


@pytest.mark.parametrize(
    ("spelled", "registered"),
    [
        ("https://www.Acme.co.uk:8443/about?a=b@c.d#x", "acme.co.uk"),
        ("//cdn.acme.com/", None),
        ("ada@mail.acme.com", "acme.com"),
        ("acme.com.", "acme.com"),
        (" acme.com ", "acme.com"),
        ("acme.com/", "acme.com"),
        ("MÜNCHEN.de", "xn--mnchen-3ya.de"),
        ("acme.github.io", "acme.github.io"),
        ("192.168.0.1", None),
        ("http://192.168.0.1:80/", None),
        ("[2001:db8::1]", None),
        ("2001:db8::1", None),
        ("co.uk", None),
        ("localhost", None),
        ("n/a", None),
        ("not a domain", None),
        ("a..b.com", None),
        ("-acme.com", None),
        ("acme_inc.com", None),
        ("x" * 64 + ".com", None),
        ("", None),
        (None, None),
    ],
)
def test_a_domain_is_what_was_registered_or_nothing(
    spelled: str | None, registered: str | None
) -> None:
    assert registrable_domain(spelled) == registered


@pytest.mark.parametrize(
    ("spelled", "kind"),
    [
        ("acme.com", "business"),
        ("mail.acme.co.uk", "business"),
        ("GMAIL.com", "free"),
        ("googlemail.com", "free"),
        ("tuta.com", "free"),
        ("vip.yahoo.co.uk", "free"),
        # On both lists: throwaway decides.
        ("mailinator.com", "disposable"),
        ("anything.mailinator.com", "disposable"),
        # A company is no mailbox of its documents' or its subdomains' guests.
        ("google.com", "business"),
        ("co.uk", None),
        ("10.0.0.1", None),
        ("", None),
        (None, None),
    ],
)
def test_a_domain_is_of_one_kind(spelled: str | None, kind: str | None) -> None:
    assert domain_kind(spelled) == kind


def test_a_column_has_the_answers_each_value_has_alone() -> None:
    spelled = ["acme.com", None, "gmail.com", "acme.com", "", "x.mailinator.com", "1.1.1.1"]
    for values in (
        pa.array(spelled, pa.string()),
        pa.chunked_array([spelled[:2], spelled[2:]], pa.string()),
        pa.array([], pa.string()),
    ):
        texts = values.to_pylist()
        assert registrable_domains(values).to_pylist() == [registrable_domain(t) for t in texts]
        assert domain_kinds(values).to_pylist() == [domain_kind(t) for t in texts]
