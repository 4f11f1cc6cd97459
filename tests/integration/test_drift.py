"""`handoff drift`: what is counted is what there was, and a change of policy is told from a change of people by a replay."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from models.policies.load import copy_policies
from orchestration.cli.app import app
from orchestration.drift import find_drift
from orchestration.drift_expectations import judge_calibration, judge_causes, judge_shifts
from orchestration.drift_page import verdict, write_page
from orchestration.drift_windows import HORIZON_DAYS, scores_and_rules
from orchestration.lead_model_versions import Live
from orchestration.serving import open_serving, publish

START = datetime(2026, 3, 2, tzinfo=UTC)
DAYS = 14
AS_OF = START + timedelta(days=2 * DAYS + HORIZON_DAYS)
EACH_DAY = 12


@pytest.fixture(scope="module")
def company(open_warehouse: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Twelve people a day, of whom every third has a second record; every fourth asks for sales, and every other fourth reads an e-book and asks
    for a demo, which is not enough."""
    folder = tmp_path_factory.mktemp("drifting") / "policies"
    copy_policies(folder)
    text = (folder / "scoring" / "v1.yml").read_text()
    assert "mql_threshold: 60" in text
    (folder / "scoring" / "v2.yml").write_text(
        text.replace("mql_threshold: 60", "mql_threshold: 50")
    )
    warehouse = open_warehouse(policies=folder)
    rng, made = random.Random(3), []
    for day in range(2 * DAYS):
        for number in range(EACH_DAY):
            who, at = f"{day}-{number}", START + timedelta(days=day, hours=1 + number)
            source = rng.choice(["ads", "events", "organic"])
            stated = {
                "email": f"p{who}@firm{who}.example.com",
                "country": "DE",
                "job_title": "Head of IT",
                "original_source": source,
            }
            made.append(
                warehouse.event("contact", {"system": "web", "record_id": who, **stated}, at)
            )
            if number % 3 == 0:
                again = {"system": "web", "record_id": f"{who}-again", "email": stated["email"]}
                made.append(warehouse.event("contact", again, at + timedelta(minutes=30)))
            forms = {0: ["contact_sales"], 1: ["demo_request"]}.get(number % 4, [])
            for form_id in forms:
                did = {
                    "system": "web",
                    "contact_id": who,
                    "activity_id": f"{who}-{form_id}",
                    "activity_type": "form_submit",
                    "form_id": form_id,
                }
                made.append(warehouse.event("activity", did, at + timedelta(hours=2)))
    warehouse.append(made)
    warehouse.transform(AS_OF)
    publish(warehouse.settings)
    return warehouse


def test_what_is_counted_is_what_there_was(company: Any) -> None:
    found = find_drift(company.settings, days=DAYS, as_of=AS_OF)
    for window in (found.before, found.now):
        assert window.people == EACH_DAY * DAYS
        assert window.joined == EACH_DAY * DAYS // 3
        assert window.records == window.people + window.joined
        assert window.daily_records == (EACH_DAY + EACH_DAY // 3,) * DAYS
        assert window.mql_count == EACH_DAY * DAYS // 4
        assert set(window.leads) == {"ads", "events", "organic"}
    assert found.since == START + timedelta(days=DAYS)
    assert found.diagnosis.first is None
    assert verdict(found) == "Nothing is more than chance."


def test_what_people_score_at_an_age_is_what_they_scored_then(company: Any) -> None:
    """Against the score table of a warehouse that stands at that instant, for people who were all first seen together."""
    with contextlib.closing(open_serving(company.settings)) as serving:
        first = START + timedelta(hours=1)
        [engagement, fit, total, *rules] = scores_and_rules(
            serving, START, first, first + timedelta(minutes=1)
        )
    company.transform(first + timedelta(days=HORIZON_DAYS), full_refresh=True)
    told = company.rows(
        "select engagement_score, fit_score, total_score from marts.fct_scores inner join marts.dim_people using (person_id) "
        f"where first_seen_at = '{first}' order by all"
    )
    met = company.rows(
        "select label, count(distinct person_id) from marts.fct_score_ledger inner join marts.dim_people using (person_id) "
        f"where first_seen_at = '{first}' and occurred_at <= '{first + timedelta(days=HORIZON_DAYS)}' group by label"
    )
    company.transform(AS_OF, full_refresh=True)
    assert len(told) == 1 and told[0][2] > 0
    assert [sample.now[0] for sample in (engagement, fit, total)] == pytest.approx(
        told[0], abs=2e-6
    )
    assert {sample.subject: sample.now["met by"] for sample in rules} == {
        f"rule: {label}": count for label, count in met
    }


def test_a_field_that_comes_no_more_is_named_and_what_it_moved_is_shown(
    company: Any, tmp_path: Path
) -> None:
    """From the second window on sales' form says no more what somebody does, so that asking for sales is not enough."""
    home = tmp_path / "home"
    shutil.copytree(company.settings.home, home)
    other = type(company)(company.settings.model_copy(update={"home": home}))
    emptied = [
        other.event("contact", {"system": "web", "record_id": f"{day}-{number}", "job_title": None, "country": None}, START + timedelta(days=day, hours=1 + number, minutes=1))
        for day in range(DAYS, 2 * DAYS) for number in range(EACH_DAY)
    ]  # fmt: skip
    other.append(emptied)
    other.transform(AS_OF + timedelta(minutes=1))
    publish(other.settings)
    found = find_drift(other.settings, days=DAYS, as_of=AS_OF, with_replay=False)
    assert found.now.mql_count == 0 < found.before.mql_count
    assert found.diagnosis.first == "schema"
    parts = {part.cause: part for part in found.diagnosis.parts}
    assert (
        "'job_title' was known of 100.0% of people of these sources, and is of 0.0%"
        in parts["schema"].evidence
    )
    assert parts["schema"].mqls == pytest.approx(-found.before.mql_count, rel=0.1)
    assert "fit score" in {shift.subject for shift in found.moved}
    assert "engagement score" not in {shift.subject for shift in found.moved}
    causes = judge_causes(found.diagnosis, "marts.fct_mqls")
    assert not causes.success
    assert not judge_shifts(found.people, "marts.fct_scores").success
    page = tmp_path / "drift.html"
    write_page(page, found)
    assert "fit score" in page.read_text() and "job_title" in page.read_text()


def test_nothing_is_judged_as_moved_while_nothing_has(company: Any) -> None:
    found = find_drift(company.settings, days=DAYS, as_of=AS_OF)
    assert found.moved == ()
    assert len(found.people) > 5 and found.model == ()
    for result in (
        judge_causes(found.diagnosis, "marts.fct_mqls"),
        judge_shifts(found.people, "marts.fct_scores"),
        judge_shifts((), "marts.fct_mql_outcomes"),
        judge_calibration(None, "marts.fct_mql_outcomes"),
    ):
        assert result.success and not result.warnings, result.suite
    # And a model that expects twice what happens is.
    live = Live(cases=200, positives=20, predicted=0.2, actual=0.1, low=0.066, high=0.149, auc=None)
    told = judge_calibration(live, "marts.fct_mql_outcomes")
    assert told.success
    assert [warning.message for warning in told.warnings] == [
        "actual_high is not less than expected: broken by 1 of 1 rows"
    ]


def test_another_version_is_named_and_its_part_is_exact(company: Any) -> None:
    """Everybody who asks for a demo is an MQL by the new version: in both windows, so the count alone shows nothing."""
    rollout = company.settings.policies / "rollout.yml"
    rollout.write_text(rollout.read_text().replace("scoring: v1", "scoring: v2"))
    company.transform(AS_OF)
    # As if it had come into use in the current window.
    company.rows(
        f"update ops.policies_used set first_used_at = '{START + timedelta(days=1)}' where version = 'v1'"
    )
    company.rows(
        f"update ops.policies_used set first_used_at = '{START + timedelta(days=DAYS + 2)}' where version = 'v2'"
    )
    publish(company.settings)
    said = CliRunner().invoke(
        app,
        ["drift", "--days", str(DAYS), "--as-of", AS_OF.isoformat(), "--json"],
        env={"HANDOFF_HOME": str(company.settings.home), "HANDOFF_POLICIES": str(company.settings.policies)},
    )  # fmt: skip
    assert said.exit_code == 1, said.output
    told = json.loads(said.stdout)
    assert told["diagnosis"]["first"] == "rule version"
    parts = {part["cause"]: part for part in told["diagnosis"]["parts"]}
    assert parts["rule version"]["mqls"] == EACH_DAY * DAYS // 4
    assert "scoring v1 → v2" in parts["rule version"]["evidence"]
    assert sum(part["mqls"] for part in parts.values()) == pytest.approx(
        told["diagnosis"]["now"] - told["diagnosis"]["before"]
    )
    without = find_drift(company.settings, days=DAYS, as_of=AS_OF, with_replay=False)
    assert without.diagnosis.first is None
