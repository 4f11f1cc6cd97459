"""A fitted scikit-learn pipeline as the parts of a model file, and the proof that the SQL made of them says the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from models.scoring.artefact import Expression, Node, Term, TrainedModel, expressions
from models.scoring.estimators import Calibrated, margin
from models.scoring.features import FeatureColumn

if TYPE_CHECKING:
    import pandas as pd

Parts = dict[str, Any]


def as_parts(fitted: Calibrated, features: pd.DataFrame) -> Parts:
    """Terms, weights or trees, and calibration of a candidate fitted to `features`."""
    encoder = fitted.pipeline.named_steps["columns"]
    model = fitted.pipeline.named_steps["model"]
    parts: Parts = {
        "terms": tuple(_terms(encoder)),
        "slope": fitted.sigmoid.slope,
        "offset": fitted.sigmoid.offset,
    }
    if hasattr(model, "coef_"):
        encoded = encoder.transform(features)
        return parts | {
            "intercept": float(model.intercept_[0]),
            "coefficients": tuple(float(weight) for weight in model.coef_[0]),
            "centre": tuple(float(mean) for mean in np.asarray(encoded).mean(axis=0)),
        }
    return parts | {
        "intercept": float(model._baseline_prediction.ravel()[0]),
        "trees": tuple(_tree(rounds[0].nodes) for rounds in model._predictors),
    }


def _terms(encoder: Any) -> list[Term]:
    terms: list[Term] = []
    for name, transformer, names in encoder.transformers_:
        match name:
            case "categories":
                for feature, values, rare in zip(
                    names, transformer.categories_, transformer.infrequent_categories_, strict=True
                ):
                    hidden = set() if rare is None else set(rare)
                    shown = [str(value) for value in values if value not in hidden]
                    terms += [Term(feature=feature, kind="equals", value=value) for value in shown]
                    if hidden:
                        terms.append(Term(feature=feature, kind="rare", values=tuple(shown)))
            case "numbers" if not hasattr(transformer, "named_steps"):
                terms += [Term(feature=feature, kind="value") for feature in names]
            case "numbers":
                median, scale = transformer.named_steps["median"], transformer.named_steps["scale"]
                terms += [
                    Term(
                        feature=feature,
                        kind="standard",
                        median=float(median.statistics_[place]),
                        mean=float(scale.mean_[place]),
                        scale=float(scale.scale_[place]),
                    )
                    for place, feature in enumerate(names)
                ]
            case "missing":
                terms += [
                    Term(feature=names[place], kind="missing") for place in transformer.features_
                ]
    return terms


def _tree(nodes: Any) -> tuple[Node, ...]:
    """Of each question the average of what its leaves add, by the cases that came to them."""
    values: dict[int, float] = {}

    def average(at: int) -> float:
        node = nodes[at]
        if node["is_leaf"]:
            values[at] = float(node["value"])
        else:
            left, right = int(node["left"]), int(node["right"])
            count = int(nodes[left]["count"]) + int(nodes[right]["count"])
            values[at] = (
                average(left) * int(nodes[left]["count"])
                + average(right) * int(nodes[right]["count"])
            ) / count
        return values[at]

    average(0)
    return tuple(
        Node(value=values[at], count=int(node["count"]))
        if node["is_leaf"]
        else Node(
            term=int(node["feature_idx"]),
            at_most=float(node["num_threshold"]),
            missing_left=bool(node["missing_go_to_left"]),
            left=int(node["left"]),
            right=int(node["right"]),
            value=values[at],
            count=int(node["count"]),
        )
        for at, node in enumerate(nodes)
    )


def stages(model: TrainedModel) -> list[list[Expression]]:
    """The columns of each stage of the SQL, in the order in which they build on each other."""
    told: dict[str, list[Expression]] = {"term": [], "leaf": [], "outcome": []}
    for expression in expressions(model):
        told[expression.stage].append(expression)
    return [stage for stage in told.values() if stage]


def scoring_sql(model: TrainedModel, relation: str) -> str:
    """The whole query over a relation of features: its columns, then those of every stage."""
    sql = f"select * from {relation}"
    for stage in stages(model):
        added = ", ".join(f"{each.expression} as {each.name}" for each in stage)
        sql = f"select *, {added} from ({sql})"
    return sql


def difference_from_sql(
    model: TrainedModel,
    fitted: Calibrated,
    features: pd.DataFrame,
    columns: Sequence[FeatureColumn],
) -> float:
    """Largest difference of a probability between SQL and scikit-learn, and of the sum of effects from the log-odds, over `features`."""
    import duckdb

    with duckdb.connect(config={"threads": 1}) as connection:
        connection.register("features_told", features.assign(example_row=np.arange(len(features))))
        # As in the warehouse: what is missing is null, not a number that is none.
        cleaned = ", ".join(
            f'case when not isnan("{column.name}") then "{column.name}" end as "{column.name}"'
            if column.is_number
            else f'"{column.name}"'
            for column in columns
        )
        connection.execute(
            f"create temp table features as select {cleaned}, example_row from features_told"
        )
        effects = [each.name for stage in stages(model) for each in stage if each.feature]
        told = connection.execute(
            f"select probability, {' + '.join(effects)} as effects from ({scoring_sql(model, 'features')}) order by example_row"
        ).fetchnumpy()
    margins = margin(fitted.pipeline, features)
    odds = -(fitted.sigmoid.slope * margins + fitted.sigmoid.offset)
    expected = fitted.sigmoid.probability(margins)
    # Effects are told from the average: what is left must be the same for everybody.
    rest = odds - np.asarray(told["effects"], dtype=np.float64)
    return max(
        float(np.abs(np.asarray(told["probability"]) - expected).max()),
        float(np.ptp(rest)),
    )
