"""Finds connectors by their folder and loads their parts lazily by name; knows nothing of any one
system."""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import cast

from ingestion.connectors.appointments import AppointmentBook
from ingestion.connectors.busy import BusySource
from ingestion.connectors.extracted import Source
from ingestion.errors.catalog import HandoffError
from ingestion.settings import EVENT_ONLY_SYSTEMS, Settings

CONNECTORS_DIR = Path(__file__).parent
PARTS = ("source", "webhook", "destination", "picklists", "busy", "appointments")


@cache
def systems(part: str | None = None) -> tuple[str, ...]:
    """Names of the connector folders, sorted; with `part`, of those that have `<part>.py`."""
    wanted = PARTS if part is None else (part,)
    return tuple(
        sorted(
            folder.name
            for folder in CONNECTORS_DIR.iterdir()
            if any((folder / f"{name}.py").is_file() for name in wanted)
        )
    )


def known_systems(settings: Settings) -> tuple[str, ...]:
    """Every system a record may name: connectors, event-only systems and HANDOFF_SYSTEMS."""
    return tuple(sorted({*systems(), *EVENT_ONLY_SYSTEMS, *settings.extra_systems}))


def source(system: str) -> Source:
    """The module that polls `system`; SYSTEM_UNKNOWN names those that can be polled."""
    return cast(Source, _part(system, "source"))


def webhook(system: str) -> ModuleType:
    """The module that checks and translates `system`'s webhooks; SYSTEM_UNKNOWN names those that
    send any."""
    return _part(system, "webhook")


def destination(system: str) -> ModuleType:
    """The module that writes to `system`; SYSTEM_UNKNOWN names those that can be written to."""
    return _part(system, "destination")


def picklists(system: str) -> ModuleType:
    """The module that reads `system`'s picklists; SYSTEM_UNKNOWN names those whose API tells them."""
    return _part(system, "picklists")


def busy(system: str) -> BusySource:
    """The module that tells when people are taken by `system`; SYSTEM_UNKNOWN names those that can."""
    return cast(BusySource, _part(system, "busy"))


def appointments(system: str) -> AppointmentBook:
    """The module that writes bookings into `system`'s calendars; SYSTEM_UNKNOWN names those that take any."""
    return cast(AppointmentBook, _part(system, "appointments"))


def mapping_file(name: str) -> Path | None:
    """The mapping shipped as `<system>/<mapping>`, e.g. `hubspot/contacts`; None when there is
    none."""
    system, _, stem = name.partition("/")
    if not stem or "/" in stem or system not in mapping_systems():
        return None
    path = CONNECTORS_DIR / system / "mappings" / f"{stem.removesuffix('.yml')}.yml"
    return path if path.is_file() else None


@cache
def mapping_systems() -> tuple[str, ...]:
    """Names of the connector folders that ship mapping files."""
    return tuple(sorted(path.parent.name for path in CONNECTORS_DIR.glob("*/mappings")))


def mapping_names() -> tuple[str, ...]:
    """Every shipped mapping as `<system>/<mapping>`."""
    return tuple(
        sorted(
            f"{path.parent.parent.name}/{path.stem}"
            for path in CONNECTORS_DIR.glob("*/mappings/*.yml")
        )
    )


def _part(system: str, part: str) -> ModuleType:
    known = systems(part)
    if system not in known:
        raise HandoffError(
            "SYSTEM_UNKNOWN", f"unknown system {system!r}; known with a {part}: {', '.join(known)}"
        )
    return importlib.import_module(f"ingestion.connectors.{system}.{part}")
