"""The card of a lead model: one page that says what it was learned from, how well it does, for whom, and what it must not be used for."""

from __future__ import annotations

from collections import defaultdict
from html import escape
from pathlib import Path

from ingestion.durable_file import write_whole
from models.drawing import bars_plot
from models.pages import page, table
from models.policies.lead_model import ModelPolicy
from models.scoring.artefact import Figures, TrainedModel, labels
from models.scoring.features import feature_columns
from models.scoring.plots import calibration_plot, gains_plot, roc_plot, spread_plot
from models.scoring.training import Trained

_NAMES = {"logistic": "Logistic scorecard", "boosting": "Boosted trees"}
_OUTCOMES = {
    "met": "a meeting with them takes place",
    "accepted": "sales accepts the lead, or goes further",
    "opportunity": "an opportunity is opened, or won",
    "won": "an opportunity is won",
}
_MOST_BARS = 25


def write_card(path: Path, trained: Trained, policy: ModelPolicy, version: str) -> None:
    """Write the page of a version to `path`; it needs no network and no script."""
    write_whole(path, card_page(trained, policy, version))


def card_page(trained: Trained, policy: ModelPolicy, version: str) -> str:
    """The page as HTML."""
    model, newest = trained.model, trained.newest
    chosen = model.validations[model.estimator]
    snapshot = model.snapshot
    plots = (
        roc_plot(newest.label, newest.probability, chosen.newest.auc),
        calibration_plot(newest.label, newest.probability),
        gains_plot(newest.label, newest.probability),
        spread_plot(newest.label, newest.probability),
    )
    whom = "MQLs" if policy.learn_from == "mqls" else "people"
    body = f"""<h1>Lead model {escape(version)}: {_NAMES[model.estimator].lower()}</h1>
<p class="soft">{escape(policy.description)} Model <code>{model.model_id}</code>, {
        escape(policy.owner)
    }.</p>

<h2>What it says</h2>
<p>How likely it is that {_OUTCOMES[policy.outcome]} within {
        policy.within_days:g} days, for a lead as it was known at one instant. It is learned
from what sales did before: it tells what sales will take up, not what sales should. It decides nothing by itself, and is not to be used for anything
but the order in which leads are called.</p>

<h2>What it was learned from</h2>
{
        table(
            (),
            [
                (f"{whom} that had their {policy.within_days:g} days", f"{snapshot.cases:,}"),
                (
                    "of them successes",
                    f"{snapshot.positives:,} ({snapshot.positives / snapshot.cases:.1%})",
                ),
                (
                    "of the others, refused or sent back by sales",
                    f"{snapshot.rejected:,} of {snapshot.cases - snapshot.positives:,}",
                ),
                ("from", snapshot.first[:10]),
                ("to", snapshot.last[:10]),
                ("outcomes known by", snapshot.as_of[:19]),
                ("data", snapshot.data_hash[:12]),
                ("policy", model.config_hash[:12]),
                ("scikit-learn", model.sklearn_version),
                ("its SQL differs from scikit-learn by", f"{trained.sql_difference:.0e}"),
            ],
        )
    }

<h2>How well it does</h2>
<p>{
        escape(model.chosen_because)
    }. All figures are of leads the model had not seen: in five folds, and on the newest {
        policy.validation_share:.0%} after
learning from the others. Judge it by the second: that is what it is used for.</p>
{_figures(model)}
<div class="plots">{"".join(plots)}</div>
<p class="soft">The plots are of the newest leads. Bars are bounds of 95 %.</p>

<h2>What it goes by</h2>
{_weights(model, policy)}
{
        table(
            ("feature", "what it is", "where from"),
            [
                (column.label, _what(column.name, policy), column.source)
                for column in feature_columns(policy)
                if column.name in {term.feature for term in model.terms}
            ],
        )
    }

<h2>For whom it is right</h2>
{_segments(model, policy)}"""
    return page(f"Lead model {version}", body)


def _figures(model: TrainedModel) -> str:
    heads = ("", "leads", "successes", "AUC", "95 %", "average precision", "Brier", "ECE", "lift of the best tenth")  # fmt: skip
    rows, marked = [], []
    for name, validation in model.validations.items():
        for kind, figures in (("five folds", validation.folds), ("newest", validation.newest)):
            rows.append((f"{_NAMES[name]}, {kind}", *_row(figures)))
            marked.append("chosen" if name == model.estimator else "")
    return table(heads, rows, figures=range(1, len(heads)), marked=marked)


def _row(figures: Figures) -> tuple[str, ...]:
    return (
        f"{figures.cases:,}",
        f"{figures.positives:,}",
        f"{figures.auc:.3f}",
        f"{figures.auc_low:.3f} to {figures.auc_high:.3f}",
        f"{figures.average_precision:.3f}",
        f"{figures.brier:.4f}",
        f"{figures.ece:.4f}",
        f"{figures.lift:.1f}",
    )


def _weights(model: TrainedModel, policy: ModelPolicy) -> str:
    called = labels(feature_columns(policy))
    if model.estimator == "logistic":
        told = [
            (_term_name(called[term.feature], term.kind, term.value), -model.slope * weight)
            for term, weight in zip(model.terms, model.coefficients, strict=True)
        ]
        told.sort(key=lambda pair: (-abs(pair[1]), pair[0]))
        title, axis = "Strongest weights", "log-odds (numbers: by standard deviation)"
    else:
        asked: dict[str, int] = defaultdict(int)
        for tree in model.trees:
            for node in tree:
                if node.term is not None:
                    asked[called[model.terms[node.term].feature]] += node.count
        total = sum(asked.values()) or 1
        told = sorted(
            ((name, count / total) for name, count in asked.items()),
            key=lambda pair: (-pair[1], pair[0]),
        )
        title, axis = "What the trees ask about", "share of all questions asked of leads"
    told = told[:_MOST_BARS]
    return bars_plot([name for name, _ in told], [value for _, value in told], title, axis)


def _term_name(label: str, kind: str, value: str | None) -> str:
    match kind:
        case "equals":
            return f"{label}: {value or 'not said'}"
        case "rare":
            return f"{label}: any other"
        case "missing":
            return f"{label}: not known"
        case _:
            return label


def _what(name: str, policy: ModelPolicy) -> str:
    for field in policy.features.fields:
        if field.id == name:
            return field.field + (f" matches {field.matches}" if field.matches else "")
    for activity in policy.features.activities:
        if activity.id == name:
            within = f" within {activity.within_days:g} days" if activity.within_days else ""
            patterns = "".join(
                f", {pattern}"
                for pattern in (activity.url_pattern, activity.form_pattern)
                if pattern
            )
            what = activity.activity_type or "any activity"
            return f"{activity.measure.replace('_', ' ')} of {what}{patterns}{within}"
    return f"{name} of the instant, UTC"


def _segments(model: TrainedModel, policy: ModelPolicy) -> str:
    if not model.segments:
        return "<p>No segments are named in the policy (<code>segments</code>).</p>"
    called = labels(feature_columns(policy))
    rows, marked = [], []
    for segment in model.segments:
        is_off = not segment.actual_low <= segment.predicted <= segment.actual_high
        rows.append(
            (
                called[segment.feature],
                segment.value or "not said",
                f"{segment.cases:,}",
                f"{segment.positives:,}",
                f"{segment.predicted:.1%}",
                f"{segment.actual:.1%}",
                f"{segment.actual_low:.1%} to {segment.actual_high:.1%}",
                "" if segment.auc is None else f"{segment.auc:.3f}",
                "predicted lies outside" if is_off else "",
            )
        )
        marked.append("off" if is_off else "")
    heads = ("segment", "value", "leads", "successes", "predicted", "actual", "95 %", "AUC", "")
    return (
        "<p>Predicted and actual rate of each group of 30 or more, by the folds. Of twenty groups one lies outside its bounds by chance.</p>"
        + table(heads, rows, figures=range(2, 8), marked=marked)
    )
