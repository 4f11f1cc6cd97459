"""How MQLs differ from the leads that the lead model in use was learned from: what it looks at, and what it says of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from models.drift.distributions import Sample, subjects
from models.policies.lead_model import ModelPolicy
from models.policies.load import Policies
from models.scoring.artefact import Distribution, TrainedModel
from models.scoring.features import feature_columns

if TYPE_CHECKING:
    import duckdb

_OTHERS, _NOT_A_NUMBER = "any other", "not known"

_MQLS = """
    select features, probability from marts.fct_mql_outcomes
    where model_version = $version and model_id = $model_id
        and predicted_at > greatest($since::timestamptz, $trained_as_of::timestamptz) and predicted_at <= $until::timestamptz
    order by mql_id
"""


def inputs_of_model(
    connection: duckdb.DuckDBPyConnection, policies: Policies, since: datetime, until: datetime
) -> tuple[Sample, ...]:
    """A sample for each feature of the model in use, and one for its probabilities: leads it was learned from, and MQLs it has not seen that
    were known from `since` to `until`. None without a model, and none of one learned from everybody, whom MQLs are not like. The calendar is
    left out, as it moves by itself."""
    policy = policies.deciding("model")
    model, document = policy.model, policy.document
    assert isinstance(document, ModelPolicy)
    if model is None or document.learn_from != "mqls":
        return ()
    told = connection.execute(
        _MQLS,
        {
            "version": policy.version,
            "model_id": model.model_id,
            "since": since,
            "until": until,
            "trained_as_of": datetime.fromisoformat(model.snapshot.as_of),
        },
    ).fetchall()
    features = [json.loads(each) for each, _ in told]
    looked_at = {term.feature for term in model.terms}
    compared = {
        column.name: column.label
        for column in feature_columns(document)
        if column.name in looked_at and column.source != "calendar"
    }
    names = subjects("feature", compared)
    return (
        *_probabilities(model, [probability for _, probability in told]),
        *(
            Sample(
                names[learned.feature],
                _counts_learned(learned, model.snapshot.cases),
                _counts(learned, (each[learned.feature] for each in features)),
            )
            for learned in model.distributions
            if learned.feature in compared
        ),
    )


def _probabilities(model: TrainedModel, told: list[float]) -> list[Sample]:
    """As many as were learned from, spread as the percentiles say."""
    if not model.predicted:
        return []
    places = (np.arange(model.snapshot.cases) + 0.5) / model.snapshot.cases
    learned = np.interp(places, np.linspace(0, 1, len(model.predicted)), model.predicted)
    return [Sample("probability", learned, np.asarray(told, dtype=np.float64))]


def _cells(learned: Distribution) -> tuple[str, ...]:
    if not learned.edges:
        return (*learned.values, _OTHERS)
    bounds = [f"{edge:.12g}" for edge in learned.edges]
    between = (f"{low} to {high}" for low, high in pairwise(bounds))
    return (f"to {bounds[0]}", *between, f"over {bounds[-1]}", _NOT_A_NUMBER)


def _counts_learned(learned: Distribution, cases: int) -> dict[str, int]:
    return {
        cell: round(share * cases)
        for cell, share in zip(_cells(learned), learned.shares, strict=True)
    }


def _counts(learned: Distribution, values: Iterable[Any]) -> dict[str, int]:
    cells = _cells(learned)
    if not learned.edges:
        known = set(learned.values)
        return Counter(value if value in known else _OTHERS for value in values)
    edges = np.asarray(learned.edges)
    return Counter(
        cells[-1] if value is None else cells[int(np.searchsorted(edges, value, side="left"))]
        for value in values
    )
