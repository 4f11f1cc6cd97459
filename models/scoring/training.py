"""Learns a lead model: two candidates, chosen by how they tell the newest leads, calibrated, and written as something SQL can compute."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ingestion.errors.catalog import HandoffError
from models.policies.lead_model import ModelPolicy
from models.scoring.artefact import (
    Distribution,
    Estimator,
    Figures,
    Snapshot,
    TrainedModel,
    Validation,
    config_hash,
)
from models.scoring.estimators import (
    TOLERANCE,
    Calibrated,
    Places,
    candidates,
    fitted_sigmoid,
    single_feature,
    unseen_margins,
)
from models.scoring.features import FeatureColumn
from models.scoring.metrics import (
    Floats,
    auc,
    figures,
    segments,
    standard_error_of_difference,
)
from models.scoring.transpile import as_parts, difference_from_sql

if TYPE_CHECKING:
    import pandas as pd

_FOLDS = 5
_CALIBRATION_FOLDS = 3
# Of either kind, or the newest leads tell nothing of how well a model does.
_LEAST_IN_NEWEST = 10
_FEWEST_CASES_PER_VALUE = 5
_RANGES = 10


@dataclass(frozen=True, slots=True)
class Predictions:
    """What the chosen model said of cases it had not seen, with what happened: arrays of shape (n,)."""

    label: Floats
    probability: Floats


@dataclass(frozen=True, slots=True)
class Trained:
    """The model, and the predictions its figures come from: by the folds, and of the newest leads."""

    model: TrainedModel
    folds: Predictions
    newest: Predictions
    sql_difference: float


Progress = Callable[[str], None]


def train(
    examples: pd.DataFrame,
    policy: ModelPolicy,
    columns: Sequence[FeatureColumn],
    *,
    as_of: str,
    progress: Progress = lambda _: None,
) -> Trained:
    """Learn from `examples`: a row per lead with `example_id`, `instant`, `is_positive`, `is_rejected` (sales said no) and the `columns`
    (categories text, numbers double, missing as null), in any order.

    Raises MODEL_TOO_LITTLE_DATA, MODEL_LEAK_SUSPECTED for a feature that tells the outcome alone, MODEL_NO_SIGNAL where the newest leads
    are not told better than by chance. The same examples and seed give the same model.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    # Sums of the linear algebra come out differently by the number of threads; those of the trees do not.
    with threadpool_limits(limits=1, user_api="blas"):
        return _train(examples, policy, columns, as_of, progress)


def _train(
    examples: pd.DataFrame,
    policy: ModelPolicy,
    columns: Sequence[FeatureColumn],
    as_of: str,
    progress: Progress,
) -> Trained:
    import sklearn

    examples = examples.sort_values(["instant", "example_id"], kind="stable", ignore_index=True)
    label = examples["is_positive"].to_numpy(dtype=np.float64)
    newest_from = len(examples) - round(len(examples) * policy.validation_share)
    _refuse_too_little(label, newest_from, policy)
    columns = _that_vary(examples, columns)
    if not columns:
        raise HandoffError(
            "MODEL_NO_SIGNAL",
            f"every feature says the same of all {len(examples)} leads",
            remedy="Name features under `features` that differ between leads.",
        )
    features = examples[[column.name for column in columns]]
    progress(f"{len(examples)} leads, {int(label.sum())} successes, {len(columns)} features")
    _refuse_leaks(features, label, policy, columns)

    older = slice(None, newest_from)
    folds = _folds(label, _FOLDS, policy.seed)
    unseen: dict[Estimator, Floats] = {}
    by_folds: dict[Estimator, Floats] = {}
    of_newest: dict[Estimator, Floats] = {}
    validations: dict[Estimator, Validation] = {}
    able = candidates(columns, policy.seed)
    for name, candidate in able.items():
        progress(f"{name}: five folds, then the newest {len(examples) - newest_from}")
        unseen[name] = unseen_margins(candidate, features, label, folds)
        by_folds[name] = _calibrated_across(unseen[name], label, folds)
        past = _calibrated(candidate, features.iloc[older], label[older], policy.seed)
        of_newest[name] = past.probability(features.iloc[newest_from:])
        validations[name] = Validation(
            folds=figures(label, by_folds[name], policy.seed, folds),
            newest=figures(label[newest_from:], of_newest[name], policy.seed),
        )
    chosen, because = _choose(validations, label[newest_from:], of_newest, policy.seed)
    _refuse_chance(validations[chosen].newest, chosen)
    progress(f"{chosen}: all of them")
    fitted = Calibrated(able[chosen].fit(features, label), fitted_sigmoid(unseen[chosen], label))
    model = TrainedModel(
        config_hash=config_hash(policy),
        sklearn_version=sklearn.__version__,
        estimator=chosen,
        chosen_because=because,
        snapshot=_snapshot(examples, label, columns, as_of),
        validations=validations,
        segments=tuple(
            segment
            for column in columns
            if column.name in policy.segments and not column.is_number
            for segment in segments(column.name, features[column.name], label, by_folds[chosen])
        ),
        distributions=tuple(_distribution(features[column.name], column) for column in columns),
        predicted=tuple(np.quantile(by_folds[chosen], np.linspace(0, 1, 101)).tolist()),
        **as_parts(fitted, features),
    )
    progress("the same in SQL")
    difference = difference_from_sql(model, fitted, features, columns)
    if not difference <= TOLERANCE:
        raise AssertionError(
            f"the SQL of the {chosen} model differs from scikit-learn by {difference:g}; has scikit-learn {sklearn.__version__} "
            "changed how it computes?"
        )
    return Trained(
        model=model,
        folds=Predictions(label, by_folds[chosen]),
        newest=Predictions(label[newest_from:], of_newest[chosen]),
        sql_difference=difference,
    )


def _refuse_too_little(label: Floats, newest_from: int, policy: ModelPolicy) -> None:
    positives, negatives = int(label.sum()), int(len(label) - label.sum())
    newest = label[newest_from:]
    least = min(int(newest.sum()), int(len(newest) - newest.sum())) if len(newest) else 0
    if min(positives, negatives) >= policy.least_positives and least >= _LEAST_IN_NEWEST:
        return
    told = (
        f"{len(label)} leads had their {policy.within_days:g} days, {positives} of them a success"
    )
    if min(positives, negatives) >= policy.least_positives:
        told += f"; of the newest {len(newest)} only {int(newest.sum())}, and at least {_LEAST_IN_NEWEST} of either kind are needed"
    else:
        told += f"; at least {policy.least_positives} of either kind are needed"
    raise HandoffError(
        "MODEL_TOO_LITTLE_DATA",
        f"{told}. The rules decide alone",
        remedy="Wait for more outcomes. If history was imported, say so with `imported_before`; a wider `outcome` or shorter `within_days` "
        "finds more as well.",
    )


def _refuse_leaks(
    features: pd.DataFrame, label: Floats, policy: ModelPolicy, columns: Sequence[FeatureColumn]
) -> None:
    """What tells the outcome all alone was most likely written down after it."""
    suspects = []
    for column in columns:
        if column.is_trusted:
            continue
        told = single_feature(features[[column.name]], label, column, policy.seed)
        if (alone := auc(label, told)) > policy.suspect_above:
            suspects.append((column.name, alone))
    if suspects:
        names = ", ".join(f"'{name}' (AUC {alone:.3f})" for name, alone in suspects)
        raise HandoffError(
            "MODEL_LEAK_SUSPECTED",
            f"{names}: tells success from failure by itself, better than {policy.suspect_above:g}",
            remedy="It was probably written down after the outcome: leave it out. If it was known before, say `trusted: true` at the feature.",
        )


def _refuse_chance(newest: Figures, chosen: str) -> None:
    if newest.auc_low <= 0.5:
        raise HandoffError(
            "MODEL_NO_SIGNAL",
            f"of the newest {newest.cases} leads the {chosen} model tells successes no better than chance: AUC {newest.auc:.3f}, "
            f"95 % between {newest.auc_low:.3f} and {newest.auc_high:.3f}",
            remedy="Give it features that say more, or wait for more outcomes; the rules decide alone.",
        )


def _choose(
    validations: dict[Estimator, Validation],
    label: Floats,
    of_newest: dict[Estimator, Floats],
    seed: int,
) -> tuple[Estimator, str]:
    """The scorecard, unless the trees tell the newest leads better by more than the error of the difference."""
    simple, other = validations["logistic"].newest.auc, validations["boosting"].newest.auc
    error = standard_error_of_difference(label, of_newest["boosting"], of_newest["logistic"], seed)
    told = f"AUC on the newest leads: scorecard {simple:.3f}, boosted trees {other:.3f}, standard error of the difference {error:.3f}"
    if other - simple > error:
        return "boosting", f"{told}: the trees are better"
    return "logistic", f"{told}: the scorecard is no worse, and simpler"


def _that_vary(
    examples: pd.DataFrame, columns: Sequence[FeatureColumn]
) -> tuple[FeatureColumn, ...]:
    return tuple(column for column in columns if examples[column.name].nunique(dropna=False) > 1)


def _folds(label: Floats, count: int, seed: int) -> list[Places]:
    from sklearn.model_selection import StratifiedKFold

    splitter = StratifiedKFold(count, shuffle=True, random_state=seed)
    return [fold for _, fold in splitter.split(np.zeros(len(label)), label)]


def _calibrated(candidate: Any, features: pd.DataFrame, label: Floats, seed: int) -> Calibrated:
    """The candidate fitted to these cases, with a sigmoid learned on what it says of cases it had not seen."""
    from sklearn.base import clone

    folds = _folds(label, _CALIBRATION_FOLDS, seed)
    unseen = unseen_margins(candidate, features, label, folds)
    return Calibrated(clone(candidate).fit(features, label), fitted_sigmoid(unseen, label))


def _calibrated_across(unseen: Floats, label: Floats, folds: Sequence[Places]) -> Floats:
    """Probabilities of each fold, by a sigmoid learned on the others."""
    told = np.empty(len(label))
    for fold in folds:
        rest = np.setdiff1d(np.arange(len(label)), fold)
        told[fold] = fitted_sigmoid(unseen[rest], label[rest]).probability(unseen[fold])
    return told


def _snapshot(
    examples: pd.DataFrame, label: Floats, columns: Sequence[FeatureColumn], as_of: str
) -> Snapshot:
    from pandas.util import hash_pandas_object

    told = examples[["example_id", "instant", "is_positive", *(column.name for column in columns)]]
    rows = hash_pandas_object(told, index=False).to_numpy()
    return Snapshot(
        cases=len(examples),
        positives=int(label.sum()),
        rejected=int((examples["is_rejected"] & ~examples["is_positive"]).sum()),
        first=examples["instant"].iloc[0].isoformat(),
        last=examples["instant"].iloc[-1].isoformat(),
        as_of=as_of,
        data_hash=hashlib.sha256(rows.tobytes()).hexdigest(),
    )


def _distribution(values: pd.Series[Any], column: FeatureColumn) -> Distribution:
    """Shares by value or range; of values that few leads have the card says no more than 'others'."""
    if column.is_number:
        known = values.dropna().to_numpy(dtype=np.float64)
        edges = (
            np.unique(np.quantile(known, np.linspace(0, 1, _RANGES + 1)[1:-1]))
            if len(known)
            else np.empty(0)
        )
        counts = np.bincount(np.searchsorted(edges, known, side="left"), minlength=len(edges) + 1)
        shares = [*(counts / len(values)), 1 - len(known) / len(values)]
        return Distribution(
            feature=column.name,
            edges=tuple(float(edge) for edge in edges),
            shares=tuple(float(share) for share in shares),
        )
    counted = values.value_counts()
    named = {
        str(name): int(count) for name, count in counted.items() if count >= _FEWEST_CASES_PER_VALUE
    }
    names = sorted(named, key=lambda name: (-named[name], name))
    shares = [named[name] / len(values) for name in names]
    return Distribution(
        feature=column.name,
        values=tuple(names),
        shares=(*shares, max(0.0, 1 - sum(shares))),
    )
