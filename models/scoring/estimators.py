"""The candidates: a logistic scorecard and boosted trees, of scikit-learn; nothing here knows where leads come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models.scoring.artefact import Estimator
from models.scoring.features import FeatureColumn
from models.scoring.metrics import Floats

if TYPE_CHECKING:
    import pandas as pd

Places = NDArray[np.intp]

# Most that SQL may differ from scikit-learn.
TOLERANCE = 1e-9

# A value that fewer leads have is told with the other rare ones: it teaches nothing, and might name somebody.
_FEWEST_CASES_PER_VALUE = 5
# How far weights are let go. Tuned on the leads themselves it came out anywhere between 0.1 and 1, and no better on the newest.
_INVERSE_PENALTY = 0.5


def candidates(columns: Sequence[FeatureColumn], seed: int) -> dict[Estimator, Any]:
    """Pipelines by name, not fitted: `columns` encodes, `model` learns."""
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.impute import MissingIndicator, SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = [column.name for column in columns if column.is_number]
    categories = [column.name for column in columns if not column.is_number]

    def encoder(*of_numbers: tuple[str, Any, list[str]]) -> Any:
        by_value = OneHotEncoder(
            min_frequency=_FEWEST_CASES_PER_VALUE,
            handle_unknown="infrequent_if_exist",
            sparse_output=False,
        )
        parts = [("categories", by_value, categories), *of_numbers]
        return ColumnTransformer([part for part in parts if part[2]])

    standard = Pipeline(
        [
            ("median", SimpleImputer(strategy="median", keep_empty_features=True)),
            ("scale", StandardScaler()),
        ]
    )
    missing = MissingIndicator(features="missing-only", error_on_new=False)
    return {
        "logistic": Pipeline(
            [
                ("columns", encoder(("numbers", standard, numbers), ("missing", missing, numbers))),
                ("model", LogisticRegression(C=_INVERSE_PENALTY, max_iter=1000)),
            ]
        ),
        "boosting": Pipeline(
            [
                ("columns", encoder(("numbers", "passthrough", numbers))),
                (
                    "model",
                    HistGradientBoostingClassifier(
                        max_iter=100,
                        learning_rate=0.04,
                        max_leaf_nodes=31,
                        max_features=0.5,
                        l2_regularization=1.0,
                        early_stopping=False,
                        random_state=seed,
                    ),
                ),
            ]
        ),
    }


@dataclass(frozen=True, slots=True)
class Sigmoid:
    """Turns a margin into a probability: 1 / (1 + exp(slope x margin + offset)) (Platt)."""

    slope: float
    offset: float

    def probability(self, margin: Floats) -> Floats:
        """Of margins of shape (n,)."""
        from scipy.special import expit

        return np.asarray(expit(-(self.slope * margin + self.offset)), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A fitted pipeline with the sigmoid that belongs to it."""

    pipeline: Any
    sigmoid: Sigmoid

    def probability(self, features: pd.DataFrame) -> Floats:
        """Of leads, shape (n,)."""
        return self.sigmoid.probability(margin(self.pipeline, features))


def margin(pipeline: Any, features: pd.DataFrame) -> Floats:
    """What a fitted pipeline says before it is a probability, shape (n,)."""
    return np.asarray(pipeline.decision_function(features), dtype=np.float64)


def unseen_margins(
    candidate: Any, features: pd.DataFrame, label: Floats, folds: Sequence[Places]
) -> Floats:
    """The margin of each lead by a model that has not seen its fold, shape (n,)."""
    from sklearn.base import clone

    told = np.empty(len(label))
    for fold in folds:
        rest = np.setdiff1d(np.arange(len(label)), fold)
        fitted = clone(candidate).fit(features.iloc[rest], label[rest])
        told[fold] = margin(fitted, features.iloc[fold])
    return told


def fitted_sigmoid(margins: Floats, label: Floats) -> Sigmoid:
    """The sigmoid under which what happened is likeliest; the margins must be of models that had not seen the leads."""
    from sklearn.linear_model import LogisticRegression

    told = LogisticRegression(C=np.inf).fit(margins.reshape(-1, 1), label)
    return Sigmoid(slope=-float(told.coef_[0, 0]), offset=-float(told.intercept_[0]))


def single_feature(
    feature: pd.DataFrame, label: Floats, column: FeatureColumn, seed: int
) -> Floats:
    """What small trees of this feature alone say of cases they had not seen, shape (n,)."""
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    alone = candidates([column], seed)["boosting"]
    alone.set_params(model__max_iter=20, model__learning_rate=0.2, model__max_leaf_nodes=6)
    folds = StratifiedKFold(3, shuffle=True, random_state=seed)
    told = cross_val_predict(alone, feature, label, cv=folds, method="decision_function")
    return np.asarray(told, dtype=np.float64)
