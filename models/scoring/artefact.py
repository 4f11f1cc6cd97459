"""A trained lead model: the file beside its policy version, checked, and the SQL it is."""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from models.policies.lead_model import ModelPolicy
from models.scoring.features import FeatureColumn, quoted

SUFFIX = ".model.json"
Estimator = Literal["logistic", "boosting"]
Tuples = Field(strict=False)


class _Trained(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Term(_Trained):
    """One number the model is made of: `equals` a value; `rare`, none of the `values`; `value`, the number itself; `standard`, the number
    or, where there is none, the median, less the mean, in standard deviations; `missing`, whether there is none."""

    feature: str
    kind: Literal["equals", "rare", "value", "standard", "missing"]
    value: str | None = None
    values: Annotated[tuple[str, ...], Tuples] = ()
    median: float = 0.0
    mean: float = 0.0
    scale: float = 1.0


class Node(_Trained):
    """A question on a term (`at_most` goes left, and nothing does where `missing_left`), or a leaf (no `term`). `value` is what a leaf adds,
    and of a question what its leaves add on average."""

    term: int | None = None
    at_most: float | None = None
    missing_left: bool = False
    left: int = 0
    right: int = 0
    value: float
    count: int


class Figures(_Trained):
    """How well probabilities told what happened, of cases the model had not seen. `auc_low` and `auc_high` bound 95 %; `ece` is the expected
    calibration error over ten equal groups; `lift` the share of successes in the best tenth against all."""

    cases: int
    positives: int
    auc: float
    auc_low: float
    auc_high: float
    average_precision: float
    brier: float
    ece: float
    lift: float


class Validation(_Trained):
    """One candidate: by five folds, and by the newest leads after learning from the others."""

    folds: Figures
    newest: Figures


class Segment(_Trained):
    """People of one value of a feature, of those the folds predicted: actual and predicted rate, bounds of the actual one (Wilson, 95 %)."""

    feature: str
    value: str
    cases: int
    positives: int
    predicted: float
    actual: float
    actual_low: float
    actual_high: float
    auc: float | None


class Snapshot(_Trained):
    """What was learned from. `rejected` are those that did not succeed and of whom sales said no; `data_hash` is the SHA-256 of every
    example with its features and label."""

    cases: int
    positives: int
    rejected: int = 0
    first: str
    last: str
    as_of: str
    data_hash: str


class Distribution(_Trained):
    """What a feature was like among the leads that were learned from: shares by value, or by range of numbers (`edges` between them), the
    last share being of those without a number. Drift is measured against it."""

    feature: str
    edges: Annotated[tuple[float, ...], Tuples] = ()
    values: Annotated[tuple[str, ...], Tuples] = ()
    shares: Annotated[tuple[float, ...], Tuples]


class TrainedModel(_Trained):
    """What `handoff train` writes; the same leads, policy and seed give the same file. The log-odds are -(slope x margin + offset), the margin
    that of scikit-learn's decision function. `predicted` are 101 percentiles of what the folds said of the leads."""

    format: Literal[1] = 1
    config_hash: str
    sklearn_version: str
    estimator: Estimator
    chosen_because: str
    snapshot: Snapshot
    validations: dict[Estimator, Validation]
    segments: Annotated[tuple[Segment, ...], Tuples] = ()
    distributions: Annotated[tuple[Distribution, ...], Tuples] = ()
    predicted: Annotated[tuple[float, ...], Tuples] = ()
    terms: Annotated[tuple[Term, ...], Tuples]
    intercept: float
    coefficients: Annotated[tuple[float, ...], Tuples] = ()
    centre: Annotated[tuple[float, ...], Tuples] = ()
    trees: Annotated[tuple[Annotated[tuple[Node, ...], Tuples], ...], Tuples] = ()
    slope: float
    offset: float

    @property
    def model_id(self) -> str:
        """First characters of the content's hash: what a probability is said to come from."""
        return model_hash(self)[:12]


def model_path(policy_file: Path) -> Path:
    """Where the model of a version stands: v1.yml has v1.model.json beside it."""
    return policy_file.with_name(policy_file.stem + SUFFIX)


def read_model(path: Path) -> TrainedModel:
    """The model in a file; raises ValueError (pydantic's included) naming what is wrong with it."""
    return TrainedModel.model_validate_json(path.read_text(encoding="utf-8"))


def model_text(model: TrainedModel) -> str:
    """The file's content: sorted, so that two trainings can be compared line by line."""
    content = {"format": 1, **model.model_dump(mode="json", exclude_defaults=True)}
    return json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def model_hash(model: TrainedModel) -> str:
    """SHA-256 (hex) of the file."""
    return hashlib.sha256(model_text(model).encode()).hexdigest()


def config_hash(policy: ModelPolicy) -> str:
    """Hash of what was to be learned, and from what: a model trained for something else is no model of the version."""
    told = policy.model_dump_json(
        exclude={"description", "owner", "effective_at"},
        # What a later release may be told besides leaves the models of those who do not tell it as they are.
        exclude_defaults=True,
    )
    return hashlib.sha256(told.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Expression:
    """A column of one stage of the SQL; each stage sees the columns of those before, the first those of the features. The effect of a
    feature is what it adds to the log-odds."""

    stage: Literal["term", "leaf", "outcome"]
    name: str
    expression: str
    feature: str | None = None


def expressions(model: TrainedModel) -> Iterator[Expression]:
    """The model as SQL: terms, for trees the leaf each ends in, then the probability and the effect of each feature."""
    for position, term in enumerate(model.terms):
        yield Expression("term", f"t{position}", _term(term))
    if model.estimator == "logistic":
        parts = [f"{_number(c)} * t{i}" for i, c in enumerate(model.coefficients)]
        effects = _logistic_effects(model)
    else:
        leaves = [[node for node in tree if node.term is None] for tree in model.trees]
        for number, tree in enumerate(model.trees):
            places = {id(node): place for place, node in enumerate(leaves[number], start=1)}
            yield Expression("leaf", f"l{number}", _leaf(tree, tree[0], places))
        parts = [
            f"{_numbers(node.value for node in ends)}[l{number}]"
            for number, ends in enumerate(leaves)
        ]
        effects = _boosting_effects(model)
    margin = _sum([_number(model.intercept), *parts])
    odds = f"{_number(model.slope)} * ({margin}) + {_number(model.offset)}"
    yield Expression("outcome", "probability", f"1e0 / (1e0 + exp({odds}))")
    for number, (feature, parts) in enumerate(effects.items()):
        yield Expression(
            "outcome", f"effect_{number}", f"{_number(-model.slope)} * ({_sum(parts)})", feature
        )


def _term(term: Term) -> str:
    column = f'"{term.feature}"'
    match term.kind:
        case "equals":
            return f"cast({column} = {quoted(term.value or '')} as double)"
        case "rare":
            known = ", ".join(quoted(value) for value in term.values)
            return f"cast({column} not in ({known}) as double)" if known else "1e0"
        case "value":
            return column
        case "standard":
            known = f"coalesce({column}, {_number(term.median)})"
            return f"({known} - {_number(term.mean)}) / {_number(term.scale)}"
        case "missing":
            return f"cast({column} is null as double)"


def _logistic_effects(model: TrainedModel) -> dict[str, list[str]]:
    effects: dict[str, list[str]] = defaultdict(list)
    for i, (term, weight, centre) in enumerate(
        zip(model.terms, model.coefficients, model.centre, strict=True)
    ):
        effects[term.feature].append(f"{_number(weight)} * (t{i} - {_number(centre)})")
    return effects


def _boosting_effects(model: TrainedModel) -> dict[str, list[str]]:
    """What each step towards a leaf changes of the average belongs to the feature that was asked about (Saabas); they sum up exactly."""
    effects: dict[str, list[str]] = defaultdict(list)
    for number, tree in enumerate(model.trees):
        by_leaf: dict[str, list[float]] = {}
        ends = _paths(tree, 0, {})
        for place, steps in enumerate(ends):
            for position, change in steps.items():
                feature = model.terms[position].feature
                by_leaf.setdefault(feature, [0.0] * len(ends))[place] += change
        for feature, changes in by_leaf.items():
            effects[feature].append(f"{_numbers(changes)}[l{number}]")
    return effects


def _paths(tree: Sequence[Node], index: int, steps: dict[int, float]) -> list[dict[int, float]]:
    """Changes by term on the way to each leaf, in the order in which the tree lists its leaves."""
    found: dict[int, dict[int, float]] = {}

    def walk(at: int, so_far: dict[int, float]) -> None:
        node = tree[at]
        if node.term is None:
            found[at] = so_far
            return
        for child in (node.left, node.right):
            change = tree[child].value - node.value
            walk(child, {**so_far, node.term: so_far.get(node.term, 0.0) + change})

    walk(index, steps)
    return [found[at] for at in sorted(found)]


def _leaf(tree: Sequence[Node], node: Node, places: dict[int, int]) -> str:
    if node.term is None:
        return str(places[id(node)])
    assert node.at_most is not None
    column = f"t{node.term}"
    condition = f"{column} <= {_number(node.at_most)}"
    if node.missing_left:
        condition = f"{column} is null or {condition}"
    left, right = _leaf(tree, tree[node.left], places), _leaf(tree, tree[node.right], places)
    return f"case when {condition} then {left} else {right} end"


def _number(value: float) -> str:
    """A double as SQL reads it back bit by bit; without an exponent it would be a decimal."""
    if math.isinf(value):
        return f"cast('{'-' if value < 0 else ''}infinity' as double)"
    text = repr(float(value))
    text = text if "e" in text else f"{text}e0"
    return f"({text})" if value < 0 else text


def _numbers(values: Iterator[float] | Sequence[float]) -> str:
    return f"[{', '.join(_number(value) for value in values)}]"


def _sum(parts: Sequence[str]) -> str:
    """In brackets of fifty, as an engine bounds how deep an expression may be."""
    groups = [" + ".join(parts[start : start + 50]) for start in range(0, len(parts), 50)]
    return groups[0] if len(groups) == 1 else " + ".join(f"({group})" for group in groups)


def labels(columns: Sequence[FeatureColumn]) -> dict[str, str]:
    """What people read for each feature."""
    return {column.name: column.label for column in columns}
