"""`handoff route`: every decision with its path and its others, leads that are not there, and the page."""

from __future__ import annotations

import json
from typing import Any


def test_a_decision_is_shown_rule_by_rule_with_what_would_have_to_change(company: Any) -> None:
    [(person_id, email, rep)] = company.rows(
        "select people.person_id, people.email, reps.name from marts.fct_assignments as assignments "
        "join marts.dim_people as people using (person_id) join marts.dim_reps as reps using (rep_id) "
        "where people.email is not null and cause = 'pool' and passed_over <> '[]' order by assigned_at, 1 limit 1"
    )
    said = company.handoff("route", "explain", email)
    assert said.code == 0, said.err
    assert rep in said.out and "by weight: turn" in said.out and "first touch due" in said.out
    assert "not in turn: theirs is" in said.out or "room from" in said.out
    told = company.handoff("route", "explain", email, "--json").json
    assert told["person_id"] == person_id
    [decision] = told["decisions"]
    assert decision["rep_name"] == rep and decision["outcome"] in (
        "met",
        "late",
        "missed",
        "running",
    )
    assert all(each["words"] and each["name"] for each in decision["passed_over"])


def test_whoever_is_no_lead_is_told_so(company: Any) -> None:
    [(email,)] = company.rows(
        "select email from marts.dim_people where email is not null and person_id not in "
        "(select person_id from marts.fct_mqls) order by email limit 1"
    )
    assert "is no lead" in company.handoff("route", "explain", email).out
    assert company.handoff("route", "explain", "nobody@nowhere.example").code != 0


def test_a_lead_that_is_not_there_is_routed_from_where_the_pools_stand(company: Any) -> None:
    shares = "select pool, had_turns, turn_count from marts.fct_pool_shares order by all"
    before = company.rows(shares)
    told = company.handoff("route", "simulate", "--country", "US", "--count", "700", "--json").json
    assert len(told["decisions"]) == 700
    names = dict(company.rows("select rep_id, name from marts.dim_reps"))
    weights = dict(
        company.rows(
            "select rep_id, weight from marts.dim_reps where territories = '[\"americas\"]'"
        )
    )
    had = {rep_id: 0 for rep_id in weights}
    for each in told["decisions"]:
        assert each["territory"] == "americas"
        had[each["rep_id"]] += 1
    for rep_id, weight in weights.items():
        share = 700 * weight / sum(weights.values())
        # Each has room for a day's leads first, and then all have.
        assert abs(had[rep_id] - share) <= 12, names[rep_id]
    assert company.rows(shares) == before

    [(domain, owner)] = company.rows(
        "select domain, reps.name from marts.dim_accounts join marts.dim_reps as reps on owner_rep_id = rep_id "
        "where domain is not null and not is_deleted order by domain limit 1"
    )
    said = company.handoff("route", "simulate", "--account", domain, "--grade", "A")
    assert said.out.startswith(f"{owner}  (account_owner") and "(15 minutes)" in said.out
    refused = company.handoff("route", "simulate", "--country", "DE", "--policy", "v9")
    assert refused.code != 0 and "v9" in refused.err
    assert company.handoff("route", "simulate", "--account", "nobody.example").code != 0


def test_the_dashboard_adds_up_to_the_decisions(company: Any) -> None:
    told = company.handoff("route", "dashboard", "--days", "3650", "--json").json
    [(leads,)] = company.rows("select count(*) from marts.fct_assignments where rep_id is not null")
    assert sum(row["leads"] for row in told["reps"]) == leads
    assert told["furthest_off"] <= 2
    page = (company.home / "artifacts" / "routing.html").read_text()
    for row in told["reps"]:
        assert row["name"] in page
    assert "<svg" in page and "http-equiv" not in page and json.dumps(told["since"])
