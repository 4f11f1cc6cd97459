"""Finds providers of firmographics by their module and loads them lazily by name; knows nothing of any one of them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import Protocol, cast

from ingestion.enrichment.answers import Company
from ingestion.errors.catalog import HandoffError
from ingestion.settings import Settings

PROVIDERS_DIR = Path(__file__).with_name("providers")

# Answers what is known of a registrable domain in lower case, None when nothing is. Raises HandoffError when it cannot say.
Lookup = Callable[[str], Company | None]


class Provider(Protocol):
    """A module of `providers/`."""

    def configured(self, settings: Settings) -> bool:
        """Whether it can be asked; one that is not set up is skipped."""
        ...

    def opened(self, settings: Settings, timeout_seconds: float) -> AbstractContextManager[Lookup]:
        """A lookup for as many domains as there are; none of its answers takes longer than `timeout_seconds`."""
        ...


@cache
def names() -> tuple[str, ...]:
    """Every provider there is, sorted."""
    return tuple(
        sorted(path.stem for path in PROVIDERS_DIR.glob("*.py") if path.stem != "__init__")
    )


def provider(name: str) -> Provider:
    """The provider of this name; PROVIDER_UNKNOWN names those there are."""
    if name not in names():
        raise HandoffError(
            "PROVIDER_UNKNOWN", f"unknown enrichment provider {name!r}; known: {', '.join(names())}"
        )
    return cast(Provider, importlib.import_module(f"ingestion.enrichment.providers.{name}"))
