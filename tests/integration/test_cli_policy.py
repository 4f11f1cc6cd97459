"""`handoff policy check`: what can be used, what cannot and where, and which rules nobody has met."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from models.policies.load import copy_policies
from orchestration.explain import _cuts


def edited(folder: Path, old: str, new: str) -> int:
    """Edit scoring v1; the line of what was edited."""
    file = folder / "scoring" / "v1.yml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    return text[: text.index(old)].count("\n") + 1


def test_the_policies_in_use_are_listed_with_the_rules_nobody_has_met(company: Any) -> None:
    said = company.handoff("policy", "check")
    assert said.code == 0, said.err
    assert re.search(r"^scoring +v1 +decides", said.out, re.MULTILINE)
    told = company.handoff("policy", "check", "--json").json
    met = {rule for (rule,) in company.rows("select distinct rule_id from marts.fct_score_ledger")}
    assert told["people"] > 0 and "competitor" in met
    assert {row["rule_id"] for row in told["unmet"]}.isdisjoint(met)


def test_every_fault_has_its_line_and_what_to_do(empty: Any, tmp_path: Path) -> None:
    folder = copy_policies(tmp_path / "policies")
    line = edited(folder, "mql_threshold: 60", "mql_threshold: 30")
    said = empty.handoff("policy", "check", str(folder))
    assert said.code == 4
    assert f"scoring/v1.yml:{line + 3}: rearm_below 40 is not below mql_threshold 30" in said.err
    assert "Set it lower" in said.err
    assert not empty.home.exists() or not any(empty.home.rglob("*.duckdb"))


def test_a_version_that_decided_may_not_say_something_else(company: Any, tmp_path: Path) -> None:
    folder = copy_policies(tmp_path / "policies")
    edited(folder, "mql_threshold: 60", "mql_threshold: 61")
    said = company.handoff("policy", "check", str(folder))
    assert said.code == 4
    assert "POLICY_FROZEN" in said.err and "v2.yml" in said.err


def test_caps_over_several_rules_are_told_as_what_they_take() -> None:
    def row(points: float, group: str | None, cap: float | None) -> dict[str, Any]:
        return {"points": points, "group_id": group, "group_cap": cap, "total_cap": 40.0}

    rows = [row(15, "looking", 20), row(9, "looking", 20), row(30, None, None), row(-5, "bad", 3)]
    assert _cuts(rows) == [
        {"cap_of": "group bad", "cap": 3, "points": 2},
        {"cap_of": "group looking", "cap": 20, "points": -4},
        {"cap_of": "everything", "cap": 40.0, "points": -7},
    ]
    assert _cuts(rows[:2]) == [{"cap_of": "group looking", "cap": 20, "points": -4}]
    assert _cuts([]) == []
