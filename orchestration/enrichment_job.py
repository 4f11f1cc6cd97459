"""Asking providers of firmographics as a Dagster job; it is in no other job's way, as it touches no warehouse."""

import dagster as dg

from ingestion.settings import Settings
from orchestration.enrichment import enrich
from orchestration.jobs import ENRICH, MAX_RUNTIME_SECONDS


@dg.op(out=dg.Out(dg.Nothing))
def ask_providers(context: dg.OpExecutionContext) -> None:
    """Ask about the domains that are due and archive the answers; the next micro-batch lands them."""
    asked = enrich(Settings())
    context.log.info(f"{asked.known} known, {asked.unknown} unknown, {asked.unanswered} unanswered")
    for provider, message in asked.messages.items():
        context.log.warning(f"{provider}: {message}")


@dg.job(
    name=ENRICH,
    executor_def=dg.in_process_executor,
    description="Firmographics of companies that are due, asked of the providers of the accounts policy.",
    tags={"dagster/max_runtime": str(MAX_RUNTIME_SECONDS)},
)
def enrich_accounts() -> None:
    """Ask."""
    ask_providers()
