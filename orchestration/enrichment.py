"""Which domains are due for enrichment and asking about them aside: it reads people's file and writes the archive, never the warehouse."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Sequence
from datetime import UTC, datetime

import structlog

from ingestion.enrichment import catalog
from ingestion.enrichment.answers import RESOURCES, SYSTEM
from ingestion.enrichment.asking import Asked, Breakers, Terms, ask
from ingestion.errors.catalog import HandoffError
from ingestion.landing.archive import Archive
from ingestion.normalize.domains import domain_kind, registrable_domain
from ingestion.settings import Settings
from models.policies.documents import AccountsPolicy, EnrichmentPolicy
from models.policies.load import load_policies
from orchestration.serving import open_serving

_log = structlog.get_logger(__name__)
# For as long as the process lives: a provider that fails is left alone from one call to the next.
_breakers = Breakers()


def terms_now(settings: Settings) -> EnrichmentPolicy:
    """What the active accounts policy says of enrichment; raises POLICY_INVALID."""
    policies = load_policies(settings.policies, further_systems=settings.extra_systems)
    document = policies.versions["accounts"][policies.active["accounts"]].document
    assert isinstance(document, AccountsPolicy)
    return document.enrichment


def providers(settings: Settings, policy: EnrichmentPolicy) -> tuple[str, ...]:
    """The policy's providers that are set up, in its order; raises PROVIDER_UNKNOWN."""
    return tuple(name for name in policy.providers if catalog.provider(name).configured(settings))


def due_domains(settings: Settings, limit: int, now: datetime, *, again: bool = False) -> list[str]:
    """Domains to be asked about now, those with the most people first; with `again` also those whose answers are young."""
    with contextlib.closing(open_serving(settings)) as connection:
        rows = connection.execute(
            "select domain, answered_at from ops.enrichment_domains"
            " where $again or due_at is null or due_at <= $now::timestamptz order by record_count desc, domain",
            {"again": again, "now": now},
        ).fetchall()
    # What has been answered since people's file was made is not asked twice.
    archived = _answered_at(settings) if rows and not again else {}
    due = [
        domain
        for domain, answered_at in rows
        if domain not in archived or (answered_at is not None and archived[domain] <= answered_at)
    ]
    return due[:limit]


def enrich(
    settings: Settings,
    domains: Collection[str] = (),
    *,
    limit: int | None = None,
    again: bool = False,
    stop: threading.Event | None = None,
) -> Asked:
    """Ask about `domains`, by default those that are due, and archive the answers; the next batch lands them.

    Raises SYSTEM_NOT_CONFIGURED when no provider of the policy is set up, BAD_REQUEST for what is no company's domain, and what `ask` raises.
    """
    policy = terms_now(settings)
    able = providers(settings, policy)
    if not able:
        raise HandoffError(
            "SYSTEM_NOT_CONFIGURED",
            f"no provider of firmographics is set up (the accounts policy names {', '.join(policy.providers) or 'none'})",
            remedy="Set HANDOFF_ENRICHMENT_FILES to a folder of CSV files, or HANDOFF_ENRICHMENT_URL to a service (docs/accounts.md).",
        )
    asked_about = (
        [company_domain(domain) for domain in domains]
        if domains
        else due_domains(settings, limit or policy.max_domains, datetime.now(UTC), again=again)
    )
    terms = Terms(able, policy.timeout_seconds, policy.failure_threshold, policy.pause_seconds)
    return ask(settings, asked_about, terms, _breakers, stop=stop)


def company_domain(text: str) -> str:
    """The registrable domain somebody named; BAD_REQUEST for none, and for that of free or disposable mailboxes."""
    domain = registrable_domain(text)
    if domain is None or domain_kind(text) != "business":
        what = "no domain" if domain is None else f"the domain of {domain_kind(text)} mailboxes"
        raise HandoffError(
            "BAD_REQUEST", f"{text!r} is {what}", remedy="Name a company's domain: acme.com."
        )
    return domain


class Enriching:
    """Asks in a thread of its own, while batches go on: whoever does not answer is waited for by nobody."""

    def __init__(self, settings: Settings) -> None:
        """Start at once."""
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._ask, args=(settings,), name="enrichment", daemon=True
        )
        self._thread.start()

    @property
    def is_under_way(self) -> bool:
        """Whether somebody is being asked."""
        return self._thread.is_alive()

    def give_up(self) -> None:
        """Ask about no further domain."""
        self._stop.set()

    def _ask(self, settings: Settings) -> None:
        try:
            asked = enrich(settings, stop=self._stop)
        except Exception as error:
            told: Sequence[object] = (
                (error.code, error.message) if isinstance(error, HandoffError) else (repr(error),)
            )
            _log.warning("enrichment_failed", told=told)
            return
        if asked.answers or asked.failures:
            _log.info("enriched", **asked.as_dict())


def is_configured(settings: Settings) -> bool:
    """Whether any provider is set up, whatever the policy says."""
    return any(catalog.provider(name).configured(settings) for name in catalog.names())


def _answered_at(settings: Settings) -> dict[str, datetime]:
    """When each domain was last answered about, by the archive."""
    newest: dict[str, datetime] = {}
    for payload in Archive(settings.archive_dir).known(SYSTEM, RESOURCES[0]).newest("").values():
        at = datetime.fromisoformat(payload["fetched_at"])
        newest[payload["domain"]] = max(at, newest.get(payload["domain"], at))
    return newest
