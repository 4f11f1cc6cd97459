"""Asks providers about domains, one after the other, and archives what they say; which domains are due is the models' business."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ingestion.enrichment import catalog
from ingestion.enrichment.answers import RESOURCES, SYSTEM, Answer
from ingestion.errors.catalog import HandoffError
from ingestion.landing.archive import Archive
from ingestion.settings import Settings

if TYPE_CHECKING:
    import pybreaker

# What is known is kept while the next are asked: a process that dies has not asked in vain.
ARCHIVE_ROWS = 50


@dataclass(frozen=True, slots=True)
class Terms:
    """Who is asked in which order, and when one is left alone: `failure_threshold` failures in a row, for `pause_seconds`."""

    providers: tuple[str, ...]
    timeout_seconds: float
    failure_threshold: int
    pause_seconds: float


@dataclass(slots=True)
class Asked:
    """How it went: domains by outcome, answers by provider, failures by provider, and the providers left alone."""

    known: int = 0
    unknown: int = 0
    unanswered: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    messages: dict[str, str] = field(default_factory=dict)
    left_alone: set[str] = field(default_factory=set)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "known": self.known,
            "unknown": self.unknown,
            "unanswered": self.unanswered,
            "answers": dict(self.answers),
            "failures": dict(self.failures),
            "messages": self.messages,
            "left_alone": sorted(self.left_alone),
        }


class Breakers:
    """One circuit breaker for each provider (Nygard, Release It!, 2nd ed. 2018, chapter 5), for as long as the process lives."""

    def __init__(self) -> None:
        self._breakers: dict[str, pybreaker.CircuitBreaker] = {}

    def of(self, name: str, terms: Terms) -> pybreaker.CircuitBreaker:
        """The breaker of a provider, with the terms as they are now."""
        import pybreaker

        breaker = self._breakers.setdefault(
            name, pybreaker.CircuitBreaker(name=name, throw_new_error_on_trip=False)
        )
        breaker.fail_max = terms.failure_threshold
        breaker.reset_timeout = terms.pause_seconds
        return breaker


def ask(
    settings: Settings,
    domains: Iterable[str],
    terms: Terms,
    breakers: Breakers,
    *,
    stop: threading.Event | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Asked:
    """Ask the configured providers of `terms` about each domain until one knows it, and archive every answer, an "unknown" too.

    A provider that fails says nothing: the next one is asked, and the domain stays due unless that one knows it. Raises PROVIDER_UNKNOWN, and
    what a provider raises when it is opened (SYSTEM_NOT_CONFIGURED, FILE_UNREADABLE, FIELD_MISMATCH).
    """
    done = Asked()
    waiting: list[Answer] = []
    with contextlib.ExitStack() as stack:
        lookups = {
            name: stack.enter_context(
                catalog.provider(name).opened(settings, terms.timeout_seconds)
            )
            for name in terms.providers
            if catalog.provider(name).configured(settings)
        }
        for domain in domains:
            if stop is not None and stop.is_set():
                break
            waiting += _ask_about(domain, lookups, terms, breakers, clock, done)
            if len(waiting) >= ARCHIVE_ROWS:
                _archive(settings, waiting, clock())
                waiting = []
    _archive(settings, waiting, clock())
    return done


def _ask_about(
    domain: str,
    lookups: dict[str, catalog.Lookup],
    terms: Terms,
    breakers: Breakers,
    clock: Callable[[], datetime],
    done: Asked,
) -> list[Answer]:
    import pybreaker

    answers: list[Answer] = []
    for name, lookup in lookups.items():
        try:
            company = breakers.of(name, terms).call(lookup, domain)
        except pybreaker.CircuitBreakerError:
            done.left_alone.add(name)
            continue
        except HandoffError as error:
            done.failures[name] += 1
            done.messages[name] = f"{error.code}: {error.message}"
            continue
        answers.append(Answer(name, domain, company, clock()))
        done.answers[name] += 1
        if company is not None:
            done.known += 1
            return answers
    if lookups and len(answers) == len(lookups):
        done.unknown += 1
    else:
        done.unanswered += 1
    return answers


def _archive(settings: Settings, answers: Sequence[Answer], received_at: datetime) -> None:
    if not answers:
        return
    archive = Archive(settings.archive_dir)
    with archive.writing(SYSTEM):
        archive.append(
            SYSTEM, RESOURCES[0], [answer.extracted() for answer in answers], received_at
        )
