"""What a system does not let our credentials read, kept beside the warehouse: told once and shown since, not with every poll."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import orjson

from ingestion.durable_file import write_atomically
from ingestion.settings import Settings


def denied(settings: Settings, system: str) -> dict[str, str]:
    """Resource -> what the system said, as of the newest poll."""
    try:
        told = orjson.loads(_path(settings, system).read_bytes())
        return {str(resource): str(message) for resource, message in told.items()}
    except (FileNotFoundError, ValueError, AttributeError):
        return {}


def keep_denied(settings: Settings, system: str, told: Mapping[str, str]) -> list[str]:
    """Remember what a poll was refused; answers the resources it was not refused before."""
    before = denied(settings, system)
    if dict(told) != before:
        path = _path(settings, system)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, orjson.dumps(dict(told)).decode())
    return sorted(set(told) - set(before))


def _path(settings: Settings, system: str) -> Path:
    return settings.artifacts_dir / "denied" / f"{system}.json"
