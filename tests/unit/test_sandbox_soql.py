"""The simulated Salesforce runs the SOQL connectors send and refuses the rest in its codes."""

from __future__ import annotations

from typing import Any

import pytest

from ingestion.sandbox.identifiers import extended_id, salesforce_id
from ingestion.sandbox.soql import SoqlError, parse, run

ROWS: list[dict[str, Any]] = [
    {
        "Id": salesforce_id("Lead", number),
        "LastName": name,
        "Handoff_Score__c": score,
        "IsConverted": converted,
        "SystemModstamp": f"2026-11-{day:02d}T10:00:00.000+0000",
    }
    for number, (name, score, converted, day) in enumerate(
        [
            ("Müller", 70.0, False, 1),
            ("O'Connor", None, True, 2),
            ("doyle", 12.5, False, 2),
            ("Doyle", 90.0, False, 4),
        ]
    )
]


def names(soql: str) -> list[str]:
    return [str(row["LastName"]) for row in run(parse(soql), ROWS)]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("LastName = 'DOYLE'", ["doyle", "Doyle"]),
        (r"LastName = 'O\'Connor'", ["O'Connor"]),
        ("LastName IN ('Müller', 'Doyle')", ["Müller", "doyle", "Doyle"]),
        ("LastName NOT IN ('Müller', 'Doyle')", ["O'Connor"]),
        ("LastName LIKE 'doy%'", ["doyle", "Doyle"]),
        ("Handoff_Score__c = null", ["O'Connor"]),
        ("Handoff_Score__c != null AND Handoff_Score__c >= 70", ["Müller", "Doyle"]),
        ("Handoff_Score__c != 70", ["O'Connor", "doyle", "Doyle"]),
        ("IsConverted = true", ["O'Connor"]),
        ("SystemModstamp >= 2026-11-02T10:00:00Z", ["O'Connor", "doyle", "Doyle"]),
        ("SystemModstamp > 2026-11-02T11:00:00.000+01:00", ["Doyle"]),
        ("SystemModstamp < 2026-11-02T10:00:00.000+0000", ["Müller"]),
        (
            "(LastName = 'Müller' OR LastName = 'Doyle') AND Handoff_Score__c > 50",
            ["Müller", "Doyle"],
        ),
        ("NOT (IsConverted = false)", ["O'Connor"]),
    ],
)
def test_a_condition_selects_what_it_says(where: str, expected: list[str]) -> None:
    assert names(f"SELECT Id, LastName FROM Lead WHERE {where}") == expected


def test_an_id_matches_in_its_15_character_form() -> None:
    short = ROWS[2]["Id"][:15]
    assert names(f"SELECT LastName FROM Lead WHERE Id = '{short}'") == ["doyle"]
    assert extended_id(short) == ROWS[2]["Id"]


def test_order_limit_and_offset_apply_in_that_sequence() -> None:
    assert names("select lastname from lead order by handoff_score__c desc nulls last limit 2") == [
        "Doyle",
        "Müller",
    ]
    assert names("SELECT LastName FROM Lead ORDER BY SystemModstamp DESC, Id LIMIT 2 OFFSET 1") == [
        "O'Connor",
        "doyle",
    ]
    assert names("SELECT LastName FROM Lead ORDER BY Handoff_Score__c")[0] == "O'Connor"


@pytest.mark.parametrize(
    ("soql", "code"),
    [
        ("SELECT Nope__c FROM Lead", "INVALID_FIELD"),
        ("SELECT Id FROM Lead WHERE Nope = 'x'", "INVALID_FIELD"),
        ("SELECT Owner.Email FROM Lead", "INVALID_FIELD"),
        ("SELECT Id FROM Lead WHERE SystemModstamp > '2026-11-02T10:00:00Z'", "INVALID_FIELD"),
        ("SELECT Id FROM Lead WHERE LastName = 5", "INVALID_FIELD"),
        ("SELECT Id FROM Visitor", "INVALID_TYPE"),
        ("SELECT FROM Lead", "MALFORMED_QUERY"),
        ("SELECT Id Lead", "MALFORMED_QUERY"),
        ("SELECT Id FROM Lead WHERE", "MALFORMED_QUERY"),
        ("SELECT Id FROM Lead WHERE LastName = 'open", "MALFORMED_QUERY"),
        ("SELECT Id FROM Lead WHERE LastName = 'a' AND Id = 'b' OR Id = 'c'", "MALFORMED_QUERY"),
        ("SELECT Id FROM Lead LIMIT 5 WHERE Id = 'x'", "MALFORMED_QUERY"),
        ("SELECT Id FROM Lead ORDER BY Id LIMIT 1 OFFSET 2001", "NUMBER_OUTSIDE_VALID_RANGE"),
    ],
)
def test_a_query_salesforce_would_refuse_is_refused_with_its_code(soql: str, code: str) -> None:
    with pytest.raises(SoqlError) as refusal:
        parse(soql)
    assert refusal.value.code == code
