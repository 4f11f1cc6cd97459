"""`handoff explain`: whoever is asked about is found, and what is shown adds up."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def person(company: Any) -> dict[str, Any]:
    """An MQL that was pushed: its id, address, and score as the marts have them."""
    [(person_id, email, score, as_of, reached_at)] = company.rows(
        "select people.person_id, people.email, scores.total_score, scores.scored_at, mqls.reached_at "
        "from marts.fct_mqls as mqls join marts.dim_people as people using (person_id) "
        "join marts.fct_scores as scores using (person_id) join marts.fct_pushes as pushes using (person_id) "
        "where people.email is not null and scores.scoring_version = mqls.scoring_version and pushes.object = 'Lead' "
        "order by mqls.reached_at desc, person_id limit 1"
    )
    return {
        "person_id": person_id,
        "email": email,
        "score": score,
        "as_of": as_of,
        "reached_at": reached_at,
    }


def test_a_person_is_found_by_any_spelling_of_the_address_and_by_id(
    company: Any, person: dict[str, Any]
) -> None:
    email = person["email"]
    for who in (
        email,
        email.upper(),
        f"  {email.title()} ",
        person["person_id"],
        person["person_id"].upper(),
    ):
        said = company.handoff("explain", who, "--json")
        assert said.code == 0, said.err
        assert said.json["person"]["person_id"] == person["person_id"]


def test_the_points_shown_sum_to_the_score_of_the_marts(
    company: Any, person: dict[str, Any]
) -> None:
    told = company.handoff(
        "explain", person["email"], "--as-of", person["as_of"].isoformat(), "--json"
    ).json
    shown = [row["points"] for row in (*told["contributions"], *told["cuts"])]
    assert sum(shown) == pytest.approx(told["score"])
    assert told["score"] == pytest.approx(float(person["score"]), abs=0.01)


def test_an_earlier_instant_gives_the_score_of_then_and_nothing_that_came_later(
    company: Any, person: dict[str, Any]
) -> None:
    [(reached_at, score)] = company.rows(
        "select reached_at, score from marts.fct_mqls where person_id = ? order by reached_at limit 1",
        person["person_id"],
    )
    then = company.handoff(
        "explain", person["email"], "--as-of", reached_at.isoformat(), "--json"
    ).json
    assert then["score"] == pytest.approx(float(score), abs=0.01)
    assert [row["mql_id"] for row in then["mqls"]]
    before = company.handoff(
        "explain", person["email"], "--as-of", "2000-01-01T00:00Z", "--json"
    ).json
    assert before["score"] == 0
    for later in ("contributions", "mqls", "assignments", "consents", "pushes"):
        assert before[later] == [], later


def test_the_screen_shows_each_answer_under_its_question(
    company: Any, person: dict[str, Any]
) -> None:
    as_of = person["as_of"].isoformat()
    said = company.handoff("explain", person["email"], "--as-of", as_of)
    for question in (
        "Who:",
        "Why this score:",
        "Why this owner",
        "Consent",
        "What the CRM was told",
    ):
        assert question in said.out
    told = company.handoff("explain", person["email"], "--as-of", as_of, "--json").json
    assert f"Why this score: {told['score']:.1f} points" in said.out
    for row in told["contributions"]:
        assert f"{row['label']} ({row['rule_id']}@{row['scoring_version']})" in said.out
    assert told["assignments"][0]["rep_name"] in said.out
    assert "confirmed" in said.out


def test_somebody_unknown_is_said_to_be_unknown(company: Any) -> None:
    said = company.handoff("explain", "nobody@nowhere.example")
    assert said.code == 2
    assert "nobody is known as 'nobody@nowhere.example'" in said.err
    assert "handoff query" in said.err
    assert company.handoff("explain", "%", "--json").json["error"]["code"] == "NOT_FOUND"
    assert company.handoff("explain", "").code == 2
