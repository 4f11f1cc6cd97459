"""`handoff train`: from what the warehouse knows to a probability with reasons for everybody, and back again the same."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ingestion.errors.catalog import HandoffError
from models.drift.distributions import compare
from models.policies.load import copy_policies, load_policies
from models.scoring.artefact import model_path, read_model
from orchestration.cli.app import app
from orchestration.drift_expectations import judge_shifts
from orchestration.drift_model import inputs_of_model
from orchestration.lead_model_versions import (
    lead_policies,
    model_versions,
    next_version,
    retraining_due,
    waiting_challenger,
)
from orchestration.lead_models import train_model
from orchestration.serving import open_serving, publish

START = datetime(2026, 1, 1, tzinfo=UTC)
AS_OF = datetime(2026, 6, 1, tzinfo=UTC)
PEOPLE = 500
SHARES = {"webinar": 0.6, "ads": 0.1, "event": 0.3}
OBJECTOR = "7"

POLICY = """
description: Acceptance within ten days.
owner: tests
effective_at: 2026-01-01T00:00:00Z
learn_from: {learn_from}
outcome: accepted
within_days: 10
imported_before: 2100-01-01T00:00:00Z
least_positives: {least}
segments: [source]
features:
  fields:
    - {{id: source, label: First source, field: original_source}}
    - {{id: plan, label: "Plan they're on", field: custom.plan}}
    - {{id: called_for, field: custom.call_seconds, type: number}}
  activities:
    - {{id: forms, label: Forms, activity_type: form_submit}}
"""


def events(
    warehouse: Any, *, shares: dict[str, float] = SHARES, first: int = 0, seed: int = 1
) -> Iterator[dict[str, Any]]:
    """People who ask for a demo the moment they are known; how long sales spoke with them is written down after."""
    rng = random.Random(seed)
    for number in range(first, first + PEOPLE):
        at = START + timedelta(hours=6 * number)
        source = rng.choice(list(shares))
        who = {"system": "web", "record_id": str(number)}
        stated = {
            "email": f"p{number}@firm{number}.example.com",
            "country": "DE",
            "job_title": "Head of IT",
        }
        custom = {"plan": rng.choice(["free", "pro"])}
        yield warehouse.event(
            "contact", {**who, **stated, "original_source": source, "custom": custom}, at
        )
        for place in range(rng.randrange(1, 3)):
            form = {
                "system": "web",
                "activity_id": f"{number}-{place}",
                "activity_type": "form_submit",
                "form_id": "contact_sales",
            }
            yield warehouse.event("activity", {**form, "contact_id": str(number)}, at)
        is_taken = rng.random() < shares[source]
        called = {
            **custom,
            "call_seconds": rng.randrange(400, 900) if is_taken else rng.randrange(10, 90),
        }
        yield warehouse.event("contact", {**who, "custom": called}, at + timedelta(days=3))
        if is_taken:
            change = {"system": "web", "contact_id": str(number), "from": "mql", "to": "accepted"}
            yield warehouse.event(
                "stage_change",
                change,
                at + timedelta(days=rng.choice([2, 12]) if rng.random() < 0.1 else 2),
            )
        elif number % 3 == 0:
            change = {"system": "web", "contact_id": str(number), "from": "mql", "to": "rejected"}
            yield warehouse.event("stage_change", change, at + timedelta(days=4))
        if number % 5 == 0:
            meeting = {
                "system": "web",
                "meeting_id": f"meeting-{number}",
                "contact_id": str(number),
                "status": "held" if number % 10 == 0 else "no_show",
                "starts_at": (at + timedelta(days=6)).isoformat(),
                "ends_at": (at + timedelta(days=6, hours=1)).isoformat(),
            }
            yield warehouse.event("meeting", meeting, at + timedelta(days=7))
    no = {
        "system": "web",
        "contact_id": OBJECTOR,
        "channel": "all",
        "purpose": "profiling",
        "lawful_basis": "consent",
        "status": "denied",
    }
    yield warehouse.event("consent", no, START + timedelta(days=1))


def policies_with(folder: Path, **told: Any) -> Path:
    copy_policies(folder)
    text = POLICY.format(**{"learn_from": "people", "least": 20, **told})
    (folder / "model" / "v1.yml").write_text(text)
    return folder


@pytest.fixture(scope="module")
def trained(open_warehouse: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A warehouse with half a year of leads, of which a model was learned, and everybody's probability."""
    warehouse = open_warehouse(
        policies=policies_with(tmp_path_factory.mktemp("model") / "policies")
    )
    warehouse.append(events(warehouse))
    warehouse.transform(AS_OF)
    assert warehouse.rows("select count(*) from marts.fct_lead_predictions") == [(0,)]
    assert model_versions(warehouse.settings, lead_policies(warehouse.settings))[0].model_id is None
    train_model(warehouse.settings, "v1", as_of=AS_OF)
    done = warehouse.transform(AS_OF + timedelta(minutes=1))
    assert not done.is_full_refresh, done.reason
    publish(warehouse.settings)
    return warehouse


def run_handoff(warehouse: Any, *arguments: str) -> Any:
    settings = warehouse.settings
    return CliRunner().invoke(
        app,
        list(arguments),
        env={"HANDOFF_HOME": str(settings.home), "HANDOFF_POLICIES": str(settings.policies)},
    )


def test_everybody_has_a_probability_with_its_reasons_but_who_objected(trained: Any) -> None:
    rows = trained.records("select * from marts.fct_lead_predictions order by person_id")
    assert len(rows) == PEOPLE - 1
    assert {row["is_champion"] for row in rows} == {True}
    by_source: dict[str, list[float]] = {}
    for row in rows:
        reasons = json.loads(row["reasons"])
        told = {reason["feature"]: reason for reason in reasons}
        by_source.setdefault(told["source"]["value"], []).append(row["probability"])
        assert [abs(reason["effect"]) for reason in reasons] == sorted(
            (abs(reason["effect"]) for reason in reasons), reverse=True
        )
        assert told["source"]["label"] == "First source"
    means = {source: sum(told) / len(told) for source, told in by_source.items()}
    for source, share in SHARES.items():
        assert means[source] == pytest.approx(share, abs=0.12)
    assert trained.rows(
        "select count(*) from marts.fct_scores as scores join marts.fct_lead_predictions as told using (person_id) "
        "where scores.conversion_probability is distinct from told.probability"
    ) == [(0,)]


def test_what_was_written_down_after_the_call_is_no_term_of_the_model(trained: Any) -> None:
    """The policy names it, and by today's values it tells success perfectly."""
    path = model_path(trained.settings.policies / "model" / "v1.yml")
    model = read_model(path)
    assert {term.feature for term in model.terms} == {"source", "plan", "forms"}
    assert "int_lead_models__examples" not in {
        name for (name,) in trained.rows("select table_name from duckdb_tables()")
    }
    assert model.snapshot.cases == PEOPLE - 1
    assert 20 < model.snapshot.positives < PEOPLE / 2


def test_mqls_are_told_by_what_was_known_then_and_what_became_of_them(trained: Any) -> None:
    rows = trained.records("select * from marts.fct_mql_outcomes")
    assert len(rows) >= PEOPLE - 1
    counts = {
        outcome: sum(row["outcome"] == outcome for row in rows)
        for outcome in ("success", "failure", "open")
    }
    assert counts["success"] > 100 and counts["failure"] > 100
    for row in rows:
        inside = (
            row["succeeded_at"] is not None
            and row["predicted_at"] <= row["succeeded_at"] <= row["decided_by"]
        )
        assert (row["outcome"] == "success") == inside


def test_a_no_is_told_from_silence_and_what_was_looked_at_is_kept(trained: Any) -> None:
    rows = trained.records(
        "select outcomes.*, records.record_key from marts.fct_mql_outcomes as outcomes "
        "inner join marts.entity_map as records on outcomes.person_id = records.person_id and records.is_current "
        "and records.record_type = 'contact'"
    )
    model = read_model(model_path(trained.settings.policies / "model" / "v1.yml"))
    refused = [row for row in rows if row["rejected_at"] is not None]
    assert {row["outcome"] for row in refused} == {"failure"}
    assert 50 < len(refused) == model.snapshot.rejected
    assert any(row["outcome"] == "failure" and row["rejected_at"] is None for row in rows)
    for row in rows:
        assert json.loads(row["features"]).keys() == {"source", "plan", "forms"}
        for reason in json.loads(row["reasons"]):
            assert str(json.loads(row["features"])[reason["feature"]]) == reason["value"]


@pytest.mark.parametrize(
    ("said", "cases", "positives"),
    [
        # Whoever was taken up in time, or refused; of the others nothing is known.
        ("outcome: accepted\nsilence: unknown", "taken or refused", "taken"),
        ("outcome: met", "all", "met"),
    ],
)
def test_silence_can_teach_nothing_and_meetings_can_be_what_is_learned(
    trained: Any, tmp_path: Path, said: str, cases: str, positives: str
) -> None:
    folder = policies_with(tmp_path / "policies")
    path = folder / "model" / "v1.yml"
    path.write_text(path.read_text().replace("outcome: accepted", said))
    model = read_model(model_path(trained.settings.policies / "model" / "v1.yml"))
    known = {
        "all": model.snapshot.cases,
        "taken": model.snapshot.positives,
        "taken or refused": model.snapshot.positives + model.snapshot.rejected,
        "met": len(range(0, PEOPLE, 10)),
    }
    learned: list[str] = []
    settings = trained.settings.model_copy(update={"policies": folder})
    # What there is to learn of chance meetings is nothing, and that is said as well.
    with contextlib.suppress(HandoffError):
        train_model(
            settings, "v1", as_version="v9", as_of=AS_OF, dry_run=True, progress=learned.append
        )
    assert f"{known[cases]} leads, {known[positives]} successes, 3 features" in learned


def test_a_rebuild_says_the_same(trained: Any) -> None:
    tables = ("fct_lead_predictions", "fct_mql_outcomes", "fct_scores")
    before = trained.snapshot("marts")
    as_of = trained.rows("select max(predicted_at) from marts.fct_lead_predictions")[0][0]
    assert trained.transform(as_of, full_refresh=True).is_full_refresh
    after = trained.snapshot("marts")
    for table in tables:
        assert after[f"marts.{table}"] == before[f"marts.{table}"], table


def test_the_same_log_and_instant_give_the_same_model(trained: Any) -> None:
    path = model_path(trained.settings.policies / "model" / "v1.yml")
    again = train_model(trained.settings, "v1", as_version="v9", as_of=AS_OF, dry_run=True)
    assert again.model == read_model(path)
    assert not again.path.exists()


def test_a_version_that_was_used_is_not_trained_again_but_a_copy_is_watched_beside_it(
    trained: Any,
) -> None:
    said = run_handoff(trained, "train")
    assert isinstance(said.exception, HandoffError)
    assert said.exception.code == "POLICY_FROZEN"
    with pytest.raises(HandoffError, match="was used and cannot be trained again") as error:
        train_model(trained.settings, "v1")
    assert "--as v2" in error.value.remedy
    assert next_version(lead_policies(trained.settings)) == "v2"
    train_model(trained.settings, "v1", as_version="v2", as_of=AS_OF + timedelta(days=1))
    assert waiting_challenger(lead_policies(trained.settings)) == "v2"
    rollout = trained.settings.policies / "rollout.yml"
    shipped = rollout.read_text()
    try:
        done = trained.transform(AS_OF + timedelta(minutes=2))
        assert not done.is_full_refresh
        assert trained.rows(
            "select model_version, is_champion, count(*) from marts.fct_lead_predictions group by all order by all"
        ) == [("v1", True, PEOPLE - 1), ("v2", False, PEOPLE - 1)]
        # One line names another, and one line takes it back; nothing is rebuilt for it.
        rollout.write_text(shipped.replace("model: v1", "model: v2"))
        done = trained.transform(AS_OF + timedelta(minutes=3))
        assert not done.is_full_refresh
        assert trained.rows(
            "select distinct model_version from marts.fct_lead_predictions where is_champion"
        ) == [("v2",)]
    finally:
        rollout.write_text(shipped)
        for path in (trained.settings.policies / "model").glob("v2.*"):
            path.unlink()
        trained.rows("delete from ops.policies_used where kind = 'model' and version = 'v2'")
        trained.transform(AS_OF + timedelta(minutes=4))


def test_a_model_of_another_policy_is_refused_by_file(trained: Any, tmp_path: Path) -> None:
    folder = tmp_path / "policies"
    shutil.copytree(trained.settings.policies, folder)
    policy = folder / "model" / "v1.yml"
    policy.write_text(policy.read_text().replace("within_days: 10", "within_days: 20"))
    with pytest.raises(
        HandoffError, match=r"model/v1\.model\.json: was trained for something else"
    ):
        load_policies(folder)


def test_it_says_when_what_happens_is_not_what_it_expects(trained: Any) -> None:
    """Sales takes up hardly anybody any more; a few leads would not tell."""
    assert retraining_due(trained.settings, lead_policies(trained.settings)) is None
    few = events(trained, shares=dict.fromkeys(SHARES, 0.02), first=PEOPLE, seed=2)
    trained.append(few)
    trained.transform(AS_OF + timedelta(days=150))
    publish(trained.settings)
    due = retraining_due(trained.settings, lead_policies(trained.settings))
    assert due is not None
    assert "it expected" in due
    said = run_handoff(trained, "models")
    assert said.exit_code == 0
    assert "counts" in said.output and "predicted" in said.output


def test_leads_unlike_those_it_learned_from_are_seen(trained: Any, tmp_path: Path) -> None:
    """All come from the webinar now; what else the model looks at is as it was."""
    home = tmp_path / "home"
    shutil.copytree(trained.settings.home, home)
    policies = policies_with(tmp_path / "policies", learn_from="mqls")
    other = type(trained)(trained.settings.model_copy(update={"home": home, "policies": policies}))
    other.rows("delete from ops.policies_used where kind = 'model'")
    train_model(other.settings, "v1", as_of=AS_OF)
    first = 2 * PEOPLE
    other.append(events(other, shares={"webinar": 0.6}, first=first, seed=4))
    as_of = START + timedelta(hours=6 * (first + PEOPLE))
    other.transform(as_of)
    publish(other.settings)
    told = {}
    for since in (as_of - timedelta(days=40), as_of):
        with contextlib.closing(open_serving(other.settings)) as serving:
            samples = inputs_of_model(serving, lead_policies(other.settings), since, as_of)
        told[since] = {shift.subject: shift for shift in compare(samples)}
    seen, nobody = told.values()
    assert seen.keys() == {
        "probability",
        "feature: First source",
        "feature: Plan they're on",
        "feature: Forms",
    }
    assert {name for name, shift in seen.items() if shift.beyond_chance > 0.25} == {
        "probability",
        "feature: First source",
    }
    assert {name for name, shift in seen.items() if shift.is_significant} == {
        "probability",
        "feature: First source",
    }
    assert "now 100.0%" in seen["feature: First source"].evidence
    assert not judge_shifts(list(seen.values()), "marts.fct_mql_outcomes").success
    assert all(shift.p_value is None for shift in nobody.values())
    assert judge_shifts(list(nobody.values()), "marts.fct_mql_outcomes").success


def test_with_too_little_nothing_is_written_and_the_rules_decide(
    open_warehouse: Callable[..., Any], tmp_path: Path, trained: Any
) -> None:
    home = tmp_path / "home"
    shutil.copytree(trained.settings.home, home)
    policies = policies_with(tmp_path / "policies", least=400)
    settings = trained.settings.model_copy(update={"home": home, "policies": policies})
    other = type(trained)(settings)
    other.rows("delete from ops.policies_used where kind = 'model'")
    said = run_handoff(other, "train", "--json")
    assert isinstance(said.exception, HandoffError)
    assert said.exception.code == "MODEL_TOO_LITTLE_DATA"
    assert said.exception.entry.exit_code == 1
    assert "The rules decide alone" in said.exception.message
    assert not model_path(policies / "model" / "v1.yml").exists()
    said = run_handoff(other, "models")
    assert "not trained: the rules decide alone" in said.output
