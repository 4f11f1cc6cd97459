"""How well probabilities tell what happened."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.scoring.artefact import Figures, Segment

Floats = NDArray[np.float64]
_RESAMPLES = 300
_CONFIDENCE = 0.95
_GROUPS = 10


def auc(label: Floats, told: Floats) -> float:
    """Share of the pairs of a success and a failure that `told` puts in order, ties by half (the area under the ROC curve)."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(label, told))


def figures(
    label: Floats, probability: Floats, seed: int, folds: Sequence[NDArray[np.intp]] = ()
) -> Figures:
    """All figures of one set of predictions, of shape (n,) each; with `folds` (positions of each) the AUC is the mean of theirs, as usual."""
    from sklearn.metrics import average_precision_score, brier_score_loss

    whole = auc(label, probability)
    mean = (
        float(np.mean([auc(label[fold], probability[fold]) for fold in folds])) if folds else whole
    )
    low, high = np.quantile(
        _resampled(label, [probability], seed)[0], [(1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2]
    )
    groups = calibration(label, probability)
    best = np.argsort(-probability, kind="stable")[: max(1, len(label) // 10)]
    return Figures(
        cases=len(label),
        positives=int(label.sum()),
        auc=mean,
        # Around the mean of the folds, whose width is that of the whole.
        auc_low=float(low) + mean - whole,
        auc_high=float(high) + mean - whole,
        average_precision=float(average_precision_score(label, probability)),
        brier=float(brier_score_loss(label, probability)),
        ece=sum(group.cases * abs(group.actual - group.predicted) for group in groups) / len(label),
        lift=float(label[best].mean() / label.mean()),
    )


def standard_error_of_difference(label: Floats, one: Floats, other: Floats, seed: int) -> float:
    """Of AUC(one) - AUC(other) over the same cases, by resampling them."""
    first, second = _resampled(label, [one, other], seed)
    return float(np.std(first - second, ddof=1))


def _resampled(label: Floats, told: Sequence[Floats], seed: int) -> list[Floats]:
    """AUC of each over resamples of the successes and of the failures, the same ones for all."""
    from scipy.stats import rankdata

    positives, negatives = np.flatnonzero(label == 1), np.flatnonzero(label == 0)
    random = np.random.default_rng(seed)
    found: list[list[float]] = [[] for _ in told]
    for _ in range(_RESAMPLES):
        taken = np.concatenate(
            [
                random.choice(positives, len(positives)),
                random.choice(negatives, len(negatives)),
            ]
        )
        for place, values in enumerate(told):
            ranks = rankdata(values[taken])[: len(positives)]
            area = (ranks.sum() - len(positives) * (len(positives) + 1) / 2) / (
                len(positives) * len(negatives)
            )
            found[place].append(area)
    return [np.asarray(values) for values in found]


@dataclass(frozen=True, slots=True)
class CalibrationGroup:
    """Cases with like probabilities: mean predicted, share that happened and its bounds (Wilson, 95 %)."""

    cases: int
    positives: int
    predicted: float
    actual: float
    low: float
    high: float


def calibration(label: Floats, probability: Floats) -> list[CalibrationGroup]:
    """Ten groups of equal size by rising probability; fewer where there are fewer cases."""
    order = np.argsort(probability, kind="stable")
    groups = []
    for part in np.array_split(order, min(_GROUPS, len(order))):
        positives = int(label[part].sum())
        low, high = wilson(positives, len(part))
        groups.append(
            CalibrationGroup(
                cases=len(part),
                positives=positives,
                predicted=float(probability[part].mean()),
                actual=positives / len(part),
                low=low,
                high=high,
            )
        )
    return groups


def wilson(positives: int, cases: int) -> tuple[float, float]:
    """Bounds (95 %) of a share, sound for small numbers; 0 and 1 for no cases."""
    from scipy.stats import binomtest

    if cases == 0:
        return 0.0, 1.0
    interval = binomtest(positives, cases).proportion_ci(_CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def segments(
    feature: str, values: Iterable[str], label: Floats, probability: Floats, *, least: int = 30
) -> list[Segment]:
    """The model by value of a feature, the largest first; values with fewer than `least` cases are together as 'others'."""
    told = np.asarray(list(values), dtype=object)
    names, counts = np.unique(told.astype(str), return_counts=True)
    large = {str(name) for name, count in zip(names, counts, strict=True) if count >= least}
    shown = np.asarray([value if value in large else "others" for value in told.astype(str)])
    found = []
    for name in sorted(set(shown), key=lambda name: (-int((shown == name).sum()), name)):
        there = shown == name
        positives, cases = int(label[there].sum()), int(there.sum())
        low, high = wilson(positives, cases)
        enough = 10 <= positives <= cases - 10
        found.append(
            Segment(
                feature=feature,
                value=str(name),
                cases=cases,
                positives=positives,
                predicted=float(probability[there].mean()),
                actual=positives / cases,
                actual_low=low,
                actual_high=high,
                auc=auc(label[there], probability[there]) if enough else None,
            )
        )
    return found
