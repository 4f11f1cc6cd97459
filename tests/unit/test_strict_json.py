"""What reading JSON from strangers costs: a body under the size limit must not hold up the others."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ingestion.edge.strict_json import read_items


@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param(
            "{" + ",".join(f'"k{n}":1' for n in (*range(100_000), 0)) + "}",
            "DUPLICATE_KEY",
            id="one of 100,000 keys twice",
        ),
        pytest.param(
            "{" + ",".join(f'"k{n}":1' for n in (*range(50_000), *range(50_000))) + "}",
            "DUPLICATE_KEY",
            id="50,000 keys twice",
        ),
        pytest.param(
            "[" + "[" * 900 + "0," * 400_000 + '{"a":1,"a":1}' + "]" * 901,
            "SCHEMA_INVALID",
            id="a wide value far down",
        ),
    ],
)
def test_a_megabyte_that_parsers_disagree_about_is_judged_within_a_second(
    body: str, code: str, cpu_cost: Any
) -> None:
    sent = body.encode()
    assert cpu_cost(lambda: read_items(sent)) < 1
    [item], _ = read_items(sent)
    assert item.violations[0].code == code
    assert len(item.violations) <= 100
    assert json.loads(item.raw) == item.value
