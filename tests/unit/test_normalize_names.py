"""Claims about names of people and companies: what is one name in two spellings, and what is not."""

from __future__ import annotations

import csv
from itertools import combinations, product

import pyarrow as pa
import pytest

from ingestion.normalize import names
from ingestion.normalize.companies import company_key, company_keys
from ingestion.normalize.names import given_name_keys, given_names, name_key, name_keys
from tests.unit.test_normalize import VECTORS


@pytest.mark.parametrize(
    ("spelled", "key"),
    [
        ("Ada Lovelace", "ada lovelace"),
        ("  ADA   LOVELACE ", "ada lovelace"),
        ("Lovelace, Ada", "ada lovelace"),
        ("Dr. Ada Lovelace, PhD", "ada lovelace"),
        ("Frau Prof. Dr. Anna-Lena Müller", "anna lena muller"),
        ("Herr Hans Müller", "hans muller"),
        ("Monsieur Zoé Béart", "zoe beart"),
        ("Martin Luther King Jr.", "martin king"),
        ("William 'Bill' Gates III", "william gates"),
        ("Ludwig van Beethoven", "ludwig van beethoven"),
        ("Łukasz Żółć", "lukasz zolc"),
        ("O'Brien, Pat", "pat o brien"),
        ("Ada", "ada"),
        ("李小龙", "李小龙"),
        ("Dr.", "dr"),
        ("---", None),
        ("", None),
        (None, None),
    ],
)
def test_a_name_has_one_key(spelled: str | None, key: str | None) -> None:
    assert name_key(spelled) == key
    assert name_keys(pa.array([spelled, spelled], pa.string())).to_pylist() == [key] * 2


def test_plain_names_have_the_key_the_parser_gives() -> None:
    """The short way is taken for two words of letters, whatever they are."""
    from nameparser import HumanName

    words = ["Ada", "José", "Van", "Ma", "Dean", "Herr", "Lee", "Jr", "Von", "Der", "Sir", "MD"]
    for first, last in product(words, repeat=2):
        parsed = HumanName(f"{first} {last}", constants=names._constants())
        expected = names._bare(f"{parsed.first} {parsed.last}") or names._bare(f"{first} {last}")
        assert name_key(f"{first} {last}") == expected, (first, last)


def test_every_published_nickname_leads_to_its_formal_name() -> None:
    path = VECTORS / "nicknames.csv"
    if not path.exists():
        pytest.skip(f"{path} is absent: the published vectors are not part of this repository")
    with path.open(encoding="utf-8", newline="") as file:
        pairs = [(row["name1"], row["name2"]) for row in csv.DictReader(file)]
    assert len(pairs) == 2691
    wrong = [
        (formal, nickname)
        for formal, nickname in pairs
        if not set((given_name_keys(formal) or "").split("|"))
        & set((given_name_keys(nickname) or "").split("|"))
    ]
    assert wrong == []


def test_formal_names_of_strangers_are_disjoint() -> None:
    told = {
        name: set((given_name_keys(name) or "").split("|"))
        for name in ["Ada", "Hans", "Bill", "Susan", "Mohammed", "Liz"]
    }
    assert told["Bill"] >= {"bill", "william"}
    assert not [pair for pair in combinations(told, 2) if told[pair[0]] & told[pair[1]]]
    assert given_names(pa.array(["Bill", None])).to_pylist() == [given_name_keys("Bill"), None]


@pytest.mark.parametrize(
    ("spelled", "key"),
    [
        ("Acme GmbH", "acme"),
        ("ACME, Inc.", "acme"),
        ("Acme Limited (UK)", "acme"),
        ("Globex Pty. Ltd.", "globex"),
        ("Müller & Söhne GmbH & Co. KG", "muller and sohne"),
        ("Bayer Aktiengesellschaft", "bayer"),
        ("Société Générale S.A.", "societe generale"),
        ("Ørsted A/S", "orsted"),
        ("Foo Sp. z o.o.", "foo"),
        ("The Coca-Cola Company", "coca cola"),
        ("AT&T Inc.", "at and t"),
        # A legal form alone is a name.
        ("GmbH", "gmbh"),
        ("(Acme)", "acme"),
        ("株式会社トヨタ", "株式会社トヨタ"),
        ("---", None),
        ("", None),
        (None, None),
    ],
)
def test_a_company_has_one_key_whatever_its_legal_form(
    spelled: str | None, key: str | None
) -> None:
    assert company_key(spelled) == key
    assert company_keys(pa.array([spelled, spelled], pa.string())).to_pylist() == [key] * 2


def test_legal_forms_are_taken_off_as_cleanco_does() -> None:
    from cleanco import basename
    from cleanco.clean import remove_accents

    forms = [
        "GmbH",
        "Inc.",
        "LLC",
        "Ltd.",
        "S.A.",
        "B.V.",
        "Oy",
        "K.K.",
        "AG",
        "SpA",
        "Corp",
        "plc",
    ]
    for form in forms:
        expected = remove_accents(basename(f"Acme Werke {form}"))
        assert company_key(f"Acme Werke {form}") == expected == "acme werke", form
