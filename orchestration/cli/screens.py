"""What the verbs print; takes results, computes nothing."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ingestion.settings import Settings

if TYPE_CHECKING:
    from ingestion.landing.ingest_report import IngestReport
    from ingestion.outbound.apply import ApplyReport
    from orchestration.consents import ConsentShown
    from orchestration.demo import DemoResult
    from orchestration.doctor import Findings
    from orchestration.explain import Explanation
    from orchestration.micro_batch import Batch, RunReport
    from orchestration.push import Planned
    from orchestration.sandbox_replay import Replayed
    from orchestration.side_build import Build

_STATE_STYLES = {"ok": "green", "warning": "yellow", "wrong": "bold red"}
_SHOWN_CHANGES = 12
_BAR_CELLS = 28


def _console(*, stderr: bool = False) -> Console:
    # Piped output keeps whole lines; a terminal gets its own width.
    # Values are printed as they are: a name like [/b] or :smile: is no markup.
    return Console(
        stderr=stderr,
        highlight=False,
        markup=False,
        emoji=False,
        width=None if sys.stdout.isatty() else 130,
    )


@contextmanager
def stages(*, quiet: bool) -> Iterator[Callable[[str], None]]:
    """A spinner with what is being done now and for how long, on stderr; plain lines where there is no terminal."""
    console = _console(stderr=True)
    if quiet:
        yield lambda _: None
    elif console.is_terminal:
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        with Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        ) as progress:
            task = progress.add_task("", total=None)
            yield lambda text: progress.update(task, description=text)
    else:
        former = ""

        def say(text: str) -> None:
            # A log wants the stages; the details after the colon are for somebody who watches.
            nonlocal former
            stage = text.partition(": ")[0]
            if stage != former:
                print(f"… {stage}", file=sys.stderr, flush=True)
            former = stage

        yield say


@contextmanager
def row_progress(*, quiet: bool) -> Iterator[Callable[[str, int], None]]:
    """Rows so far by what is being read."""
    with stages(quiet=quiet) as say:
        yield lambda name, rows: say(f"{name}: {rows:,} rows")


@contextmanager
def operation_progress(*, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Operations done of all, by object."""
    with stages(quiet=quiet) as say:
        yield lambda name, done, total: say(f"{name}: {done:,} of {total:,}")


def as_json_text(value: Any) -> str:
    """JSON that any parser takes: numbers JSON has no word for (NaN, infinity) are null."""
    return json.dumps(_finite(value), default=str, indent=2, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _distinct(columns: Sequence[str]) -> list[str]:
    """Names made distinct as DuckDB does (a, a_1): a JSON object would keep only the last of equals."""
    names: list[str] = []
    for column in columns:
        name, number = column, 0
        while name in names:
            number += 1
            name = f"{column}_{number}"
        names.append(name)
    return names


def print_rows(columns: Sequence[str], rows: Sequence[Sequence[Any]], output: str) -> None:
    """Rows of a query as a table, CSV or JSON."""
    if output == "json":
        names = _distinct(columns)
        print(as_json_text([dict(zip(names, row, strict=True)) for row in rows]))
    elif output == "csv":
        # One line end, the platform's own: \r before it would become part of the last column for cut, awk and sort.
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
    else:
        table = Table(box=None, header_style="bold", pad_edge=False)
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*("" if value is None else str(value) for value in row))
        console = _console()
        console.print(table)
        console.print(f"{len(rows):,} rows", style="dim")


def print_ingest(report: IngestReport) -> None:
    """What became of each row of each file."""
    console = _console()
    table = _table("file", "rows", "accepted", "known already", "conflict", "quarantined")
    for file in report.files:
        if file.refused is not None and not file.rows:
            continue
        table.add_row(
            file.path.name,
            *(
                f"{n:,}"
                for n in (file.rows, file.accepted, file.duplicate, file.conflict, file.quarantined)
            ),
        )
    if table.row_count:
        console.print(table)
    for file in report.files:
        if file.refused is not None:
            console.print(
                Text(f"{file.path}: {file.refused.code}: {file.refused.message}", style="red"),
                soft_wrap=True,
            )
            console.print(Text(f"  {file.refused.remedy}"), soft_wrap=True)
            taken = "Nothing of this file" if not file.rows else "Nothing after these rows"
            console.print(f"  {taken} was taken.", style="dim")
        for problem in file.problems:
            console.print(
                Text(
                    f"{file.path.name}:{problem.line}: {problem.code}: {problem.message}",
                    style="yellow",
                ),
                soft_wrap=True,
            )
            console.print(Text(f"  {problem.remedy}", style="dim"), soft_wrap=True)
        rest = sum(file.reasons.values()) - len(file.problems)
        if rest > 0:
            console.print(f"  … and {rest:,} more: {dict(file.reasons)}", style="dim")
    if report.dry_run:
        console.print("Dry run: nothing was written.", style="dim")
    elif report.accepted:
        console.print(
            f"{report.accepted:,} events in the log after {report.seconds:.1f} s. Next: handoff run"
        )


def batch_line(job: str, batch: Batch, *, as_json: bool) -> str:
    """One batch of the worker as one line: for a person, or a JSON document."""
    if as_json:
        return json.dumps({"job": job, **batch.as_dict()})
    failed = "".join(f"  check failed: {asset} {check}" for asset, check, _ in batch.failed_checks)
    return (
        f"{datetime.now():%H:%M:%S}  {job.removeprefix('run_').replace('_', ' '):<12}"
        f"{batch.rows_landed():>8,} landed {batch.rows_pushed():>6,} pushed {batch.seconds:>6.1f} s{failed}"
    )


def rebuild_line(build: Build, *, as_json: bool) -> str:
    """One stage of a rebuild beside as one line."""
    if as_json:
        return json.dumps({"job": "rebuild_warehouse", **build.as_dict()})
    told = build.error["message"] if build.error else build.reason
    return f"{datetime.now():%H:%M:%S}  {'rebuild':<12}{build.stage} after {build.seconds:.1f} s{': ' if told else ''}{told}"


def print_run(settings: Settings, report: RunReport) -> None:
    """Each batch's steps and what it moved."""
    console = _console()
    table = _table("batch", "landed", "pushed", "seconds", "slowest step")
    for number, batch in enumerate(report.batches, start=1):
        slowest = max(batch.steps.items(), key=lambda item: item[1], default=("", 0.0))
        table.add_row(
            "micro-batch" if number == 1 else "receipts",
            f"{batch.rows_landed():,}",
            f"{batch.rows_pushed():,}",
            f"{batch.seconds:.1f}",
            f"{slowest[0]} {slowest[1]:.1f} s",
        )
    console.print(table)
    first = report.batches[0]
    for key, metadata in sorted(first.assets.items()):
        if key.startswith("ops/pushes_"):
            system = key.removeprefix("ops/pushes_")
            if not metadata.get("configured"):
                console.print(
                    f"{system} is not configured: decided and published, nothing pushed.",
                    style="yellow",
                )
                continue
            told = ", ".join(
                f"{name.removeprefix('rows_')} {value}"
                for name, value in metadata.items()
                if name.startswith("rows_") and value
            )
            console.print(f"{system}: {told or 'nothing to do, the CRM agrees'}")
    for asset, check, messages in report.failed_checks:
        console.print(
            Text(f"check failed: {asset} {check}: {'; '.join(messages[:3])}", style="red"),
            soft_wrap=True,
        )
    console.print(f"Published: {settings.serving_path}", soft_wrap=True)
    if report.data_docs is not None:
        console.print(f"What was checked: {report.data_docs}", soft_wrap=True)


def print_plan(planned: Planned) -> None:
    """Counts, samples with old and new values, and what the guard says."""
    console = _console()
    plan = planned.plan
    if not plan.operations:
        console.print(f"{plan.system} agrees with the warehouse: nothing to write.", style="green")
    else:
        table = _table("object", "create", "update", "refused (consent)")
        for name, counts in plan.counts().items():
            table.add_row(name, f"{counts.creates:,}", f"{counts.updates:,}", f"{counts.refused:,}")
        console.print(table)
        for operation in plan.operations[:_SHOWN_CHANGES]:
            kind = "create" if operation.is_create else "update"
            console.print(
                Text(
                    f"{kind} {operation.object} {operation.target_id or operation.external_id}",
                    style="bold",
                )
            )
            for field, change in operation.changes.items():
                old = "" if change.get("old") is None else f"{change['old']} → "
                console.print(
                    Text(f"    {field}: {old}{change.get('new')}"),
                    overflow="ellipsis",
                    no_wrap=True,
                )
        rest = len(plan.operations) - _SHOWN_CHANGES
        if rest > 0:
            console.print(f"… and {rest:,} more; --json shows all", style="dim")
    for violation in planned.violations:
        console.print(Text(f"GUARD_REFUSED: {violation.message}", style="red"))
        console.print(f"  {violation.remedy}")
    for claim in planned.unmet:
        console.print(Text(f"EXPECTATION_FAILED: {claim}", style="red"))
    may_be_applied = plan.operations and not planned.violations and not planned.unmet
    console.print(
        f"Plan {plan.plan_id}" + (f"   →   handoff apply {plan.plan_id}" if may_be_applied else "")
    )


def print_applied(report: ApplyReport) -> None:
    """What became of each operation."""
    console = _console()
    counts = {name: count for name, count in report.counts().items() if count}
    console.print(
        f"{report.system}: "
        + (", ".join(f"{name} {count:,}" for name, count in counts.items()) or "nothing to do")
    )
    for row in report.rows:
        if row.status in ("failed", "refused", "superseded", "in_flight"):
            console.print(
                Text(
                    f"{row.status} {row.object} {row.external_id}: {row.code or ''} {row.message or ''}".rstrip(),
                    style="yellow",
                )
            )
    if report.halted:
        console.print(Text(f"stopped early: {report.halted}; the next run goes on", style="red"))


def _path(steps: Sequence[dict[str, Any]]) -> str:
    """How one comes from a record to the first one of its person."""
    return " > ".join(
        f"{step['identifier_type']} {step.get('identifier_value', '')}".rstrip()
        + f" > {step['record']}"
        for step in steps
    )


def _print_former_records(console: Console, explanation: Explanation) -> None:
    others = [
        row
        for row in explanation.former_records
        if row["person_id"] != explanation.person["person_id"]
    ]
    own = {(row["system"], row["record_id"]) for row in explanation.records}
    gone = [
        row
        for row in explanation.former_records
        if row["person_id"] == explanation.person["person_id"]
        and (row["system"], row["record_id"]) not in own
    ]
    if not (others or gone):
        return
    console.print(Text("\nWhat was known before", style="bold"))
    for row in (*others, *gone):
        whose = "this person's" if row in gone else f"{row['person_id']}'s"
        console.print(
            f"  {row['system']}/{row['record_type']}/{row['record_id']} was {whose}, as known from {_when(row['known_from'])} "
            f"until {_when(row['known_to'])}"
            + (f": {_path(row['link_path'])}" if row["link_path"] else "")
        )


def print_explanation(explanation: Explanation) -> None:
    """Who, why linked, why this score, why this owner, what was pushed."""
    console = _console()
    person = explanation.person
    name = (
        " ".join(part for part in (person["first_name"], person["last_name"]) if part)
        or person["email"]
        or "?"
    )
    console.print(Text(f"{name}  <{person['email']}>  {person['company'] or ''}", style="bold"))
    console.print(
        f"person_id {person['person_id']}, first seen {_when(person['first_seen_at'])}", style="dim"
    )

    console.print(Text("\nWho: records that are this person", style="bold"))
    for record in explanation.records:
        links = ", ".join(
            f"{link['identifier_type']} {link['identifier_value']}"
            # A link by evidence: how sure, and by which trained parameters.
            + (
                f" (weight {link['match_weight']:.1f}, parameters {link['parameters_version']})"
                if "match_weight" in link
                else ""
            )
            for link in record["evidence"]
            if link["identifier_type"] != "held_apart"
        )
        apart = [
            link["identifier_value"]
            for link in record["evidence"]
            if link["identifier_type"] == "held_apart"
        ]
        gone = " (deleted there)" if record["is_deleted"] else ""
        console.print(
            f"  {record['system']}/{record['record_type']}/{record['record_id']}{gone}  linked by: {links or 'nothing: alone'}"
            + (f"; split by hand from {', '.join(apart)}" if apart else "")
        )
        if len(record["link_path"]) > 1:
            console.print(Text(f"    by way of {_path(record['link_path'])}", style="dim"))
    _print_former_records(console, explanation)

    _print_account(console, explanation)
    console.print(
        Text(
            f"\nWhy this score: {explanation.score:.1f} points as of {_when(explanation.as_of)}",
            style="bold",
        )
    )
    table = _table("points", "reason", "times", "before decay", "half-life", "cap", "last")
    table.columns[0].justify, table.columns[1].justify = "right", "left"
    for row in explanation.contributions:
        table.add_row(
            f"{row['points']:+.1f}",
            f"{row['label']} ({row['rule_id']}@{row['scoring_version']})",
            str(row["entry_count"]),
            f"{row['undecayed_points']:+.0f}",
            f"{row['half_life_days']:.0f} d" if row["half_life_days"] else "stays",
            f"{row['cap']:.0f}" if row["cap"] is not None else "",
            _when(row["last_at"]),
        )
    console.print(table)
    for row in explanation.cuts:
        console.print(f"  {row['points']:+.1f} by the cap of {row['cap_of']}, {row['cap']:.0f}")
    for row in explanation.exclusions:
        console.print(
            f"  excluded, so no MQL: {row['label']} ({row['rule_id']}@{row['scoring_version']})",
            style="yellow",
        )
    for row in explanation.withheld:
        console.print(
            f"  not counted: {row['entry_count']} x {row['label']} ({row['undecayed_points']:+.0f}), "
            f"{row['withheld_by']} since {_when(row['withheld_at'])}",
            style="dim",
        )
    for mql in explanation.mqls:
        console.print(
            f"  became an MQL {_when(mql['reached_at'])} with {mql['score']:.1f} points, grade {mql['grade']}"
            + (
                ""
                if mql["engagement_level"] is None
                else f", cell {mql['grade']}{mql['engagement_level']}"
            )
            + f" (scoring {mql['scoring_version']})"
            + (
                ""
                if mql["recycled_at"] is None
                else f", after sales had sent them back {_when(mql['recycled_at'])}"
            )
        )
    if not explanation.mqls:
        console.print("  has not reached the threshold", style="dim")

    _print_predictions(console, explanation)

    console.print(Text("\nWhy this owner", style="bold"))
    for assignment in explanation.assignments:
        console.print(
            f"  {assignment['rep_name'] or 'nobody'} <{assignment['rep_email'] or ''}>, first touch due "
            f"{_when(assignment['sla_due_at'])} (routing {assignment['routing_version']})"
        )
        for step in assignment["reason_path"]:
            console.print(f"    · {step}")
    if not explanation.assignments:
        console.print("  not assigned", style="dim")

    console.print(Text("\nConsent", style="bold"))
    for consent in explanation.consents:
        console.print(
            f"  {_when(consent['occurred_at'])} {consent['channel']}/{consent['purpose']}: {consent['status']}"
            f" ({consent['lawful_basis']}, {consent['source'] or consent['system']}){_standing(consent, explanation.as_of)}"
        )
    if not explanation.consents:
        console.print("  nothing is known: unknown means no", style="dim")

    console.print(Text("\nWhat the CRM was told", style="bold"))
    for push in explanation.pushes:
        console.print(
            f"  {_when(push['planned_at'])} {push['system']} {push['action']} {push['object']} {push['record_id'] or ''}: "
            f"{push['status']} {push['error_code'] or ''}".rstrip()
        )
    if not explanation.pushes:
        console.print("  nothing", style="dim")


def _print_predictions(console: Console, explanation: Explanation) -> None:
    """How likely sales is to take the person up; nothing before a model was trained."""
    if not explanation.predictions:
        return
    console.print(Text("\nHow likely sales takes them up", style="bold"))
    for told in explanation.predictions:
        when = "now" if told["mql_id"] is None else f"as the MQL of {_when(told['predicted_at'])}"
        outcome = f", {told['outcome']}" if told["outcome"] else ""
        console.print(
            f"  {told['probability']:.1%} {when}{outcome} (model {told['model_version']}, {told['model_id']})"
        )
        for reason in told["reasons"]:
            value = "not known" if reason["value"] is None else reason["value"]
            console.print(f"    · {reason['effect']:+.2f} {reason['label']}: {value}", style="dim")


def print_consent(shown: ConsentShown) -> None:
    """What counts at the instant, then every statement and what became of it."""
    console = _console()
    console.print(
        Text(f"{shown.person_id}, consent as of {_when(shown.as_of)}", style="bold"), soft_wrap=True
    )
    table = _table(
        "channel", "purpose", "counts as", "basis", "source", "notice", "said", "expires"
    )
    for row in shown.in_force:
        table.add_row(
            row["channel"], row["purpose"], row["status"], row["lawful_basis"] or "", row["source"] or "",
            row["notice_version"] or "", _when(row["occurred_at"]),
            _when(row["expires_at"]) if row["expires_at"] else "never",
        )  # fmt: skip
    console.print(
        table if shown.in_force else Text("  nothing is known: unknown means no", style="dim")
    )
    for hidden in shown.hidden_by:
        console.print(
            f"  hidden from readers ({hidden['effect']}) by {hidden['rule_id']} since {_when(hidden['hidden_since_at'])}"
        )
    if shown.statements:
        console.print(Text("\nStatements", style="bold"))
    for consent in shown.statements:
        gpc = ", with Global Privacy Control" if consent["is_gpc"] else ""
        console.print(
            f"  {_when(consent['occurred_at'])} {consent['channel']}/{consent['purpose']}: {consent['status']}"
            f" ({consent['lawful_basis']}, {consent['source'] or consent['system']}){gpc}{_standing(consent, shown.as_of)}"
        )


def _standing(consent: dict[str, Any], as_of: datetime) -> str:
    """What has become of a statement, where anything has."""
    if consent["superseded_at"]:
        return f", replaced {_when(consent['superseded_at'])}"
    if consent["expires_at"] and consent["expires_at"] <= as_of:
        return f", expired {_when(consent['expires_at'])}"
    if consent["effective_status"] != consent["status"]:
        return f", counts as {consent['effective_status']}: it was not confirmed"
    return ""


def print_doctor(findings: Findings) -> None:
    """Each look, then the reconciliation to the row."""
    console = _console()
    for finding in findings.findings:
        console.print(
            Text(f"{finding.state:<8}", style=_STATE_STYLES[finding.state])
            + Text(f"{finding.name}: {finding.told}"),
            soft_wrap=True,
        )
        if finding.remedy:
            console.print(f"        → {finding.remedy}", soft_wrap=True)
    if findings.counts:
        console.print(
            Text("\nReconciliation: received = warehouse + quarantine + on the way", style="bold")
        )
        table = _table("what", "received", "warehouse", "quarantine", "on the way", "missing")
        for count in findings.counts:
            table.add_row(
                count.what,
                *(
                    f"{n:,}"
                    for n in (
                        count.received,
                        count.in_warehouse,
                        count.in_quarantine,
                        count.in_flight,
                        count.missing,
                    )
                ),
            )
        console.print(table)
    if findings.files:
        console.print(
            Text("\nFiles: rows = accepted + known already + conflict + quarantined", style="bold")
        )
        table = _table(
            "file", "ingested", "rows", "accepted", "known already", "conflict", "quarantined"
        )
        for file in findings.files:
            table.add_row(
                file.path,
                _when(file.ingested_at),
                *(
                    f"{n:,}"
                    for n in (
                        file.rows,
                        file.accepted,
                        file.duplicate,
                        file.conflict,
                        file.quarantined,
                    )
                ),
            )
        console.print(table)


def print_latency(rows: Sequence[dict[str, Any]], hours: float) -> None:
    """The way from form submit to CRM, stage by stage."""
    console = _console()
    if not rows:
        console.print(f"No form submit of the last {hours:g} hours became a lead in the CRM.")
        return
    console.print(
        Text(
            f"Form submit → CRM, {rows[-1]['count']:,} handoffs of the last {hours:g} hours",
            style="bold",
        )
    )
    _print_latency(console, rows)


# What set the person's account apart from the next, in words.
_DECIDED_BY = {
    "only_candidate": "no other account comes into question",
    "own_record": "of the others nobody here keeps a record",
    "evidence": "the evidence is stronger",
    "trusted_record": "stated by the more trusted system",
    "newest_record": "stated by the newest record",
    "open_opportunity": "it has an open opportunity",
    "customer": "it is a customer",
    "owner": "it has an owner",
    "recent_change": "it changed last",
    "contact_count": "more contacts name it",
    "oldest": "it is known for longer",
    "account_id": "nothing else told them apart: the lower id",
}


def _print_account(console: Console, explanation: Explanation) -> None:
    console.print(Text("\nWhy this account", style="bold"))
    for match in explanation.account_matches:
        name = match["name"] or match["domain"] or match["account_id"]
        found = f"{match['evidence']} {match['evidence_value']}"
        if match["is_chosen"]:
            told = _DECIDED_BY.get(match["decided_by"], match["decided_by"])
            console.print(f"  {name}  found by {found}; {told}", markup=False)
        else:
            console.print(f"  not {name}  found by {found}", style="dim", markup=False)
    if not explanation.account_matches:
        console.print(
            "  none: no record names an account, and no account has the domain", style="dim"
        )


def _print_latency(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    longest = max((row["p95"] for row in rows), default=0.0) or 1.0
    if rows:
        console.print(f"  {'':<30}{'p50':>8}{'p95':>8}{'p99':>8}", style="dim")
    for row in rows:
        is_whole = row["stage"].startswith("form submit")
        console.print(
            Text(
                f"  {row['stage']:<30}{row['p50']:>6.1f} s{row['p95']:>6.1f} s{row['p99']:>6.1f} s  "
                + "█" * max(1, round(_BAR_CELLS * row["p95"] / longest)),
                style="bold" if is_whole else "",
            )
        )
    stages_only = [row for row in rows if not row["stage"].startswith("form submit")]
    if stages_only:
        slowest = max(stages_only, key=lambda row: row["p50"])
        console.print(
            f"  slowest step: {slowest['stage']} ({slowest['p50']:.1f} s)", style="yellow"
        )


def print_replayed(done: Replayed, *, dry_run: bool) -> None:
    """Webhooks that were or would be sent again, and what became of them."""
    console = _console()
    table = _table("webhook", "sent", "persona", "type", "attempts", "state", "answer")
    for row in done.webhooks:
        answer = row["status"] if row["status"] is not None else row["error"] or ""
        table.add_row(
            row["id"],
            _when(datetime.fromisoformat(row["at"])),
            str(row["persona"] or ""),
            row["type"],
            str(row["attempt_count"]),
            row["state"],
            str(answer),
        )
    console.print(table)
    if dry_run:
        console.print(f"{len(done.webhooks)} would be sent again; nothing was sent")
        return
    delivered, total = done.count("delivered"), len(done.webhooks)
    console.print(
        f"{delivered} of {total} delivered", style="green" if delivered == total else "yellow"
    )


def print_demo(result: DemoResult) -> None:
    """The first screen: funnel, latency, newest MQLs, KPIs, quarantine, and where to look next."""
    from orchestration.overview import KPI_GROUPS, KPI_TITLES

    console = _console()
    console.print(
        Text(
            f"\nHandoff demo  ·  simulated company, seed {result.seed}  ·  {result.seconds:.0f} s",
            style="bold",
        )
    )

    console.print(Text("\nFunnel", style="bold"))
    titles = {
        "activities": "activities",
        "people": "people",
        "mqls": "qualified (MQL)",
        "owned": "owned by a rep",
        "meeting": "MQLs with a meeting",
        "won": "won",
    }
    people = dict(result.funnel).get("people", 0)
    former: int | None = None
    for name, count in result.funnel:
        share = (
            ""
            if name == "activities" or not former
            else f"{count / former:6.1%} of the step before"
        )
        bar = (
            ""
            if name == "activities"
            else "█" * max(round(_BAR_CELLS * count / max(people, 1)), 1 if count else 0)
        )
        console.print(
            f"  {titles[name]:<20}{count:>7,}  {bar:<{_BAR_CELLS}} {share if former != count or share else ''}"
        )
        former = count if name != "activities" else None

    console.print(Text("\nForm submit → CRM (the live form submits)", style="bold"))
    _print_latency(console, result.latency)

    console.print(Text("\nNewest MQLs", style="bold"))
    now = datetime.now(UTC)
    for mql in result.mqls:
        left = (mql["sla_due_at"] - now).total_seconds() / 60 if mql["sla_due_at"] else 0
        due = f"first touch in {_span(left)}" if left >= 0 else f"due since {_span(-left)}"
        console.print(
            Text(f"  {mql['score']:5.1f} {mql['grade']}  ", style="bold")
            + Text(
                f"{mql['name']}, {mql['company'] or mql['email']}  →  {mql['owner'] or 'nobody'} ({mql['territory']}), {due}"
            )
        )
        reasons = "  ".join(
            f"{reason['points']:+.0f} {reason['label']}"
            for reason in mql["reasons"]
            if abs(reason["points"]) >= 0.5
        )
        console.print(f"           {reasons}", style="dim", overflow="ellipsis", no_wrap=True)

    console.print(Text("\nKPIs", style="bold"))
    values = {row["kpi"]: row for row in result.kpis}
    for group in KPI_GROUPS:
        for kpi in group:
            title, unit = KPI_TITLES[kpi]
            row = values.get(kpi)
            if row is None or not row["denominator"]:
                console.print(
                    f"  {kpi:<24}{'-':>10}  {title} (nothing to measure yet)", style="dim"
                )
                continue
            if row["value"] is None:
                console.print(
                    f"  {kpi:<24}{'too few':>10}  {title}  ({row['denominator']:,.0f} of the {row['minimum_sample']} cases that would say something)",
                    style="dim",
                )
                continue
            shown = f"{row['value']:.1%}" if unit == "%" else f"{row['value']:.1f} {unit}"
            console.print(
                f"  {kpi:<24}{shown:>10}  {title}  ({row['numerator']:,.0f} / {row['denominator']:,.0f})"
            )

    console.print(Text("\nNeeds attention", style="bold"))
    for row in result.quarantine:
        console.print(
            Text(f"  {row['code']:<20}{row['count']:>4}  ", style="yellow")
            + Text(str(row["message"])),
            overflow="ellipsis",
            no_wrap=True,
        )
    for row in result.held_back:
        console.print(
            f"  {'CONSENT_MISSING':<20}{row['count']:>4}  MQLs not pushed: consent {row['consent_state']}",
            style="yellow",
        )
    for row in result.pushes:
        if row["status"] != "confirmed":
            console.print(f"  {row['object']} {row['status']} {row['count']}", style="yellow")
    confirmed = ", ".join(
        f"{row['count']} {row['object']}s" for row in result.pushes if row["status"] == "confirmed"
    )
    console.print(f"  pushed and read back from the CRM: {confirmed or 'nothing'}", style="green")

    home = result.home
    console.print(Text("\nOpen", style="bold"))
    who = result.mqls[0]["email"] if result.mqls else "EMAIL"
    activate = Path(sys.executable).with_name("activate")
    for command, what in (
        (f"source {activate}; export HANDOFF_HOME={home}", ""),
        (f"handoff explain {who}", "why this person, score and owner"),
        ('handoff query "select * from marts.fct_mqls limit 5"', "any SQL on the published file"),
        ("handoff ui", "Dagster: assets, checks, runs"),
        ("handoff doctor", "set-up and reconciliation to the row"),
        (f"{home}/serving/handoff.duckdb", "the serving file, for any DuckDB client"),
        (f"{home}/artifacts/data_docs/index.html", "what Great Expectations said at the doors"),
    ):
        console.print(f"  {command}" + (f"\n      {what}" if what else ""), soft_wrap=True)
    timings = "  ".join(f"{name.split(':')[0]} {seconds:.0f} s" for name, seconds in result.timings)
    console.print(f"\n{timings}", style="dim", soft_wrap=True)


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", overflow="fold")
    return table


def _when(instant: datetime | None) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%d %H:%MZ") if instant else "-"


def _span(minutes: float) -> str:
    if minutes < 120:
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.0f} h" if minutes < 2880 else f"{minutes / 1440:.0f} days"
