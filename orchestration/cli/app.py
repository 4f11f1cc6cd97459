"""The verbs of `handoff` and their options; what they do is done elsewhere, so that the first line prints at once."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import click
import typer
from pydantic import ValidationError

from ingestion.errors.catalog import HandoffError
from ingestion.settings import Settings
from orchestration.cli import (
    calendars,
    clients,
    consents,
    contracts,
    identity,
    policy,
    quarantine,
    routing,
    scheduling,
    webhooks,
)
from orchestration.cli.drift import drift
from orchestration.cli.enrich import enrich
from orchestration.cli.erasure import erase
from orchestration.cli.lead_models import models, train
from orchestration.cli.output import EXIT_CHECKS, EXIT_OK, EXIT_OUTSIDE, AsJson, instant_of
from orchestration.cli.output import print_json as _print_json
from orchestration.cli.replay import replay

app = typer.Typer(
    name="handoff",
    help=(
        "Marketing-to-sales handoff in your own warehouse: who is whom, who is ready for sales, who owns them, and the CRM told so.\n\n"
        "New here? `handoff demo` runs everything on a simulated company; `handoff doctor` says what is set up."
    ),
    epilog="Exit codes: 0 ok, 1 checks failed, 2 usage, 3 an outside system, 4 configuration. Settings: HANDOFF_* variables.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(calendars.app)
app.add_typer(clients.app)
app.add_typer(consents.app)
app.add_typer(contracts.app)
app.add_typer(identity.app)
app.add_typer(policy.app)
app.add_typer(quarantine.app)
app.add_typer(routing.app)
app.add_typer(scheduling.app)
app.add_typer(webhooks.app)
app.command()(enrich)
app.command()(erase)
app.command()(train)
app.command()(models)
app.command()(replay)
app.command()(drift)


class OutputFormat(StrEnum):
    """How `handoff query` prints."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


AsOf = Annotated[
    str | None,
    typer.Option(
        "--as-of",
        metavar="INSTANT",
        help="Speak for this instant (ISO 8601, e.g. 2026-11-01T00:00Z); default: now.",
    ),
]


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"handoff {version('handoff')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    # No docstring: typer would show it in place of the help above.
    ...


@app.command()
def demo(
    seed: Annotated[
        int, typer.Option(help="Seed of the simulated company; one seed, one world.")
    ] = 7,
    keep: Annotated[
        bool,
        typer.Option(
            "--keep", help="Continue the state of the last demo instead of starting afresh."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run the whole thing on a simulated company and show the funnel.

    Starts the sandbox and the edge, polls MAP, CRM and calendar, decides, pushes to the CRM, then sends signed form submits through the
    webhook and times them until the CRM confirms. State is under HANDOFF_HOME/demo; nothing outside this machine is touched.
    """
    from orchestration.cli.screens import print_demo, stages
    from orchestration.demo import run_demo

    with stages(quiet=as_json) as say:
        result = run_demo(Settings(), seed=seed, fresh=not keep, say=say)
    if as_json:
        _print_json(result.as_dict())
    else:
        print_demo(result)


@app.command()
def ingest(
    files: Annotated[
        list[Path],
        typer.Argument(help="JSONL of CloudEvents, or CSV or Parquet with --type or --mapping."),
    ],
    record_type: Annotated[
        str | None,
        typer.Option(
            "--type", help="Record the rows are: contact, account, opportunity, activity, …"
        ),
    ] = None,
    mapping: Annotated[
        str | None,
        typer.Option(
            help="YAML that renames columns and values, or a shipped one such as hubspot/contacts."
        ),
    ] = None,
    system: Annotated[
        str | None, typer.Option(help="System the rows come from, e.g. salesforce.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Validate only; write nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Put records from files into the event log, through the same door as the edge.

    What breaks its contract goes to quarantine with its reason, the rest is accepted; a second run of the same file adds nothing.
    `handoff run` brings it into the warehouse.
    """
    from ingestion.landing import files as file_door
    from orchestration.cli.screens import print_ingest, row_progress
    from orchestration.reconciliation import keep_ingest

    settings = Settings()
    with row_progress(quiet=as_json) as progress:
        report = file_door.ingest(
            settings,
            files,
            record_type=record_type,
            mapping=mapping,
            system=system,
            dry_run=dry_run,
            progress=progress,
        )
    if not dry_run:
        keep_ingest(settings, report)
    if as_json:
        _print_json(
            {
                "seconds": report.seconds,
                "files": [
                    {
                        "path": str(file.path),
                        "rows": file.rows,
                        "accepted": file.accepted,
                        "duplicate": file.duplicate,
                        "conflict": file.conflict,
                        "quarantined": file.quarantined,
                        "reasons": dict(file.reasons),
                        "problems": [asdict(problem) for problem in file.problems],
                        "refused": _error_json(file.refused) if file.refused else None,
                    }
                    for file in report.files
                ],
            }
        )
    else:
        print_ingest(report)
    raise typer.Exit(report.exit_code)


@app.command()
def run(
    as_of: AsOf = None,
    full_refresh: Annotated[
        bool, typer.Option("--full-refresh", help="Rebuild every derived table from the raw ones.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run one micro-batch: land, transform, validate, publish, plan, apply, confirm.

    Without a destination configured it says so and stops after publishing. Receipts of what was pushed are recorded by a second, short batch.
    """
    from orchestration.cli.screens import print_run, stages

    settings = Settings()
    instant = instant_of(as_of)
    with stages(quiet=as_json) as say:
        say("starting")
        from orchestration.micro_batch import run_micro_batches
        from orchestration.progress import listening

        with listening(say):
            report = run_micro_batches(settings, as_of=instant, full_refresh=full_refresh)
    if as_json:
        _print_json([batch.as_dict() for batch in report.batches])
    else:
        print_run(settings, report)
    from orchestration.assets.landing import WAS_POLLED

    failed = {check for _, check, _ in report.failed_checks}
    refused = any(batch.is_refused_outside() for batch in report.batches)
    if failed == {WAS_POLLED} or (refused and not failed):
        # Nothing is wrong with the data: a system did not answer, or did not take it.
        raise typer.Exit(EXIT_OUTSIDE)
    raise typer.Exit(EXIT_CHECKS if failed else EXIT_OK)


@app.command()
def work(
    refresh: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=1,
            help="How often to poll and to renew what people read; default HANDOFF_REFRESH_SECONDS.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Take what comes in as it comes in: a form submit is a lead in the CRM seconds later. Ctrl-C stops after the batch under way.

    One warm process: the hot path runs whenever the event log has news, a whole micro-batch at the start and every --refresh seconds. Each is a
    run in Dagster's UI. A changed policy is brought in by a rebuild on a copy of the warehouse, and leads do not wait for it. `handoff ui`
    starts a worker too.
    """
    from orchestration.cli.screens import batch_line, rebuild_line

    settings = Settings() if refresh is None else Settings(refresh_seconds=refresh)
    print("starting; the first batch brings everything up to date", file=sys.stderr, flush=True)
    from orchestration.worker import work_until_signalled

    work_until_signalled(
        settings,
        on_batch=lambda job, batch: print(batch_line(job, batch, as_json=as_json), flush=True),
        on_rebuild=lambda build: print(rebuild_line(build, as_json=as_json), flush=True),
    )


@app.command()
def plan(
    system: Annotated[str, typer.Argument(help="Destination, e.g. salesforce.")],
    as_of: AsOf = None,
    as_json: AsJson = False,
) -> None:
    """Show what would be written to a destination, and seal it; nothing is sent."""
    from orchestration import push
    from orchestration.cli.screens import print_plan
    from orchestration.writer_lock import warehouse_writer, writer_patience

    settings = Settings()
    push.require_destination(system)
    with warehouse_writer(settings, wait_seconds=writer_patience(settings)):
        planned = push.make_plan(settings, system, as_of=instant_of(as_of) or datetime.now(UTC))
    if as_json:
        _print_json(
            {
                **planned.plan.as_dict(),
                "violations": [violation.message for violation in planned.violations],
                "unmet": list(planned.unmet),
            }
        )
    else:
        print_plan(planned)
    raise typer.Exit(EXIT_CHECKS if planned.violations or planned.unmet else EXIT_OK)


@app.command()
def apply(
    plan_id: Annotated[str, typer.Argument(metavar="PLAN", help="Id that `handoff plan` printed.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Look everything up, write nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Send a sealed plan, read every row back and keep a receipt of each.

    Refuses when the warehouse now wants something else, when the guard forbids it, and when consent is gone.
    """
    from orchestration import push
    from orchestration.cli.screens import operation_progress, print_applied
    from orchestration.writer_lock import warehouse_writer, writer_patience

    settings = Settings()
    with (
        warehouse_writer(settings, wait_seconds=writer_patience(settings)),
        operation_progress(quiet=as_json) as progress,
    ):
        report = push.apply(settings, plan_id, dry_run=dry_run, progress=progress)
    if as_json:
        _print_json(report.as_dict())
    else:
        print_applied(report)
    raise typer.Exit(EXIT_OK if report.is_clean else EXIT_OUTSIDE)


@app.command()
def explain(
    who: Annotated[
        str, typer.Argument(metavar="EMAIL|PERSON_ID", help="An e-mail address or a person_id.")
    ],
    as_of: AsOf = None,
    as_json: AsJson = False,
) -> None:
    """Say who somebody is, why their records are linked, why this score, why this owner, and what the CRM was told."""
    from orchestration.cli.screens import print_explanation
    from orchestration.explain import explain_person

    explanation = explain_person(Settings(), who, as_of=instant_of(as_of))
    if as_json:
        _print_json(explanation.as_dict())
    else:
        print_explanation(explanation)


@app.command()
def query(
    sql: Annotated[
        str, typer.Argument(help="One SQL statement; `show all tables` lists what there is.")
    ],
    output: Annotated[
        OutputFormat, typer.Option("--format", help="How to print.")
    ] = OutputFormat.TABLE,
    as_json: AsJson = False,
) -> None:
    """Ask the published file. Never locks, never waits, cannot change anything."""
    from orchestration.cli.screens import print_rows
    from orchestration.serving import query as ask

    columns, rows = ask(Settings(), sql)
    print_rows(columns, rows, "json" if as_json else output.value)


@app.command()
def latency(
    hours: Annotated[float, typer.Option(min=0, help="Look back this far.")] = 24.0,
    as_json: AsJson = False,
) -> None:
    """Show how long a form submit takes to a lead with owner and task in the CRM, stage by stage, as p50, p95 and p99.

    From marts.fct_handoff_latency in the published file; in `handoff ui` the same figures stand on that asset, over time.
    """
    from datetime import timedelta

    from orchestration.cli.screens import print_latency
    from orchestration.overview import latency as percentiles

    rows = percentiles(Settings(), since=datetime.now(UTC) - timedelta(hours=hours))
    if as_json:
        _print_json(rows)
    else:
        print_latency(rows, hours)


@app.command()
def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; default HANDOFF_EDGE_HOST.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65_535, help="Port; default HANDOFF_EDGE_PORT.")
    ] = None,
) -> None:
    """Serve the edge: POST /v1/events, POST /webhooks/{system}, what became of them, and booking; /openapi.json lists every address."""
    from ingestion.edge.server import serve as serve_edge
    from ingestion.replay import retake
    from orchestration.edge_decisions import ServingDecisions
    from orchestration.edge_scheduling import ServingHosts

    settings = Settings()

    def announce(url: str) -> None:
        print(
            f"edge on {url}  (log: {settings.log_path}; Ctrl-C stops)", file=sys.stderr, flush=True
        )

    decisions, hosts = ServingDecisions(settings), ServingHosts(settings)
    try:
        serve_edge(
            settings,
            host,
            port,
            announce=announce,
            decisions=decisions,
            retake=retake,
            scheduling=hosts,
        )
    finally:
        decisions.close()
        hosts.close()


@app.command()
def sandbox(
    port: Annotated[
        int | None, typer.Option(min=1, max=65_535, help="Port; default HANDOFF_SANDBOX_PORT.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the company; default HANDOFF_SANDBOX_SEED.")
    ] = None,
    reset: Annotated[
        bool, typer.Option("--reset", help="Forget everything written to it before.")
    ] = False,
    edge_url: Annotated[
        str | None,
        typer.Option(
            "--edge-url", help="Where its webhooks go; default: the edge of HANDOFF_EDGE_PORT here."
        ),
    ] = None,
) -> None:
    """Serve a simulated company: a HubSpot-shaped and a Marketo-shaped MAP, a Salesforce-shaped CRM and a calendar over HTTP.

    Its page, at the address printed, has the personas, the faults and what was sent and received.
    """
    from ingestion.sandbox.app import serve as serve_sandbox
    from ingestion.sandbox.credentials import environment

    settings = Settings()
    chosen_seed = settings.sandbox_seed if seed is None else seed

    def announce(url: str) -> None:
        print(f"# sandbox on {url}; point Handoff at it with:", flush=True)
        for name, value in environment(url, chosen_seed).items():
            print(f"export {name}='{value}'", flush=True)

    serve_sandbox(
        settings, port, seed=chosen_seed, reset=reset, edge_url=edge_url, announce=announce
    )


@app.command("sandbox-replay")
def sandbox_replay(
    ids: Annotated[
        list[str] | None, typer.Option("--id", help="Id of a webhook; may be given more than once.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--from", metavar="INSTANT", help="Sent at or after (ISO 8601)."),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", metavar="INSTANT", help="Sent before (ISO 8601).")
    ] = None,
    persona: Annotated[str | None, typer.Option(help="Sent by this persona.")] = None,
    system: Annotated[str | None, typer.Option(help="Sent by this system.")] = None,
    state: Annotated[
        str | None, typer.Option(help="In this state now, e.g. refused, failed or withheld.")
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="The sandbox; default: HANDOFF_SANDBOX_PORT on this machine.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list what would be sent again.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Let the sandbox send webhooks again: the same messages with fresh signatures, so that each still counts once."""
    from orchestration.cli.screens import print_replayed
    from orchestration.sandbox_replay import replay

    given = {
        "ids": ids, "from": since, "to": until, "persona": persona, "system": system, "state": state
    }  # fmt: skip
    wanted = {name: value for name, value in given.items() if value}
    if not wanted:
        raise HandoffError(
            "BAD_REQUEST",
            "nothing says which webhooks",
            remedy="Give --id, --from, --to, --persona, --system or --state.",
        )
    target = url or f"http://127.0.0.1:{Settings().sandbox_port}"
    done = replay(target, wanted, dry_run=dry_run)
    if as_json:
        _print_json(done.as_dict())
    else:
        print_replayed(done, dry_run=dry_run)
    if not dry_run and done.count("delivered") < len(done.webhooks):
        raise typer.Exit(EXIT_OUTSIDE)


@app.command()
def ui(
    port: Annotated[
        int | None, typer.Option(min=1, max=65_535, help="Port; default HANDOFF_UI_PORT.")
    ] = None,
    worker: Annotated[
        bool,
        typer.Option(help="Also run the worker (`handoff work`), unless one runs already."),
    ] = True,
) -> None:
    """Open Dagster on the warehouse: every asset, check, run, sensor and schedule. Ctrl-C stops all of it."""
    settings = Settings()
    print(
        f"Dagster on http://127.0.0.1:{port or settings.ui_port} (first start takes some seconds; Ctrl-C stops)\n"
        "Schedules start switched off: under Automation, turn on test_hourly (the dbt tests) and build_data_docs_daily.",
        flush=True,
    )
    from orchestration.ui import serve_ui

    raise typer.Exit(serve_ui(settings, port or settings.ui_port, with_worker=worker))


@app.command()
def doctor(
    whole_log: Annotated[
        bool,
        typer.Option(
            "--whole-log",
            help="Verify every event of the log, not only the newest 100,000; a second for each 100,000.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check the set-up and reconcile every row: what was received is in the warehouse, in quarantine or on its way."""
    from orchestration.cli.screens import print_doctor, stages
    from orchestration.doctor import examine

    with stages(quiet=as_json) as say:
        findings = examine(Settings(), whole_log=whole_log, say=say)
    if as_json:
        _print_json(findings.as_dict())
    else:
        print_doctor(findings)
    raise typer.Exit(findings.exit_code)


def _error_json(error: HandoffError) -> dict[str, Any]:
    return {
        "code": error.code,
        "message": error.message,
        "path": error.path,
        "remedy": error.remedy,
        "retryable": error.entry.retryable,
    }


def _setting_error(error: ValidationError) -> HandoffError:
    """A HANDOFF_* variable that cannot be used."""
    problems = []
    for problem in error.errors(include_url=False, include_context=False):
        name = "HANDOFF_" + "_".join(str(part) for part in problem["loc"]).upper()
        problems.append(f"{name}='{problem['input']}': {problem['msg']}")
    return HandoffError("SETTING_INVALID", "; ".join(problems))


def _stop(error: HandoffError) -> NoReturn:
    if "--json" in sys.argv:
        _print_json({"error": _error_json(error)})
    else:
        where = f" ({error.path})" if error.path and error.path not in error.message else ""
        print(f"{error.code}: {error.message}{where}\n  {error.remedy}", file=sys.stderr)
    sys.exit(error.entry.exit_code)


def main() -> None:
    """Entry point: runs a verb and turns what a person can mend into one clear message and an exit code."""
    command = typer.main.get_command(app)
    try:
        # Not `app()`: that answers Ctrl-C and a closed pipe itself, with no word and the wrong code.
        with command.make_context("handoff", sys.argv[1:]) as context:
            command.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.ClickException as misuse:
        misuse.show()
        sys.exit(misuse.exit_code)
    except HandoffError as error:
        _stop(error)
    except ValidationError as error:
        if error.title != Settings.__name__:
            raise
        _stop(_setting_error(error))
    except KeyboardInterrupt:
        print("stopped; what was finished is kept, run it again to go on", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # `handoff query … | head` closed the pipe: that is no error. Python would flush into it once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


if __name__ == "__main__":
    main()
