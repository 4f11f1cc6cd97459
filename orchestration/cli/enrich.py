"""The verb `handoff enrich`; who is asked, and about what, is decided elsewhere."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from ingestion.settings import Settings
from orchestration.cli.output import EXIT_OK, EXIT_OUTSIDE, AsJson, print_json


def enrich(
    domains: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[DOMAIN]...", help="Company domains to ask about; default: all that are due."
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Most domains to ask about; default: the policy's max_domains."),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Also those whose answers are still good.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show whom would be asked about what; ask nobody.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Ask providers of firmographics about companies our own records do not tell enough of.

    Who is asked, in which order and how often, stands in the accounts policy. Every answer is kept, an "unknown" too, and `handoff run` brings
    it into the accounts and the scores; a rebuild asks nobody again. No lead waits for any of this.
    """
    from orchestration.enrichment import company_domain, due_domains, providers, terms_now
    from orchestration.enrichment import enrich as ask_providers

    settings = Settings()
    if dry_run:
        policy = terms_now(settings)
        named = [company_domain(domain) for domain in domains or ()]
        wanted = named or due_domains(
            settings, limit or policy.max_domains, datetime.now(UTC), again=again
        )
        asked_of = providers(settings, policy)
        if as_json:
            print_json({"providers": asked_of, "domains": wanted})
        else:
            print(f"Would ask {', '.join(asked_of) or 'nobody'} about {len(wanted)} domains.")
            for domain in wanted:
                print(f"  {domain}")
        return
    asked = ask_providers(settings, domains or (), limit=limit, again=again)
    if as_json:
        print_json(asked.as_dict())
    else:
        print(
            f"{asked.known} known, {asked.unknown} unknown, {asked.unanswered} unanswered; "
            "`handoff run` brings in what is new."
        )
        for provider, message in asked.messages.items():
            print(f"  {provider}: {asked.failures[provider]} failures, the last {message}")
        for provider in sorted(asked.left_alone):
            print(f"  {provider}: left alone after failures in a row")
    raise typer.Exit(EXIT_OUTSIDE if asked.unanswered else EXIT_OK)
