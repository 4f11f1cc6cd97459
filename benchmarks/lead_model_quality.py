"""AUC, Brier score, calibration and lift of lead models on published data, beside what their figures were before: `python -m benchmarks.lead_model_quality FOLDER
[NAME…]`.

Ours goes the product's own way: `handoff ingest`, `handoff run`, `handoff train`. Each row of a table is a contact whose columns are custom fields, said when it was first
known; what can be known only afterwards (`PageValues`, `duration`) is said an hour later, as it would be, and the outcome a day later. The policy
names the leaky column as well: no model may come to use it.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from models.policies.load import copy_policies

START = datetime(2015, 1, 1, tzinfo=UTC)
STEP = timedelta(hours=1)
TUTORIAL = Path(__file__).parents[1] / "docs" / "tutorials" / "olist"


@dataclass(frozen=True, slots=True)
class Table:
    """One published table: what its outcome is called, what is known only afterwards, and the figures to reach."""

    file: str
    delimiter: str
    outcome: tuple[str, str]
    afterwards: str
    categories: frozenset[str]
    validation_share: float
    folds_auc: float
    newest_auc: float | None


TABLES = {
    "online_shoppers": Table(
        file="leads/online_shoppers_intention.csv",
        delimiter=",",
        outcome=("Revenue", "TRUE"),
        afterwards="PageValues",
        categories=frozenset(
            ("Month", "OperatingSystems", "Browser", "Region", "TrafficType", "VisitorType", "Weekend")
        ),
        validation_share=0.3,
        folds_auc=0.774,
        newest_auc=None,
    ),
    "bank": Table(
        file="leads/bank-additional-full.csv",
        delimiter=";",
        outcome=("y", "yes"),
        afterwards="duration",
        categories=frozenset(
            ("job", "marital", "education", "default", "housing", "loan", "contact", "month", "day_of_week", "poutcome")
        ),
        validation_share=0.2,
        folds_auc=0.806,
        newest_auc=0.748,
    ),
}  # fmt: skip
OLIST = (0.680, 0.686)


def main(arguments: Sequence[str]) -> int:
    """Train on each set, print a table, and return 1 where a figure is not reached."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.lead_model_quality", description=__doc__
    )
    parser.add_argument("folder", type=Path, help="folder with leads/ and olist_funnel/")
    parser.add_argument(
        "names", nargs="*", help=f"of {', '.join((*TABLES, 'olist'))}; default: all"
    )
    told = parser.parse_args(arguments)
    print(
        f"{'':<16} {'':<18} {'AUC':>6} {'to reach':>8} {'95 %':>15} {'Brier':>7} {'ECE':>7} {'lift':>5}"
    )
    is_reached = True
    for name in told.names or (*TABLES, "olist"):
        with tempfile.TemporaryDirectory(prefix="handoff-leads-") as scratch:
            started = time.monotonic()
            trained = _train(name, told.folder, Path(scratch))
            is_reached &= _print(name, trained, time.monotonic() - started)
    return 0 if is_reached else 1


def _train(name: str, folder: Path, scratch: Path) -> dict[str, Any]:
    policies = scratch / "policies"
    copy_policies(policies)
    handoff = _Handoff(scratch / "home", policies)
    if name == "olist":
        (policies / "model" / "v1.yml").write_text(_policy("won", 0.3, 400, [
            {"id": "origin", "field": "original_source"},
            {"id": "landing_page", "field": "custom.landing_page_id"},
        ], ["weekday"]))  # fmt: skip
        leads, deals = (
            folder / "olist_funnel" / f"olist_{file}_dataset.csv"
            for file in ("marketing_qualified_leads", "closed_deals")
        )
        for file, mapping in ((leads, "leads"), (deals, "reps"), (deals, "closed_deals")):
            handoff("ingest", str(file), "--mapping", str(TUTORIAL / f"{mapping}.yml"))
    else:
        table = TABLES[name]
        events = scratch / "events.jsonl"
        with events.open("w", encoding="utf-8") as file:
            for event in _events(folder / table.file, table):
                file.write(json.dumps(event) + "\n")
        (policies / "model" / "v1.yml").write_text(
            _policy(
                "accepted", table.validation_share, 2, _features(folder / table.file, table), []
            )
        )
        handoff("ingest", str(events))
    handoff("run")
    told: dict[str, Any] = json.loads(handoff("train", "--json"))
    model = json.loads((policies / "model" / "v1.model.json").read_text(encoding="utf-8"))
    used = {term["feature"] for term in model["terms"]}
    if "afterwards" in used:
        raise AssertionError(f"{name}: the model uses what was known only afterwards")
    return told


class _Handoff:
    """The command line on a home of its own."""

    def __init__(self, home: Path, policies: Path) -> None:
        self._environment = {
            **os.environ,
            "HANDOFF_HOME": str(home),
            "HANDOFF_POLICIES": str(policies),
        }

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "orchestration.cli.app", *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"handoff {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout


def _rows(path: Path, table: Table) -> Iterator[Mapping[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file, delimiter=table.delimiter)


def _events(path: Path, table: Table) -> Iterator[dict[str, Any]]:
    column, success = table.outcome
    for number, row in enumerate(_rows(path, table)):
        at = START + STEP * number
        before = {
            name: value for name, value in row.items() if name not in (column, table.afterwards)
        }
        who = {"system": "web", "record_id": f"{number}"}
        yield _event("contact", f"{number}", at, {**who, "custom": before})
        after = {**before, table.afterwards: row[table.afterwards]}
        yield _event("contact", f"{number}-after", at + STEP, {**who, "custom": after}, number)
        if row[column].casefold() == success.casefold():
            changed = {"system": "web", "contact_id": f"{number}", "from": "mql", "to": "accepted"}
            yield _event(
                "stage_change", f"{number}-accepted", at + timedelta(days=1), changed, number
            )


def _event(
    record: str, event_id: str, at: datetime, data: dict[str, Any], number: int | None = None
) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": "urn:handoff:published",
        "type": f"com.handoff.{record}",
        "subject": f"{record}/web/{event_id if number is None else number}",
        "time": at.isoformat(),
        "data": data,
    }


def _features(path: Path, table: Table) -> list[dict[str, Any]]:
    names = next(iter(_rows(path, table)))
    features: list[dict[str, Any]] = [
        {"id": "afterwards", "field": f"custom.{table.afterwards}", "type": "number"}
    ]
    for number, name in enumerate(names):
        if name not in (table.outcome[0], table.afterwards):
            kind = "category" if name in table.categories else "number"
            told = {"id": f"f{number}", "label": name, "field": f"custom.{name}", "type": kind}
            features.append(told)
    return features


def _policy(
    outcome: str, share: float, days: int, fields: list[dict[str, Any]], calendar: list[str]
) -> str:
    # JSON is YAML.
    return json.dumps(
        {
            "description": "Published data.",
            "owner": "benchmarks",
            "effective_at": "2025-01-01T00:00:00Z",
            "learn_from": "people",
            "outcome": outcome,
            "within_days": days,
            # All of it is history.
            "imported_before": "2100-01-01T00:00:00Z",
            "validation_share": share,
            "features": {"fields": fields, "calendar": calendar},
        }
    )


def _print(name: str, trained: dict[str, Any], seconds: float) -> bool:
    wanted = OLIST if name == "olist" else (TABLES[name].folds_auc, TABLES[name].newest_auc)
    is_reached = True
    for kind, least in zip(("folds", "newest"), wanted, strict=True):
        best = max(each[kind]["auc"] for each in trained["validations"].values())
        for estimator, each in trained["validations"].items():
            figures = each[kind]
            marked = "*" if estimator == trained["estimator"] else " "
            goal = "" if least is None else f"{least:.3f}"
            bounds = f"{figures['auc_low']:.3f} to {figures['auc_high']:.3f}"
            print(
                f"{name:<16} {estimator + marked:<10} {kind:<7} {figures['auc']:>6.3f} {goal:>8} {bounds:>15} "
                f"{figures['brier']:>7.4f} {figures['ece']:>7.4f} {figures['lift']:>5.1f}"
            )
        is_reached &= least is None or round(best, 3) >= least
    snapshot = trained["snapshot"]
    print(
        f"{'':<16} {snapshot['cases']:,} leads, {snapshot['positives']:,} successes, {seconds:.0f} s; {trained['chosen_because']}"
    )
    return is_reached


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
