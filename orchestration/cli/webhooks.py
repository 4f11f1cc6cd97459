"""The verbs of `handoff webhooks`: who is told what of ours, how that goes, and sending it again; delivering itself is `ingestion.subscribers`."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from ingestion.errors.catalog import HandoffError
from ingestion.settings import Settings
from orchestration.cli.output import AsJson, instant_of, print_json

app = typer.Typer(
    name="webhooks",
    help=(
        "Our own webhooks: tell other systems who qualified, who got them and how meetings went (docs/subscribers.md).\n\n"
        "Who is told stands in subscribers.yml of the policy folder. A worker (`handoff work`, `handoff ui`) delivers by itself; "
        "without one, `handoff webhooks deliver` does."
    ),
    no_args_is_help=True,
    rich_markup_mode=None,
)

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done; change nothing.")]
Name = Annotated[str, typer.Argument(metavar="SUBSCRIBER", help="Its name in subscribers.yml.")]


@app.command("list")
def list_subscribers(as_json: AsJson = False) -> None:
    """Show each subscriber: its state, what was delivered, waits, fails and was given up, and how fast it answers.

    States: enabled; failing (tried again as planned); disabled (failed for days: one message an hour asks whether it is back); gone (it
    answered 410); paused (by `disable`). Rate and latency are of the last seven days. Who was new in subscribers.yml is subscribed from now on.
    """
    from ingestion.subscribers.desk import as_json as row_of
    from ingestion.subscribers.desk import standings
    from orchestration.cli.screens import print_rows
    from orchestration.subscribers import subscribers_of

    settings = Settings()
    subscribers = subscribers_of(settings)
    with _outbox(settings) as outbox:
        now = datetime.now(UTC)
        outbox.subscribe(subscribers, now)
        rows = standings(outbox, subscribers, now)
    if as_json:
        print_json(
            [
                {
                    **row_of(row),
                    "url": _url(subscribers, row.subscriber),
                    "kinds": _kinds(subscribers, row.subscriber),
                }
                for row in rows
            ]
        )
        return
    if not rows:
        print(
            "Nobody is told anything yet. Name a receiver in subscribers.yml of the policy folder; "
            "docs/subscribers.md shows how."
        )
        return
    print_rows(
        [
            "subscriber",
            "state",
            "delivered",
            "pending",
            "failing",
            "dead",
            "success",
            "p50",
            "p95",
            "oldest pending",
        ],
        [
            [
                row.subscriber,
                row.state,
                row.delivered,
                row.pending,
                row.failing,
                row.dead,
                "" if row.success_rate is None else f"{row.success_rate:.1%}",
                _seconds(row.p50_seconds),
                _seconds(row.p95_seconds),
                "" if row.oldest_pending_at is None else _ago(now, row.oldest_pending_at),
            ]
            for row in rows
        ],
        "table",
    )
    for row in rows:
        if row.reason:
            print(f"{row.subscriber}: {row.reason}")


@app.command()
def deliver(
    once: Annotated[
        bool,
        typer.Option(
            "--once", help="Deliver what is due now and end; exit code 3 when something failed."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Deliver what is due, until Ctrl-C. For homes without a worker: one process at a time delivers, and a worker does it by itself.

    What fails is tried again after 5 s, 5 min, 30 min, 2 h and so on for three days; what is due later stays for the next call.
    """
    from ingestion.subscribers.deliverer import Deliverer, only_deliverer
    from orchestration.subscribers import subscribers_of

    settings = Settings()
    with only_deliverer(settings.log_dir), _outbox(settings) as outbox:
        deliverer = Deliverer(outbox, lambda: subscribers_of(settings))
        done = deliverer.once() if once else deliverer.run(_stopped_by_signal())
    if as_json:
        print_json(
            {
                "delivered": done.delivered,
                "failed": done.failed,
                "by_subscriber": dict(done.by_subscriber),
            }
        )
    else:
        print(f"{done.delivered:,} delivered, {done.failed:,} attempts failed")
    raise typer.Exit(3 if done.failed and once else 0)


@app.command()
def dead(
    subscriber: Annotated[str | None, typer.Argument(help="Only those of this subscriber.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Show so many, the newest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show dead letters: what was given up after its last attempt, with the code and what the subscriber answered.

    Put right what the answer says, then `handoff webhooks replay MESSAGE_ID`, or all of them with --subscriber, --since and --dead.
    """
    from ingestion.subscribers.desk import as_json as row_of
    from ingestion.subscribers.desk import dead_letters
    from orchestration.cli.screens import print_rows

    settings = Settings()
    with _outbox(settings) as outbox:
        letters = dead_letters(outbox, subscriber, limit)
    if as_json:
        print_json([row_of(letter) for letter in letters])
        return
    if not letters:
        print("No dead letters.")
        return
    print_rows(
        ["subscriber", "message_id", "kind", "attempts", "code", "detail", "given up"],
        [
            [
                letter.subscriber,
                letter.message_id,
                letter.kind,
                letter.attempts,
                letter.code,
                letter.detail,
                letter.given_up_at.isoformat(timespec="minutes"),
            ]
            for letter in letters
        ],
        "table",
    )


@app.command()
def replay(
    message_ids: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MESSAGE_ID]…", help="Messages to send again (the header webhook-id)."
        ),
    ] = None,
    subscriber: Annotated[
        str | None,
        typer.Option(help="Only to this subscriber; with --since, everything it was told."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="INSTANT", help="Everything told since then (ISO 8601); needs --subscriber."
        ),
    ] = None,
    dead_only: Annotated[
        bool, typer.Option("--dead", help="With --since: dead letters alone.")
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Send messages again, under the ids they had, so that a receiver that goes by webhook-id counts nothing twice.

    Each subject's come in their old order, before what waits already. Whoever delivers sends them: the worker, or `handoff webhooks deliver`.
    """
    from ingestion.subscribers.desk import replay_messages, replay_since
    from orchestration.subscribers import subscribers_of

    settings = Settings()
    chosen = list(message_ids or ())
    if bool(chosen) == bool(since) or (since and not subscriber) or (dead_only and not since):
        raise HandoffError(
            "BAD_REQUEST",
            "either message ids, or --subscriber with --since",
            remedy="E.g. `handoff webhooks replay --subscriber NAME --since 2026-11-01T00:00Z --dead --dry-run`.",
        )
    if subscriber is not None:
        subscribers_of(settings).get(subscriber)
    now = datetime.now(UTC)
    told_since = instant_of(since, "--since")
    with _outbox(settings) as outbox:
        if told_since is not None:
            assert subscriber is not None
            done = replay_since(
                outbox, subscriber, told_since, now, dead_only=dead_only, dry_run=dry_run
            )
        else:
            done = replay_messages(outbox, chosen, subscriber, now, dry_run=dry_run)
    count = sum(done.by_subscriber.values())
    if as_json:
        print_json(
            {
                "replayed": count,
                "by_subscriber": done.by_subscriber,
                "forgotten": done.forgotten,
                "dry_run": dry_run,
            }
        )
        return
    print(f"{count:,} deliveries {'would be' if dry_run else 'are'} sent again")
    if done.forgotten:
        print(
            f"{done.forgotten:,} cannot be: their content is older than keep_days and was deleted"
        )


@app.command()
def enable(name: Name, as_json: AsJson = False) -> None:
    """Send to a subscriber again, at once and with everything that waited; whatever had stopped it."""
    from ingestion.subscribers.desk import enable as enable_it

    _switch(name, lambda outbox: enable_it(outbox, name, datetime.now(UTC)), "enabled", as_json)


@app.command()
def disable(
    name: Name,
    reason: Annotated[str, typer.Option(help="Why; `list` shows it.")] = "paused by hand",
    as_json: AsJson = False,
) -> None:
    """Send nothing to a subscriber until it is enabled again; what it would be told waits for it and is not lost."""
    from ingestion.subscribers.desk import pause

    _switch(name, lambda outbox: pause(outbox, name, reason, datetime.now(UTC)), "paused", as_json)


@app.command()
def test(name: Name, as_json: AsJson = False) -> None:
    """Send a signed `ping` to a subscriber now and show what it answered; exit code 3 when it did not take it.

    Tries out address, certificate, secret and the receiver's verification before anything real is told. Nothing is kept of it.
    """
    from ingestion.subscribers.desk import ping
    from orchestration.subscribers import subscribers_of

    subscribers = subscribers_of(Settings())
    message_id, answer = ping(subscribers.get(name), subscribers.policy)
    text = answer.body.decode("utf-8", errors="replace")
    if as_json:
        print_json(
            {
                "subscriber": name,
                "message_id": message_id,
                "delivered": answer.is_delivered,
                "status": answer.status,
                "code": answer.code,
                "detail": answer.detail,
                "answer": text,
                "seconds": round(answer.seconds, 3),
            }
        )
    elif answer.is_delivered:
        print(f"{name} took {message_id}: {answer.status} after {answer.seconds:.2f} s")
    else:
        print(f"{name} did not take {message_id}: {answer.code}: {answer.detail}")
        if text:
            print(text)
    raise typer.Exit(0 if answer.is_delivered else 3)


def _switch(name: str, change: Any, state: str, as_json: bool) -> None:
    from orchestration.subscribers import subscribers_of

    settings = Settings()
    subscribers_of(settings).get(name)
    with _outbox(settings) as outbox:
        before = change(outbox)
    if as_json:
        print_json({"subscriber": name, "state": state, "before": before.state})
    else:
        print(f"{name} is {state} (was {before.state})")


@contextlib.contextmanager
def _outbox(settings: Settings) -> Iterator[Any]:
    from ingestion.home import require_home
    from ingestion.subscribers.outbox import Outbox
    from orchestration.subscribers import outbox_path

    require_home(settings)
    with contextlib.closing(Outbox(outbox_path(settings))) as outbox:
        yield outbox


def _stopped_by_signal() -> threading.Event:
    stop = threading.Event()

    def ask_to_stop(*_: object) -> None:
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask_to_stop)
    return stop


def _url(subscribers: Any, name: str) -> str | None:
    each = subscribers.by_name.get(name)
    return None if each is None else str(each.url)


def _kinds(subscribers: Any, name: str) -> list[str]:
    each = subscribers.by_name.get(name)
    return [] if each is None else list(each.kinds)


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f} s"


def _ago(now: datetime, at: datetime) -> str:
    minutes = (now - at).total_seconds() / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.0f} h"
