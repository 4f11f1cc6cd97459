"""Lead models where people's rows are: probabilities by SQL beside scikit-learn, and of everybody in a world, features and all."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import worlds
from benchmarks.measure import Kernel, Measurement, compare, seconds_of, watch_memory
from benchmarks.rebuilding import rebuild

ROWS = 1_000_000
LEARNED_FROM = 20_000
ROUNDS = 3
SEED = 5
TOLERANCE = 1e-9


def run(size: int, folder: Path) -> list[Measurement]:
    """A million rows of features by either model; then everybody of a world of `size` events."""
    return [*_by_sql(), _everybody(size, folder)]


def _policy() -> Any:
    from models.policies.lead_model import ModelPolicy

    return ModelPolicy.model_validate(
        {
            "description": "Benchmark.",
            "owner": "benchmarks",
            "effective_at": "2026-01-01T00:00:00Z",
            "outcome": "accepted",
            "within_days": 30,
            "features": {
                "fields": (
                    {"id": "source", "field": "original_source"},
                    {"id": "country", "field": "country"},
                    {"id": "industry", "field": "industry"},
                    {"id": "employees", "field": "employee_count", "type": "number"},
                ),
                "activities": (
                    {"id": "forms", "activity_type": "form_submit"},
                    {"id": "pages", "activity_type": "page_view"},
                    {"id": "days", "measure": "distinct_days"},
                    {"id": "known", "measure": "days_since_first"},
                ),
            },
        }
    )


def _rows(count: int) -> Any:
    """Features of made-up people, some not known, with what becomes of them."""
    import pandas as pd

    random = np.random.default_rng(SEED)
    forms, pages = random.poisson(1, count), random.poisson(6, count)
    employees = np.where(random.random(count) < 0.3, np.nan, random.lognormal(5, 1.5, count))
    source = random.integers(0, 12, count)
    odds = -3 + 0.4 * forms + 0.1 * source + 0.2 * np.log1p(np.nan_to_num(employees, nan=20))
    return pd.DataFrame(
        {
            "source": np.asarray([f"source {n}" for n in range(12)], dtype=object)[source],
            "country": np.asarray([f"c{n}" for n in range(40)], dtype=object)[
                random.integers(0, 40, count)
            ],
            "industry": np.asarray(["", "software", "retail", "health", "steel"], dtype=object)[
                random.integers(0, 5, count)
            ],
            "employees": employees,
            "forms": forms.astype(float),
            "pages": pages.astype(float),
            "days": random.poisson(3, count).astype(float),
            "known": random.exponential(100, count),
            "is_positive": random.random(count) < 1 / (1 + np.exp(-odds)),
        }
    )


def _fitted(name: Any, rows: Any) -> tuple[Any, Any]:
    """(what scikit-learn fitted, the same as the artefact)."""
    import sklearn

    from models.scoring.artefact import Snapshot, TrainedModel
    from models.scoring.estimators import Calibrated, candidates, fitted_sigmoid, margin
    from models.scoring.features import feature_columns
    from models.scoring.transpile import as_parts

    label = rows["is_positive"].to_numpy(dtype=np.float64)
    features = rows.drop(columns="is_positive")
    pipeline = candidates(feature_columns(_policy()), SEED)[name].fit(features, label)
    fitted = Calibrated(pipeline, fitted_sigmoid(margin(pipeline, features), label))
    snapshot = Snapshot(
        cases=len(rows), positives=int(label.sum()), first="", last="", as_of="", data_hash=""
    )
    model = TrainedModel(
        config_hash="",
        sklearn_version=sklearn.__version__,
        estimator=name,
        chosen_because="",
        snapshot=snapshot,
        validations={},
        **as_parts(fitted, features),
    )
    return fitted, model


def _by_sql() -> list[Measurement]:
    """Ours: the model's SQL over a table; floor: scikit-learn on the same rows, fetched by Arrow and written back."""
    import duckdb
    import pyarrow as pa

    from models.scoring.transpile import scoring_sql

    rows = _rows(ROWS)
    measured = []
    with duckdb.connect(config={"threads": 2}) as connection:
        connection.execute("set enable_progress_bar = false")
        connection.register("told", rows.drop(columns="is_positive"))
        connection.execute(
            "create table features as select row_number() over () as person, * exclude (employees),"
            " case when not isnan(employees) then employees end as employees from told"
        )
        for name, called in (("logistic", "scorecard"), ("boosting", "boosted trees")):
            fitted, model = _fitted(name, rows.head(LEARNED_FROM))
            sql = f"select person, probability from ({scoring_sql(model, 'features')})"

            def by_sql(sql: str = sql) -> None:
                connection.execute(f"create or replace table ours as {sql}")

            def by_scikit_learn(fitted: Any = fitted) -> None:
                frame = connection.sql("from features").to_arrow_table().to_pandas()
                told = pa.table(
                    {"person": frame["person"], "probability": fitted.probability(frame)}
                )
                connection.register("predicted", told)
                connection.execute("create or replace table theirs as from predicted")
                connection.unregister("predicted")

            ours, floors = [], []
            for _ in range(ROUNDS):
                with watch_memory() as peak:
                    ours.append(seconds_of(by_sql))
                floors.append(seconds_of(by_scikit_learn))
            [(difference,)] = connection.execute(
                "select max(abs(ours.probability - theirs.probability)) from ours join theirs using (person)"
            ).fetchall()
            if not difference <= TOLERANCE:
                raise AssertionError(f"{called}: SQL differs from scikit-learn by {difference}")
            measured.append(
                compare(
                    f"{called}: {ROWS:,} probabilities",
                    ROWS,
                    "rows",
                    ours,
                    floors,
                    peak.mb,
                    difference=f"{difference:.0e}",
                )
            )
    return measured


def _everybody(size: int, folder: Path) -> Measurement:
    """Ours: the dbt model that predicts everybody; floor: the features about activities in one pass over them, written once."""
    from ingestion.landing.warehouse import connect
    from models.policies.load import copy_policies
    from models.scoring.artefact import model_path, model_text
    from models.scoring.features import feature_columns
    from models.scoring.training import train
    from orchestration.lead_model_versions import lead_policies
    from orchestration.lead_models import lead_model_variable
    from orchestration.policy_rows import load_policy_rows
    from orchestration.transform import make_on_demand, transform

    policies = folder / "policies"
    copy_policies(policies)
    rebuilt = rebuild(worlds.world_of(size), folder, policies)
    settings = rebuilt.settings
    document = lead_policies(settings).deciding("model").document
    columns = feature_columns(document)
    people = document.model_copy(
        update={"learn_from": "people", "imported_before": worlds.AS_OF + timedelta(days=1)}
    )
    make_on_demand(
        settings,
        "int_lead_models__examples",
        as_of=worlds.AS_OF + timedelta(days=60),
        variables={"lead_model": lead_model_variable(people)},
    )
    with connect(settings) as connection:
        connection.execute("set enable_progress_bar = false")
        examples = (
            connection.sql(f"from intermediate.int_lead_models__examples limit {LEARNED_FROM}")
            .to_arrow_table()
            .to_pandas()
        )
        connection.execute("drop table intermediate.int_lead_models__examples")
        counted = ", ".join(
            f'{column.expression} as "{column.name}"'
            for column in columns
            if column.source == "activity"
        )
        connection.execute(f"attach '{folder / 'floor.duckdb'}' as floor")
        floors = [
            seconds_of(
                lambda: connection.execute(
                    f"create or replace table floor.features as select person_id, {counted} from"
                    f" (select *, timestamptz '{worlds.AS_OF.isoformat()}' as instant from marts.fct_activities) as done"
                    " group by person_id"
                )
            )
            for _ in range(ROUNDS)
        ]
    # Nothing is accepted in a made-up world: who succeeds is drawn, by what they did.
    random = np.random.default_rng(SEED)
    share = 0.1 + 0.5 * (examples["forms_30d"].fillna(0) > 0)
    examples["is_positive"] = random.random(len(examples)) < share
    learned = train(examples, document, columns, as_of=worlds.AS_OF.isoformat()).model
    model_path(policies / "model" / "v1.yml").write_text(model_text(learned), encoding="utf-8")
    load_policy_rows(settings)
    ours = []
    with watch_memory() as peak:
        for number in range(ROUNDS):
            done = transform(settings, as_of=worlds.AS_OF + timedelta(minutes=1 + number))
            told = {node.name: node.seconds for node in done.nodes}
            ours.append(told["fct_lead_predictions"])
    with connect(settings) as connection:
        [(count,)] = connection.execute(
            "select count(*) from marts.fct_lead_predictions"
        ).fetchall()
    return compare(
        f"{size:,} events: {learned.estimator} of everybody",
        count,
        "people",
        ours,
        floors,
        peak.mb,
        fct_mql_outcomes=f"{told['fct_mql_outcomes']:.2f} s",
        features=str(len(columns)),
    )


KERNEL = Kernel(
    name="lead_models",
    measures="Probabilities by the SQL a trained model is: over rows of features, and of everybody in a world with the features as they were known.",
    floor="scikit-learn on the same rows, fetched by Arrow and written back; for everybody the features about activities in one plain pass, written once.",
    size_unit="events",
    default_size=1_000_000,
    run=run,
)
