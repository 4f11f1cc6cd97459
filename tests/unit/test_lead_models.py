"""Lead models by themselves: what is learned, chosen and refused, and that their SQL says what scikit-learn does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest

from ingestion.errors.catalog import HandoffError
from models.policies.lead_model import ModelPolicy
from models.scoring.artefact import (
    model_hash,
    model_text,
    read_model,
)
from models.scoring.card import card_page
from models.scoring.estimators import Calibrated, Sigmoid, candidates
from models.scoring.features import feature_columns
from models.scoring.metrics import auc, calibration, figures, segments, wilson
from models.scoring.training import Trained, train
from models.scoring.transpile import as_parts, difference_from_sql, scoring_sql


def policy(**told: Any) -> ModelPolicy:
    return ModelPolicy.model_validate(
        {
            "description": "A test.",
            "owner": "tests",
            "effective_at": "2026-01-01T00:00:00Z",
            "outcome": "accepted",
            "within_days": 30.0,
            "segments": ("source",),
            "features": {
                "fields": (
                    {"id": "source", "label": "It's a source", "field": "original_source"},
                    {"id": "size", "field": "employee_count", "type": "number"},
                    {"id": "age", "field": "custom.age", "type": "number"},
                ),
                "activities": ({"id": "forms", "activity_type": "form_submit"},),
            },
            **told,
        }
    )


def leads(seed: int, count: int = 1500, *, curved: bool = False) -> pd.DataFrame:
    """Leads whose success depends on source and size (`curved`: on size and age in a way no scorecard can say), with gaps."""
    random = np.random.default_rng(seed)
    source = random.choice(["ads", "webinar", "o'brien", "", "rare"], count, p=[0.4, 0.3, 0.2, 0.098, 0.002])  # fmt: skip
    size = np.where(random.random(count) < 0.2, np.nan, random.lognormal(4, 1, count).round())
    age = random.uniform(0, 10, count)
    forms = random.poisson(1, count).astype(float)
    filled = np.nan_to_num(size, nan=20)
    odds = -2.2 + 1.5 * (source == "webinar") + 0.5 * np.log1p(filled) / 2 + 0.4 * forms
    if curved:
        odds = -2 + 3.5 * ((age > 3) & (age < 6)) * (filled > 50) - 1.5 * (age > 8)
    is_positive = random.random(count) < 1 / (1 + np.exp(-odds))
    return pd.DataFrame(
        {
            "example_id": [f"lead{number:05}" for number in range(count)],
            "instant": pd.date_range("2026-01-01", periods=count, freq="h", tz="UTC"),
            "is_positive": is_positive,
            # Of one in ten sales says both, first no and then yes.
            "is_rejected": random.random(count) < np.where(is_positive, 0.1, 0.5),
            "source": source,
            "size": size,
            "age": age,
            "forms": forms,
        }
    )


def learned(examples: pd.DataFrame, told: ModelPolicy) -> Trained:
    return train(examples, told, feature_columns(told), as_of="2026-06-01T00:00:00+00:00")


@pytest.fixture(scope="module")
def scorecard() -> Trained:
    return learned(leads(1), policy())


@pytest.fixture(scope="module")
def trees() -> Trained:
    return learned(leads(2, curved=True), policy())


def test_the_scorecard_is_chosen_unless_the_trees_are_better(
    scorecard: Trained, trees: Trained
) -> None:
    assert scorecard.model.estimator == "logistic"
    assert "no worse, and simpler" in scorecard.model.chosen_because
    assert trees.model.estimator == "boosting"
    told = trees.model.validations
    assert told["boosting"].newest.auc > told["logistic"].newest.auc + 0.05


@pytest.mark.parametrize("name", ["scorecard", "trees"])
def test_the_sql_says_what_scikit_learn_says_also_of_leads_it_never_saw(
    name: str, request: pytest.FixtureRequest
) -> None:
    trained: Trained = request.getfixturevalue(name)
    assert trained.sql_difference < 1e-9
    model = trained.model
    unseen = leads(9, 400).drop(columns=["is_positive"])
    unseen.loc[:5, "source"] = "never heard of"
    unseen.loc[5:9, "size"] = np.nan
    with duckdb.connect() as connection:
        connection.register("told", unseen)
        connection.execute(
            'create table features as select example_id, source, case when not isnan("size") then "size" end as "size", age, forms from told'
        )
        rows = connection.execute(
            f"select probability, * exclude (probability) from ({scoring_sql(model, 'features')}) order by example_id"
        )
        names = [column[0] for column in rows.description or []]
        found = [dict(zip(names, row, strict=True)) for row in rows.fetchall()]
    assert len(found) == 400
    assert all(0 < row["probability"] < 1 for row in found)
    effects = [name for name in names if name.startswith("effect_")]
    odds = [np.log(row["probability"] / (1 - row["probability"])) for row in found]
    rest = [
        told - sum(row[name] for name in effects) for told, row in zip(odds, found, strict=True)
    ]
    assert np.ptp(rest) < 1e-9


def test_a_changed_number_in_the_file_shows_as_a_difference(scorecard: Trained) -> None:
    """The negative control of the comparison above."""
    examples, columns = leads(1), feature_columns(policy())
    features = examples[[column.name for column in columns]]
    label = examples["is_positive"].to_numpy(dtype=float)
    fitted = Calibrated(candidates(columns, 1)["logistic"].fit(features, label), Sigmoid(-1.1, 0.2))
    same = scorecard.model.model_copy(update=as_parts(fitted, features))
    weights = (same.coefficients[0] + 1e-6, *same.coefficients[1:])
    changed = same.model_copy(update={"coefficients": weights})
    assert difference_from_sql(same, fitted, features, columns) < 1e-12
    assert difference_from_sql(changed, fitted, features, columns) > 1e-9


def test_the_same_leads_give_the_same_file_in_any_order(scorecard: Trained) -> None:
    mixed = leads(1).sample(frac=1, random_state=3)
    assert model_text(learned(mixed, policy()).model) == model_text(scorecard.model)


def test_the_file_comes_back_as_it_was_written(trees: Trained, tmp_path: Path) -> None:
    path = tmp_path / "v1.model.json"
    path.write_text(model_text(trees.model), encoding="utf-8")
    assert read_model(path) == trees.model
    assert model_hash(read_model(path))[:12] == trees.model.model_id


def test_values_of_fewer_than_five_leads_are_named_nowhere(scorecard: Trained) -> None:
    few = leads(1)
    few.loc[:3, "source"] = "somebody's own campaign"
    text = model_text(learned(few, policy()).model)
    assert "somebody's own campaign" not in text
    assert "o'brien" in text


def test_with_too_few_successes_nothing_is_learned() -> None:
    few = leads(1)
    few["is_positive"] &= few.index % 20 == 0
    with pytest.raises(HandoffError, match="at least 50 of either kind are needed") as error:
        learned(few, policy())
    assert error.value.code == "MODEL_TOO_LITTLE_DATA"
    late = leads(1)
    late.loc[1050:, "is_positive"] = False
    with pytest.raises(HandoffError, match="of the newest 450 only 0"):
        learned(late, policy())


def test_what_the_newest_leads_do_not_bear_out_is_refused() -> None:
    noise = leads(1)
    noise["is_positive"] = np.random.default_rng(5).random(len(noise)) < 0.3
    with pytest.raises(HandoffError, match="no better than chance") as error:
        learned(noise, policy())
    assert error.value.code == "MODEL_NO_SIGNAL"


def test_a_feature_that_knows_the_outcome_is_refused_unless_it_is_trusted() -> None:
    """Written down after the call, like its duration: long ones are successes."""
    leaking = leads(1)
    random = np.random.default_rng(7)
    leaking["age"] = np.where(leaking["is_positive"], 300, 80) * random.lognormal(
        0, 0.5, len(leaking)
    )
    with pytest.raises(HandoffError, match=r"'age' \(AUC 0\.9") as error:
        learned(leaking, policy())
    assert error.value.code == "MODEL_LEAK_SUSPECTED"
    told = policy().model_dump()
    told["features"]["fields"][2]["trusted"] = True
    assert learned(leaking, ModelPolicy.model_validate(told)).model.terms


def test_figures_are_those_of_the_book() -> None:
    label = np.asarray([0, 0, 1, 1], dtype=float)
    told = np.asarray([0.1, 0.4, 0.35, 0.8])
    assert auc(label, told) == 0.75
    label, told = np.tile(label, 25), np.tile(told, 25)
    found = figures(label, told, seed=1)
    assert (found.cases, found.positives, found.auc) == (100, 50, 0.75)
    assert found.brier == pytest.approx((0.01 + 0.16 + 0.4225 + 0.04) / 4)
    assert found.auc_low < 0.75 < found.auc_high
    assert found.lift == 2.0
    groups = calibration(label, told)
    assert sum(group.cases for group in groups) == 100
    assert sum(group.positives for group in groups) == 50
    # Wilson's bounds of 1 in 10, as in his paper's formula.
    assert wilson(1, 10) == pytest.approx((0.01788, 0.40415), abs=1e-5)
    assert wilson(0, 0) == (0.0, 1.0)


def test_small_segments_are_shown_together() -> None:
    label = np.asarray([1.0] * 20 + [0.0] * 60)
    found = segments("source", ["a"] * 40 + ["b"] * 35 + ["c"] * 5, label, np.full(80, 0.25))
    assert [(one.value, one.cases, one.positives) for one in found] == [
        ("a", 40, 20), ("b", 35, 0), ("others", 5, 0),
    ]  # fmt: skip
    assert found[1].auc is None
    assert not found[0].actual_low <= found[0].predicted <= found[0].actual_high


@pytest.mark.parametrize("name", ["scorecard", "trees"])
def test_the_card_says_what_was_learned_and_loads_nothing(
    name: str, request: pytest.FixtureRequest
) -> None:
    trained: Trained = request.getfixturevalue(name)
    page = card_page(trained, policy(), "v7")
    assert trained.model.model_id in page
    assert f"{trained.model.validations['logistic'].newest.auc:.3f}" in page
    assert page.count("<svg ") == 5
    assert "It&#x27;s a source" in page
    assert "<script" not in page
    assert "src=" not in page
    assert card_page(trained, policy(), "v7") == page
